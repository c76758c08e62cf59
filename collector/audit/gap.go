package audit

import (
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// gap is one that was told, or is about to be.
type gap struct {
	span
	id     int64
	source string
	reason string
	count  uint64
	filled bool
	untold bool // or changed since
}

// open says whether what comes may still make it less.
func (g *gap) open(now time.Time) bool {
	return !g.filled && (g.reason == reasonSilent || g.reason == reasonDown || g.reason == reasonRotated) && now.Sub(g.until) < horizon
}

func (g *gap) message() *collectorv1.AuditGap {
	stage := "source"
	switch g.reason {
	case reasonDown, reasonRefused, reasonUnreadable:
		stage = "collector"
	}
	return &collectorv1.AuditGap{Id: strconv.FormatInt(g.id, 10), Source: g.source, Filled: g.filled, Gap: &sensorv1.Gap{
		Class: "audit", Stage: stage, Reason: g.reason, Since: timestamppb.New(g.since), Until: timestamppb.New(g.until), Count: g.count,
	}}
}

// missing are the times that no source has brought, between the first and the last event
// there is. A webhook and files stand in for each other; each file is of another API
// server. h.mu is held.
func (h *Health) missing() []span {
	out := []span{{ever, never}}
	var files []span
	for _, s := range h.sources {
		if s.kind == KindFile {
			files = either(files, s.missing())
		} else {
			out = common(out, s.missing())
		}
	}
	if files != nil {
		out = common(out, files)
	}
	return slices.DeleteFunc(out, func(s span) bool {
		// What remains between two sources is no longer than each one's own pauses.
		return s.since.Equal(ever) || s.until.Equal(never) || s.length() <= minPause && h.reason(s) != reasonRotated
	})
}

// busy says whether a source may be about to bring what lies in a gap. h.mu is held.
func (h *Health) busy(in span, now time.Time) bool {
	return slices.ContainsFunc(h.sources, func(s *source) bool {
		return s.kind == KindFile && !s.drained && s.newest.Before(in.until) && now.Sub(later(s.received, h.started)) < patience
	})
}

// look brings the gaps up to date. h.mu is held.
func (h *Health) look(now time.Time) {
	old := now.Add(-horizon)
	for _, s := range h.sources {
		for _, one := range append(s.servers[:len(s.servers):len(s.servers)], s) {
			one.holes = slices.DeleteFunc(one.holes, func(x hole) bool { return x.until.Before(old) })
		}
	}
	missing := slices.DeleteFunc(h.missing(), func(s span) bool { return s.until.Before(old) })
	for _, g := range h.gaps {
		if !g.open(now) {
			continue
		}
		i := slices.IndexFunc(missing, g.overlaps)
		switch {
		case i < 0:
			g.filled, g.untold = true, true
			continue
		case missing[i] != g.span && !h.busy(missing[i], now):
			g.span, g.untold = missing[i], true
		}
		missing = slices.Delete(missing, i, i+1)
	}
	found := make(map[span]time.Time, len(missing))
	for _, m := range missing {
		at, known := h.found[m]
		if !known {
			at = now
		}
		if now.Sub(at) < settle || h.busy(m, now) {
			found[m] = at
			continue
		}
		h.add(&gap{span: m, source: h.whose(), reason: h.reason(m)})
	}
	h.found = found
}

// add books a gap under the next id. h.mu is held.
func (h *Health) add(g *gap) {
	g.id, g.untold = 1, true
	if n := len(h.gaps); n > 0 {
		g.id = h.gaps[n-1].id + 1
	}
	h.gaps = append(h.gaps, g)
	if n := len(h.gaps) - maxGaps; n > 0 {
		h.gaps = slices.Delete(h.gaps, 0, n)
	}
}

// whose is the name of the only source there is. h.mu is held.
func (h *Health) whose() string {
	if len(h.sources) == 1 {
		return h.sources[0].name
	}
	return ""
}

// reason is why a time is missing. h.mu is held.
func (h *Health) reason(missing span) string {
	for _, s := range h.sources {
		for _, one := range append([]*source{s}, s.servers...) {
			for _, x := range one.holes {
				if x.overlaps(missing) {
					return x.reason
				}
			}
		}
	}
	return reasonSilent
}

// total makes gaps of what could not be kept. h.mu is held.
func (h *Health) total() {
	for _, s := range h.sources {
		for reason, l := range s.lost {
			h.add(&gap{span: l.span, source: s.name, reason: reason, count: l.count})
		}
		clear(s.lost)
	}
}
