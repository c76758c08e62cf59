package main

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// auditAlert is what a replay says of the matches of one rule that have their key in common.
type auditAlert struct {
	ID       string `json:"id"`
	Rule     string `json:"rule"`
	Title    string `json:"title"`
	Severity string `json:"severity"`
	// Attempt says that no request of it was allowed.
	Attempt bool   `json:"attempt"`
	Summary string `json:"summary"`
	// Time and Until are when the first and the last request came.
	Time  time.Time `json:"time"`
	Until time.Time `json:"until"`
	// User is who was authenticated, and As whom the request was carried out as, if that
	// is another; of the first request, as SourceIP is.
	User     string `json:"user"`
	As       string `json:"impersonated,omitempty"`
	SourceIP string `json:"source_ip"`
	// AuditIDs are the requests that raised it, at most 64; Omitted counts the others.
	AuditIDs   []string          `json:"audit_ids"`
	Omitted    int               `json:"omitted,omitempty"`
	Count      uint64            `json:"count"`
	Techniques []string          `json:"techniques,omitempty"`
	Evidence   map[string]string `json:"evidence,omitempty"`

	severity sensorv1.Severity
	episode  time.Time // of the match that Count was last taken from
	counted  uint64    // of it
	open     *list.Element
}

// Bounds of a replay: more alerts at a time are printed before they are over.
const (
	maxOpenAlerts = 8192
	maxAlertIDs   = 64
)

// auditFold makes alerts of matches and prints them when nothing more can come to them,
// in the order of their last requests.
type auditFold struct {
	print func(*auditAlert) error
	open  map[string]*auditAlert
	order *list.List // of keys, by their last match, the oldest in front
}

func newAuditFold(print func(*auditAlert) error) *auditFold {
	return &auditFold{print: print, open: make(map[string]*auditAlert), order: list.New()}
}

func (f *auditFold) add(e *auditv1.Event, m auditrule.Match) error {
	a := f.open[m.Key]
	if a != nil && m.First.Sub(a.Until) > auditrule.FoldWithin {
		if err := f.finish(m.Key); err != nil {
			return err
		}
		a = nil
	}
	if a == nil {
		if len(f.open) >= maxOpenAlerts {
			if err := f.finish(f.order.Front().Value.(string)); err != nil {
				return err
			}
		}
		a = newAuditAlert(e, m)
		a.open = f.order.PushBack(m.Key)
		f.open[m.Key] = a
	}
	f.order.MoveToBack(a.open)
	a.fold(m)
	return nil
}

func newAuditAlert(e *auditv1.Event, m auditrule.Match) *auditAlert {
	id := sha256.Sum256([]byte(m.Key + "\x00" + m.AuditIDs[0]))
	a := &auditAlert{
		ID: hex.EncodeToString(id[:16]), Rule: m.Rule.ID, Title: m.Rule.Title, Attempt: true, Time: m.First, Until: m.Last,
		User: e.GetUser().GetName(), As: e.GetImpersonated().GetName(), Techniques: m.Rule.Techniques,
	}
	if n := len(e.GetSourceIps()); n > 0 {
		a.SourceIP = e.SourceIps[n-1]
	}
	return a
}

// fold adds a match. The most severe one speaks for all, of those the first.
func (a *auditAlert) fold(m auditrule.Match) {
	if m.Severity > a.severity {
		a.severity, a.Severity = m.Severity, severityOf(m.Severity)
		a.Summary, a.Evidence = m.Summary, m.Evidence
	}
	a.Attempt = a.Attempt && m.Attempt
	if m.First.Before(a.Time) {
		a.Time = m.First
	}
	if m.Last.After(a.Until) {
		a.Until = m.Last
	}
	// A window that raises again counts what it counted before.
	if a.episode.Equal(m.First) && m.Rule.Window != nil {
		a.Count += m.Count - min(a.counted, m.Count)
	} else {
		a.Count += m.Count
	}
	a.episode, a.counted = m.First, m.Count
	a.Omitted += m.Omitted
	for _, id := range m.AuditIDs {
		switch {
		case slices.Contains(a.AuditIDs, id):
		case len(a.AuditIDs) < maxAlertIDs:
			a.AuditIDs = append(a.AuditIDs, id)
		default:
			a.Omitted++
		}
	}
}

// close prints the alerts that are over.
func (f *auditFold) close(now time.Time) error {
	for front := f.order.Front(); front != nil; front = f.order.Front() {
		key := front.Value.(string)
		if now.Sub(f.open[key].Until) <= 2*auditrule.FoldWithin { // records may be late
			return nil
		}
		if err := f.finish(key); err != nil {
			return err
		}
	}
	return nil
}

func (f *auditFold) finish(key string) error {
	a := f.open[key]
	f.order.Remove(a.open)
	delete(f.open, key)
	return f.print(a)
}

// end prints what is open, in the order of their first requests.
func (f *auditFold) end() error {
	rest := make([]*auditAlert, 0, len(f.open))
	for _, a := range f.open {
		rest = append(rest, a)
	}
	slices.SortFunc(rest, func(a, b *auditAlert) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.ID, b.ID))
	})
	for _, a := range rest {
		if err := f.print(a); err != nil {
			return err
		}
	}
	return nil
}
