package audit

import (
	"fmt"
	"slices"
	"time"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// SourceKind is the way that a source comes.
type SourceKind string

const (
	// KindWebhook speaks for every API server of the cluster.
	KindWebhook SourceKind = "webhook"
	// KindFile is the log of one API server. It has all that this one recorded, in order,
	// until a file is gone.
	KindFile SourceKind = "file"
)

// Bounds of silence, and why. A live API server is never silent for long: kubelets,
// schedulers and controllers renew leases every 2 to 10 s, and where the policy leaves those
// out, something else comes about as regularly; how regularly, each source teaches.
const (
	// A pause of stage times shorter than that is no gap. An API server that is started anew
	// is away for less than a minute, and what a webhook could not deliver for so long API
	// servers send again (five tries within 80 s).
	minPause = time.Minute
	// The webhook sends at least every 30 s (--audit-webhook-batch-max-wait).
	minSilence = minPause + 30*time.Second
	// A source that is usually silent for longer is of no use to those who wait for records.
	maxSilence = 15 * time.Minute
	// How many times what is usual is too long.
	unusual = 3
	// What was usual counts half after such a time.
	usualFor = time.Hour

	// What came in the last one to two of these decides about delay and skew.
	window = 5 * time.Minute
	// Clocks that NTP keeps differ by some milliseconds; events of a future further away
	// than that do not exist.
	ahead = 2 * time.Second
	// A source that brings events as they happen is never later than this with all of them:
	// twice the webhook's 30 s. Its API server's clock is behind then, or what is between them
	// is that slow.
	behind = time.Minute

	// maxHoles bounds what is remembered of one source, the latest count.
	maxHoles = 64
)

// Reasons of gaps.
const (
	reasonSilent     = "silent"  // nothing came, for longer than that is ever so
	reasonDown       = "down"    // the same while the collector did not run
	reasonRotated    = "rotated" // a log file was gone before it was read
	reasonRefused    = "refused" // requests that were not taken and did not come again
	reasonUnreadable = "unreadable"
)

// hole is a time that a source brought nothing of.
type hole struct {
	span
	// bound is what a remainder has to be longer than.
	bound  time.Duration
	reason string
}

// source is what is known of one. Health guards it.
type source struct {
	name string
	kind SourceKind

	condition collectorv1.AuditCondition
	since     time.Time
	// Stage times; zero: nothing came.
	oldest, newest time.Time
	received       time.Time
	holes          []hole // in order
	// silence is between what came, pause between stage times: the longest that is usual.
	silence, pause time.Duration
	weighed        time.Time // when the usual was last made less
	resumed        bool      // nothing came since the start: what passed says nothing of the source
	rotated        bool      // the next event is behind a file that was lost
	drained        bool      // of a file: all that was there has been read
	recent, before delays

	servers []*source // of a webhook: who sends
	back    time.Time // when the source came, or came again

	events, repeated, unreadable, tooLarge, refused uint64
	lost                                            map[string]*loss // by reason, to be told
}

// delays are the least and the greatest differences of receipt and stage time.
type delays struct {
	begun       time.Time
	least, most time.Duration
	any         bool
}

// loss is what could not be kept.
type loss struct {
	span
	count uint64
}

func newSource(name string, kind SourceKind, now time.Time) *source {
	return &source{name: name, kind: kind, condition: collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED, since: now, resumed: true,
		lost: map[string]*loss{}}
}

// arrived takes in that events with these stage times came, in their order. Those of
// another clock than ours.
func (s *source) arrived(received time.Time, down span, stages []time.Time) {
	if !s.resumed && !s.received.IsZero() {
		s.silence = learn(s.silence, received.Sub(s.received), s.bound(s.silence, minSilence))
	}
	s.fade(received)
	s.received = later(s.received, received)
	if received.Sub(s.recent.begun) >= window {
		s.before, s.recent = s.recent, delays{begun: received}
	}
	for _, stage := range stages {
		s.recent.see(received.Sub(stage))
		// What is days ahead or before all time says that a clock is wrong, and nothing else.
		if stage.After(ever) && stage.Sub(received) < horizon {
			s.reach(stage, down)
		}
	}
	s.resumed = false
}

// learn is what is usual now. What is too long to be usual is an outage and teaches nothing.
func learn(usual, seen, bound time.Duration) time.Duration {
	if seen > bound {
		return usual
	}
	return max(usual, seen)
}

// fade forgets by and by.
func (s *source) fade(now time.Time) {
	if s.weighed.IsZero() {
		s.weighed = now
	}
	for now.Sub(s.weighed) >= usualFor {
		s.weighed = s.weighed.Add(usualFor)
		s.silence, s.pause = s.silence/2, s.pause/2
		if now.Sub(s.weighed) > 64*usualFor {
			s.weighed = now
		}
	}
}

// bound is how long is too long.
func (s *source) bound(usual, least time.Duration) time.Duration {
	return min(max(unusual*usual, least), maxSilence)
}

// reach takes one stage time in.
func (s *source) reach(stage time.Time, down span) {
	switch {
	case s.newest.IsZero():
		s.oldest, s.newest = stage, stage
	case stage.After(s.newest):
		s.step(span{s.newest, stage}, down)
		s.newest = stage
	default:
		s.oldest = earlier(s.oldest, stage)
		if s.kind == KindWebhook { // what comes late fills
			s.fill(stage)
		}
	}
	s.rotated = false
}

// step looks whether something is missing between two events that followed each other.
func (s *source) step(between span, down span) {
	bound := s.bound(s.pause, minPause)
	switch {
	case s.rotated:
		s.dig(hole{between, 0, reasonRotated})
	case s.kind == KindFile: // it pauses when its server does
	case between.length() > bound:
		reason := reasonSilent
		if between.overlaps(down) {
			reason = reasonDown
		}
		s.dig(hole{between, bound, reason})
	default:
		s.pause = learn(s.pause, between.length(), bound)
	}
}

func (s *source) dig(h hole) {
	s.holes = append(s.holes, h)
	if n := len(s.holes) - maxHoles; n > 0 {
		s.holes = slices.Delete(s.holes, 0, n)
	}
}

// fill makes a hole less in which an event lies after all.
func (s *source) fill(stage time.Time) {
	for i, h := range s.holes {
		if !h.since.Before(stage) || !stage.Before(h.until) {
			continue
		}
		var rest []hole
		for _, part := range []span{{h.since, stage}, {stage, h.until}} {
			if part.length() > h.bound {
				rest = append(rest, hole{part, h.bound, h.reason})
			}
		}
		s.holes = slices.Replace(s.holes, i, i+1, rest...)
		return
	}
}

// missing is what the source has not brought, the times before and behind all it has
// brought included.
func (s *source) missing() []span {
	if s.newest.IsZero() {
		return []span{{ever, never}}
	}
	out := make([]span, 0, len(s.holes)+2)
	out = append(out, span{ever, s.oldest})
	for _, h := range s.holes {
		out = append(out, h.span)
	}
	out = append(out, span{s.newest, never})
	// What one server did not bring others cannot.
	for _, one := range s.servers {
		if !one.settled() {
			continue
		}
		for _, h := range one.holes {
			out = either(out, []span{h.span})
		}
	}
	return out
}

// judge says how the source is now.
func (s *source) judge(now time.Time) {
	var condition collectorv1.AuditCondition
	since := s.since
	switch {
	case s.received.IsZero():
		condition = collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED
	case now.Sub(s.received) > s.bound(s.silence, minSilence):
		condition, since = collectorv1.AuditCondition_AUDIT_CONDITION_STALE, s.received
	default:
		condition = collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING
		if s.back.IsZero() {
			s.back = now
		}
		if s.condition != condition {
			since = now
		}
	}
	if condition != collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING {
		s.back = time.Time{}
	} else if quiet := s.quiet(now); len(quiet) > 0 {
		condition, since = collectorv1.AuditCondition_AUDIT_CONDITION_STALE, quiet[0].received
		for _, one := range quiet {
			since = earlier(since, one.received)
		}
	}
	s.expire(now)
	s.condition, s.since = condition, since
}

func (d *delays) see(delay time.Duration) {
	if !d.any {
		d.least, d.most, d.any = delay, delay, true
	}
	d.least, d.most = min(d.least, delay), max(d.most, delay)
}

// lateness is the least difference of receipt and stage time, which is the clocks' and the
// least delay, and by how much the greatest is above it.
func (s *source) lateness() (skew, delay time.Duration, known bool) {
	d := s.recent
	if s.before.any {
		d.see(s.before.least)
		d.see(s.before.most)
	}
	return d.least, d.most - d.least, d.any
}

// skewed says whether a clock is wrong. That one is behind takes a while to tell: what comes
// again after an outage is late, too.
func (s *source) skewed() bool {
	skew, _, known := s.lateness()
	return known && (skew < -ahead || skew > behind && s.before.any && (s.kind != KindFile || s.drained))
}

// explain says for people why a source is not as it should be; empty: it is.
func (s *source) explain(now time.Time) string {
	skew, _, _ := s.lateness()
	switch {
	case s.condition == collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED:
		return "nothing has come yet"
	case s.condition == collectorv1.AuditCondition_AUDIT_CONDITION_STALE && !s.back.IsZero():
		return s.explainQuiet(now)
	case s.condition == collectorv1.AuditCondition_AUDIT_CONDITION_STALE:
		return fmt.Sprintf("nothing has come for %s, usual are at most %s", now.Sub(s.received).Round(time.Second), s.silence.Round(time.Second))
	case s.skewed() && skew < 0:
		return fmt.Sprintf("the API server's clock is at least %s ahead of the collector's", (-skew).Round(time.Millisecond))
	case s.skewed():
		return fmt.Sprintf("the API server's clock is behind the collector's, or everything comes late: by %s at least", skew.Round(time.Second))
	}
	return ""
}

// book notes something that could not be kept.
func (s *source) book(reason string, at time.Time, count uint64) {
	l := s.lost[reason]
	if l == nil {
		l = &loss{span: span{at, at}}
		s.lost[reason] = l
	}
	l.until = later(l.until, at)
	l.count += count
}
