package audit

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

const (
	// unfinishedAfter is how long the end of a patch is waited for: an API server gives up on
	// one after 34 s, and tries what a webhook did not take for up to 80 s. What is not told
	// by then a restart finds again in the log.
	unfinishedAfter = resumeFrom
	// maxUnfinished bounds the patches that are waited for; of more at once nothing is known.
	maxUnfinished = 1024
	// maxEnded is how many are known that ended or were told, for what comes of them later.
	maxEnded = 1 << 14
	// maxUnfinishedTold are told in one message, and maxUnfinishedBytes is what one of them
	// may be long without being cut.
	maxUnfinishedTold  = 64
	maxUnfinishedBytes = 4 << 10
)

// unfinished knows the patches that came and have no end. Health guards it.
type unfinished struct {
	seed  maphash.Seed
	begun map[uint64]begun
	ended *recent
	due   []*auditv1.Event // to be told
}

// begun is a patch that is waited for.
type begun struct {
	event    *auditv1.Event
	received time.Time
}

func newUnfinished() *unfinished {
	return &unfinished{seed: maphash.MakeSeed(), begun: map[uint64]begun{}, ended: newRecent(maxEnded)}
}

// observe takes in a stage of a request, in whatever order and however often they come.
func (u *unfinished) observe(received time.Time, e *auditv1.Event) {
	if e.Verb != "patch" {
		return
	}
	key := u.key(e)
	switch {
	case e.Stage != auditv1.Stage_STAGE_RECEIVED:
		delete(u.begun, key)
		u.ended.add(key)
	case !u.ended.contains(key) && len(u.begun) < maxUnfinished:
		if _, known := u.begun[key]; !known {
			u.begun[key] = begun{brief(e), received}
		}
	}
}

// key tells a request: its id is the client's own word, its time is not.
func (u *unfinished) key(e *auditv1.Event) uint64 {
	var h maphash.Hash
	h.SetSeed(u.seed)
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(e.GetRequestTime().AsTime().UnixMicro()))
	_, _ = h.Write(at[:]) // never fails, as the others
	for _, text := range [...]string{e.AuditId, e.GetUser().GetName()} {
		_, _ = h.WriteString(text[:min(len(text), maxText/4)]) // what is cut has the same key
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// brief is a copy of an event that is not long.
func brief(e *auditv1.Event) *auditv1.Event {
	if proto.Size(e) <= maxUnfinishedBytes {
		return proto.CloneOf(e)
	}
	short := &auditv1.Event{AuditId: cut(e.AuditId), Stage: e.Stage, Level: e.Level, RequestTime: e.RequestTime, StageTime: e.StageTime,
		Verb: e.Verb, RequestUri: cut(e.RequestUri), User: briefUser(e.User), Impersonated: briefUser(e.Impersonated), UserAgent: cut(e.UserAgent)}
	if n := len(e.SourceIps); n > 0 {
		short.SourceIps = []string{cut(e.SourceIps[n-1])} // the peer
	}
	if o := e.Object; o != nil {
		short.Object = &auditv1.Object{Resource: cut(o.Resource), Subresource: cut(o.Subresource), Namespace: cut(o.Namespace), Name: cut(o.Name),
			ApiGroup: cut(o.ApiGroup), ApiVersion: cut(o.ApiVersion)}
	}
	return short
}

func briefUser(u *auditv1.User) *auditv1.User {
	if u == nil {
		return nil
	}
	return &auditv1.User{Name: cut(u.Name), Uid: cut(u.Uid)}
}

// giveUp finds the patches whose end does not come any more. What may still come is waited
// for, for as long as patience lasts; where everything of a time is missing, the gap says so.
// h.mu is held.
func (h *Health) giveUp(now time.Time) {
	receives := h.condition == collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING
	var lost []*auditv1.Event
	for key, b := range h.unfinished.begun {
		waited := now.Sub(later(b.received, h.started))
		if waited < unfinishedAfter {
			continue
		}
		at := b.event.GetRequestTime().AsTime()
		about := span{at, at.Add(minPause)}
		missing := slices.ContainsFunc(h.gaps, func(g *gap) bool {
			return !g.filled && g.reason != reasonUnreadable && !g.since.After(about.until) && !about.since.After(g.until)
		})
		mayCome := !receives || len(h.refused) > 0
		for m := range h.found {
			mayCome = mayCome || m.overlaps(about)
		}
		for _, s := range h.sources {
			mayCome = mayCome || s.lost[reasonRefused] != nil // a gap soon
		}
		switch {
		case missing, !receives && waited >= patience:
			delete(h.unfinished.begun, key)
		case mayCome && waited < patience:
		default:
			delete(h.unfinished.begun, key)
			h.unfinished.ended.add(key) // another source may bring it still
			lost = append(lost, b.event)
			h.counts.unfinished.Inc()
		}
	}
	slices.SortFunc(lost, func(a, b *auditv1.Event) int { return a.RequestTime.AsTime().Compare(b.RequestTime.AsTime()) })
	h.unfinished.due = append(h.unfinished.due, lost...)
}
