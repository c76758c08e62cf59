package sink

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Limits and defaults of [WebhookOptions].
const (
	DefaultWebhookTimeout = 30 * time.Second
	// minSecret is 128 bits: a shorter one can be guessed from what it signed.
	minSecret = 16
	// maxAnswer is how much of an answer is read: some of it becomes a reason.
	maxAnswer  = 64 << 10
	maxReason  = 200
	maxHeaders = 64 << 10
)

// SignatureHeader holds t=<Unix seconds>,v1=<hexadecimal HMAC-SHA-256 of "<t>.<body>">.
const SignatureHeader = "Seawall-Signature"

// WebhookOptions of a webhook sink; zero values stand for the defaults.
type WebhookOptions struct {
	// URL is https, or http to this very host.
	URL    string
	Format Format
	// Lines sends a document a line instead of one array.
	Lines bool
	// Secret signs each request; empty: none is signed.
	Secret []byte
	// Header goes with each request, such as Authorization.
	Header http.Header
	// TLS has the roots to trust, and a certificate to show; nil: the system's, none.
	TLS *tls.Config
	// Timeout is for a whole request with its answer.
	Timeout time.Duration
	// Version is the product's, for User-Agent.
	Version string
	// Now is the clock of signatures; default time.Now.
	Now func() time.Time
}

// Webhook is a [Sink] that posts batches.
//
// 2xx acknowledges. 400, 413 and 422 speak of the batch and refuse it. Everything else may
// end, such as a token that has run out or a server's own error, and is tried again, after
// Retry-After where it is said. Redirects are not followed: alerts go where they were sent.
type Webhook struct {
	o      WebhookOptions
	client *http.Client
}

// NewWebhook returns a sink; it connects with the first batch.
func NewWebhook(o WebhookOptions) (*Webhook, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("webhook sink: the URL cannot be read") // it may hold a token: not in a log
	}
	if u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, errors.New("webhook sink: want an https URL, or http to a loopback address")
	}
	if n := len(o.Secret); n > 0 && n < minSecret {
		return nil, fmt.Errorf("webhook sink: a secret of %d bytes is shorter than %d", n, minSecret)
	}
	o.Timeout = or(o.Timeout, DefaultWebhookTimeout)
	if o.Now == nil {
		o.Now = time.Now
	}
	config := o.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	return &Webhook{o: o, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
			MaxIdleConns: 1, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: maxHeaders, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Deliver implements [Sink].
func (w *Webhook) Deliver(ctx context.Context, batch []Revision) error {
	body, err := w.body(batch)
	if err != nil {
		return &RefusedError{Reason: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.o.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post to webhook: %w", withoutURL(err))
	}
	for name, values := range w.o.Header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	request.Header.Set("Content-Type", map[bool]string{false: "application/json", true: "application/x-ndjson"}[w.o.Lines])
	request.Header.Set("User-Agent", "seawall/"+or(w.o.Version, "unknown"))
	if len(w.o.Secret) > 0 {
		request.Header.Set(SignatureHeader, Signature(w.o.Secret, w.o.Now(), body))
	}
	response, err := w.client.Do(request)
	if err != nil {
		return fmt.Errorf("post to webhook: %w", withoutURL(err))
	}
	defer response.Body.Close()
	// A receiver that ends its work because we hang up may still answer, and be heard: that
	// acknowledges nothing.
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("post to webhook: answered %d too late: %w", response.StatusCode, err)
	}
	// Read to the end if it is near, so that the connection can be used again. The status
	// counts, however the body ends.
	answer, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return w.judge(response, answer)
}

// Close implements [Sink].
func (w *Webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

func (w *Webhook) body(batch []Revision) (body []byte, err error) {
	if !w.o.Lines {
		body = append(body, '[')
	}
	for i, r := range batch {
		if i > 0 && !w.o.Lines {
			body = append(body, ',')
		}
		if body, err = w.o.Format(body, r); err != nil {
			return nil, err
		}
		if w.o.Lines {
			body = append(body, '\n')
		}
	}
	if !w.o.Lines {
		body = append(body, ']')
	}
	return body, nil
}

func (w *Webhook) judge(response *http.Response, answer []byte) error {
	status := response.StatusCode
	said := fmt.Errorf("webhook answers %d %q", status, cut(answer, maxReason))
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity:
		return &RefusedError{Reason: said.Error()}
	case status >= 300 && status < 400:
		return &DeclinedError{fmt.Errorf("webhook redirects (%d), which is not followed", status)}
	}
	if after := retryAfter(response.Header.Get("Retry-After"), w.o.Now()); after > 0 {
		return &LaterError{After: after, Err: said}
	}
	if status == http.StatusRequestTimeout || status == http.StatusTooManyRequests {
		return said
	}
	return &DeclinedError{said}
}

// retryAfter reads seconds or a date; 0: neither.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}

// withoutURL takes the URL out of an error of net/http: tokens of webhooks are often in it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Signature is the value of [SignatureHeader]. A receiver computes it from the time it
// finds there and the body as it came, compares in constant time, and refuses old times.
func Signature(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
