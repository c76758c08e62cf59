package audit

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/seawall-security/seawall/internal/audit"
)

const (
	// MaxBodyBytes bounds a request. API servers send up to 400 events of some KiB by
	// default; one that sends more at once is told so (413), and its own settings
	// (--audit-webhook-batch-max-size, --audit-webhook-truncate-enabled) mend it.
	MaxBodyBytes = 32 << 20
	// maxInFlight bounds the bodies that are worked on at a time, those of several API
	// servers. Reading one takes about three times its size.
	maxInFlight = 64 << 20
	// retryAfter is said with refusals that are temporary, in seconds. API servers retry
	// audit events whatever the answer was, five times by default.
	retryAfter = "1"
)

// Webhook answers the webhook backend of API servers: 200 when every event of the body
// that can be read is on disk. It may be used by many goroutines.
type Webhook struct {
	name     string
	intake   *Intake
	allowed  func(*http.Request) bool
	inFlight *semaphore.Weighted
	underWay sync.WaitGroup
	log      *zap.Logger
}

// NewWebhook returns the handler of a source. allowed tells who may post.
func NewWebhook(name string, intake *Intake, allowed func(*http.Request) bool, log *zap.Logger) *Webhook {
	return &Webhook{name: name, intake: intake, allowed: allowed, inFlight: semaphore.NewWeighted(maxInFlight),
		log: log.With(zap.String("source", name))}
}

// Bearer allows requests with this token, compared in constant time.
func Bearer(token string) func(*http.Request) bool {
	want := sha256.Sum256([]byte(token))
	return func(r *http.Request) bool {
		said, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(said))
		return ok && subtle.ConstantTimeCompare(want[:], got[:]) == 1
	}
}

// Wait returns when no request is being answered any more. Nobody may come meanwhile.
func (h *Webhook) Wait() { h.underWay.Wait() }

// ServeHTTP implements http.Handler.
func (h *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.underWay.Add(1)
	defer h.underWay.Done()
	of := request{server: serverOf(r), length: r.ContentLength}
	err := h.serve(w, r, &of)
	code := http.StatusOK
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		code = refused.code
	case err != nil: // the log's: it has no room, or its disk fails
		code = http.StatusServiceUnavailable
	}
	h.intake.health.answered(h.name, code, of)
	if err == nil {
		return
	}
	if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	h.log.Warn("audit events refused", zap.Int("code", code), zap.String("address", r.RemoteAddr), zap.Error(err))
	http.Error(w, err.Error(), code)
}

// refusal is an answer that the caller can do something about.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// serve notes in of what the body is, if it is read.
func (h *Webhook) serve(w http.ResponseWriter, r *http.Request, of *request) error {
	switch {
	case !h.allowed(r):
		return &refusal{http.StatusUnauthorized, "the bearer token is missing or wrong, or the client certificate is of somebody else"}
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		return &refusal{http.StatusMethodNotAllowed, "audit events are posted"}
	case r.ContentLength > MaxBodyBytes:
		return tooLarge()
	}
	size := r.ContentLength
	if size < 0 {
		size = MaxBodyBytes
	}
	if !h.inFlight.TryAcquire(size) {
		return &refusal{http.StatusTooManyRequests, "too much is being taken in already"}
	}
	defer h.inFlight.Release(size)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, size))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge()
	case err != nil:
		return &refusal{http.StatusBadRequest, fmt.Sprintf("read the body: %v", err)}
	}
	of.body = sha256.Sum256(body)
	events, bad, err := audit.DecodeList(body)
	if err != nil {
		return &refusal{http.StatusBadRequest, err.Error()}
	}
	// What is being stored is stored to its end, though the caller is gone: he comes again,
	// and is told then that it is there.
	if _, err := h.intake.Take(context.WithoutCancel(r.Context()), h.name, of.server, events); err != nil {
		return err
	}
	for _, e := range bad { // once the rest is safe: it comes no more
		h.intake.health.unreadable(h.name)
		h.log.Warn("audit event cannot be read", zap.Error(e))
	}
	return nil
}

func tooLarge() error {
	return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes: lower --audit-webhook-batch-max-size", MaxBodyBytes)}
}
