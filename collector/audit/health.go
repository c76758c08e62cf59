package audit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/seawall-security/seawall/collector/store"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

const (
	// settle is how long a gap is looked at before it is told: API servers try what a webhook
	// did not take for up to 80 s.
	settle = 2 * time.Minute
	// forgiven is how long a refused request may take to come again, by the same count.
	forgiven = 3 * time.Minute
	// maxRefused bounds the requests that are waited for.
	maxRefused = 1024
	// patience is how long a gap waits for a file that is read but brings nothing.
	patience = 10 * time.Minute
	// A gap that is older is what it is; what fills it later is not looked at.
	horizon = 24 * time.Hour
	// maxGaps bounds the gaps that are remembered, the latest count.
	maxGaps = 256
)

// Source names a source of the settings.
type Source struct {
	Name string
	Kind SourceKind
}

// Health knows how a cluster's audit sources are, and tells it to the event log
// ([Health.Run]) and whoever asks. What it concludes it concludes from what came: a source
// that is configured is not one that works. It may be used by many goroutines.
type Health struct {
	cluster string
	store   *store.Store
	log     Log
	now     func() time.Time
	counts  *counts
	logger  *zap.Logger
	started time.Time

	mu        sync.Mutex // guards the rest; held with nothing else
	coverage  Coverage   // may be nil
	sources   []*source
	down      span // the collector did not run, by its own clock
	condition collectorv1.AuditCondition
	since     time.Time
	gaps      []*gap // in the order of their ids
	found     map[span]time.Time
	told      time.Time // the last message
	fresh     bool      // something came since then
	said      string    // what the last message said but for times
	refused   map[request]*span
	probes    []*collectorv1.ProbeEvent // a ring
	probed    int                       // how many there ever were

	unfinished *unfinished // patches that are not known to have ended
}

// Coverage knows which rules cannot see what they look for, by what is recorded. It is
// called by one goroutine at a time.
type Coverage interface {
	Observe(e *auditv1.Event)
	Blind() []*collectorv1.BlindRule
}

// HealthOptions is what a Health needs.
type HealthOptions struct {
	Cluster string
	// Sources are those of the settings: one webhook at most, and any number of files.
	Sources []Source
	// Coverage sees every event that is taken; nil: nobody does.
	Coverage Coverage
	Store    *store.Store
	Log      Log
	Metrics  prometheus.Registerer
	Now      func() time.Time
	Logger   *zap.Logger
}

// NewHealth returns what an earlier run kept; see also [Intake.Resume].
func NewHealth(ctx context.Context, o HealthOptions) (*Health, error) {
	h := &Health{cluster: o.Cluster, coverage: o.Coverage, store: o.Store, log: o.Log, now: o.Now, counts: newCounts(o.Metrics, o.Sources), logger: o.Logger,
		started: o.Now(), condition: collectorv1.AuditCondition_AUDIT_CONDITION_OFF, found: map[span]time.Time{}, refused: map[request]*span{}, unfinished: newUnfinished()}
	h.since = h.started
	for _, s := range o.Sources {
		h.sources = append(h.sources, newSource(s.Name, s.Kind, h.started))
	}
	if err := h.load(ctx); err != nil {
		return nil, err
	}
	o.Metrics.MustRegister(h)
	return h, nil
}

// taken books what a source brought. It is in the event log.
func (h *Health) taken(name, server string, received time.Time, taken Taken, events []*auditv1.Event) {
	stages := make([]time.Time, len(events))
	for i, e := range events {
		stages[i] = e.StageTime.AsTime()
	}
	h.counts.took(name, taken)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.source(name)
	s.events += uint64(taken.New)
	s.repeated += uint64(taken.Repeated)
	s.tooLarge += uint64(taken.TooLarge)
	if len(events) > 0 {
		s.arrived(received, h.down, stages)
		s.served(server, received, h.down, stages)
		s.drained = false
		h.fresh = true
	}
	for _, e := range events {
		h.observe(name, received, e)
	}
}

// observe has a look at what an event itself says. h.mu is held.
func (h *Health) observe(name string, received time.Time, e *auditv1.Event) {
	h.probe(name, received, e)
	h.unfinished.observe(received, e)
	if h.coverage != nil {
		h.coverage.Observe(e)
	}
}

// blind are the rules that cannot see what they look for.
func (h *Health) blind() []*collectorv1.BlindRule {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.coverage == nil {
		return nil
	}
	return h.coverage.Blind()
}

// source finds one; the settings name all that there are.
func (h *Health) source(name string) *source {
	i := slices.IndexFunc(h.sources, func(s *source) bool { return s.name == name })
	return h.sources[i]
}

// unreadable books an event that could not be read.
func (h *Health) unreadable(name string) {
	h.counts.unreadable(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.source(name)
	s.unreadable++
	s.book(reasonUnreadable, h.now(), 1)
}

// hole books that a log file was gone before it was read: what the source brings next is
// behind what is missing.
func (h *Health) hole(name string) {
	h.counts.hole(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.source(name).rotated = true
}

// drained notes that all of a log that is there has been read.
func (h *Health) drained(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.source(name).drained = true
}

// request is what tells that a request comes again: who sent it, and a hash of what. Of one
// that was refused before it was read the hash is not known, and its length stands for it.
type request struct {
	server string
	length int64
	body   [sha256.Size]byte
}

// answered books an answer to a request. What is refused comes again in the same bytes, or
// is lost: the API server gives up after five tries.
func (h *Health) answered(name string, code int, r request) {
	h.counts.answered(name, code)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch code {
	case http.StatusOK:
		delete(h.refused, r)
		delete(h.refused, request{server: r.server, length: r.length}) // it may have been refused unread
		return
	case http.StatusUnauthorized, http.StatusMethodNotAllowed:
		return // from whoever
	}
	s, now := h.source(name), h.now()
	s.refused++
	switch again, waits := h.refused[r]; {
	case waits:
		again.until = now
	case len(h.refused) < maxRefused:
		h.refused[r] = &span{now, now}
	default:
		s.book(reasonRefused, now, 1)
	}
}

// expire gives up on refused requests that did not come again. h.mu is held.
func (h *Health) expire(now time.Time) {
	webhook := slices.IndexFunc(h.sources, func(s *source) bool { return s.kind == KindWebhook })
	for r, tried := range h.refused {
		if now.Sub(tried.until) > forgiven {
			h.sources[webhook].book(reasonRefused, tried.since, 1)
			h.sources[webhook].book(reasonRefused, tried.until, 0)
			delete(h.refused, r)
		}
	}
}

// together is how the sources are as one: the webhook speaks for every API server, files
// only all together. h.mu is held.
func (h *Health) together() (condition collectorv1.AuditCondition, of []*source) {
	condition = collectorv1.AuditCondition_AUDIT_CONDITION_OFF
	var files []*source
	worst := collectorv1.AuditCondition_AUDIT_CONDITION_UNSPECIFIED
	for _, s := range h.sources {
		if s.kind == KindFile {
			files = append(files, s)
			if worst == collectorv1.AuditCondition_AUDIT_CONDITION_UNSPECIFIED || badness(s.condition) > badness(worst) {
				worst = s.condition
			}
			continue
		}
		condition, of = s.condition, []*source{s}
	}
	switch {
	case len(files) == 0:
	case len(of) == 0 || badness(worst) < badness(condition):
		return worst, files
	case worst == condition:
		return condition, append(of, files...)
	}
	return condition, of
}

// badness orders conditions: a source that brought something once and does no more is worse
// than one that never did.
func badness(c collectorv1.AuditCondition) int {
	return slices.Index([]collectorv1.AuditCondition{
		collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED,
		collectorv1.AuditCondition_AUDIT_CONDITION_STALE,
	}, c)
}

// newest is up to where the sources have brought everything, as far as they bring it in
// order.
func newest(of []*source) time.Time {
	var webhook, files time.Time
	for _, s := range of {
		switch {
		case s.kind == KindWebhook:
			webhook = s.complete()
		case files.IsZero() || s.newest.Before(files):
			files = s.newest
		}
	}
	return later(webhook, files)
}

// lateness of several: who waits for all waits for the latest.
func lateness(of []*source) (skew, delay time.Duration, known bool) {
	for _, s := range of {
		least, most, any := s.lateness()
		switch {
		case !any:
		case !known:
			skew, delay, known = least, most, true
		default:
			skew, delay = min(skew, least), max(delay, most)
		}
	}
	return skew, delay, known
}

// order is for gaps.
func order(a, b *gap) int { return cmp.Compare(a.id, b.id) }
