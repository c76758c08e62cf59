package correlate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Rules for requests to the Kubernetes API are the one thing that the machine goes by and
// the log does not have: like the program itself they are what a run was given. What they
// remember are rows of the machine.

// tagAttempt is of alerts of requests none of which was let through.
const tagAttempt = "attempt"

// maxRuleRequests are told of one match; the others are counted.
const maxRuleRequests = 32

// UseRules has requests judged by rules from the next message on; what earlier ones of the
// same windows remember stays. excepted counts what exceptions took out; nil: nobody counts.
func (c *Correlator) UseRules(ctx context.Context, set *auditrule.Set, excepted *rule.Excepted) error {
	c.rules, c.excepted = set, excepted
	if err := c.load(ctx); err != nil {
		return err
	}
	return c.machine.useRules(set, excepted)
}

func (m *Machine) useRules(set *auditrule.Set, excepted *rule.Excepted) error {
	if set == nil {
		return nil
	}
	if m.matcher != nil {
		m.matcher.Use(set)
		return nil
	}
	m.matcher = auditrule.NewMatcher(set, auditrule.Limits{}, excepted)
	for _, row := range m.ruleRows {
		if err := m.matcher.Restore(auditrule.Row{Key: row.Key, Body: row.Body}); err != nil {
			return fmt.Errorf("%s %s: %w", rowRule, row.Key, err)
		}
	}
	m.ruleRows = nil
	m.matcher.Restored()
	return nil
}

// judge makes alerts of what rules say of an event.
func (m *Machine) judge(cluster string, e *auditv1.Event) error {
	if m.matcher == nil {
		return nil
	}
	for _, match := range m.matcher.Match(e, m.now()) {
		if err := m.matched(cluster, e, match); err != nil {
			return err
		}
	}
	return nil
}

// matched takes a match into the alert of its repeats.
func (m *Machine) matched(cluster string, e *auditv1.Event, match auditrule.Match) error {
	cluster = cutID(cluster)
	at := m.notAfterNow(match.Last)
	identity := alert.Identity{Kind: alert.KindAudit, Cluster: cluster, AnchorKind: alert.AnchorUser, AnchorKey: cutName(actor(e).GetName()), Fingerprint: match.Key}
	if identity.AnchorKey == "" {
		identity.AnchorKind, identity.AnchorKey = alert.AnchorObject, objectName(e.GetObject())
	}
	key := alert.Hash("audit", cluster, match.Key)
	if a := m.raised.get(key); a != nil && m.notAfterNow(match.First).UnixNano()-a.Last > int64(auditrule.FoldWithin) {
		m.close(a)
	}
	f := &fact{cluster: cluster, agentID: auditShare, at: at, event: &sensorv1.Event{Container: podOf(e.GetObject())}}
	a := m.anchor(identity, key, f)
	first := !a.isRaised()
	if first {
		if err := m.raise(a, f); err != nil {
			return err
		}
		a.Alert.Title = line(cmp.Or(match.Rule.Title, match.Rule.ID))
	}
	m.outcome(a, match, first)
	own := lastIndex(match.AuditIDs, e.AuditId)
	for i, id := range match.AuditIDs {
		// Clients may give many requests one id: each is a fact of its own.
		text, fact := match.Summary, alert.Hash("request", match.Rule.ID, keyOf(cluster, e).row())
		if i != own {
			text, fact = "one of the requests that it was found by: "+id, alert.Hash("found by", fact, id, strconv.Itoa(i))
		}
		m.take(a, &alertv1.Evidence{
			EventId: cutID(id), AuditId: cutID(id), Time: timestamp(at.UnixNano()), Role: roleRequest, Text: line(text), Rule: cutID(match.Rule.ID),
			DetectionId: fact, Severity: match.Severity,
		}, clockBound)
	}
	a.Alert.EvidenceOmitted = alert.AddUp(a.Alert.EvidenceOmitted, uint64(max(match.Omitted, 0)))
	if a.Alert.FirstTime == nil || m.notAfterNow(match.First).Before(a.Alert.FirstTime.AsTime()) {
		a.Alert.FirstTime = timestamp(m.notAfterNow(match.First).UnixNano())
	}
	a.First, a.Last = min(a.First, m.notAfterNow(match.First).UnixNano()), max(a.Last, at.UnixNano())
	a.Alert.Tactics = union(a.Alert.Tactics, match.Rule.Tactics)
	a.Alert.Techniques = union(a.Alert.Techniques, match.Rule.Techniques)
	a.Alert.Tags = union(a.Alert.Tags, match.Rule.Tags)
	told := tellRequest(roleRule, e, unixNano(e.RequestTime))
	a.Alert.Requests = addRequest(a.Alert.Requests, told)
	if slices.Contains(a.Alert.Requests, told) {
		m.tells(a, keyOf(cluster, e))
	}
	m.worsen(a, match.Severity)
	return nil
}

// addRequest takes a request in that is not told yet. Where there is no room, one that was
// let through takes the place of the latest that was not: nobody hides it behind tries.
func addRequest(requests []*alertv1.Request, told *alertv1.Request) []*alertv1.Request {
	if slices.ContainsFunc(requests, func(r *alertv1.Request) bool { return sameRequest(r, told) }) {
		return requests
	}
	if len(requests) < maxRuleRequests {
		return append(requests, told)
	}
	if told.Code < 400 {
		for i, r := range slices.Backward(requests) {
			if r.Role == roleRule && r.Code >= 400 {
				return append(slices.Delete(requests, i, i+1), told)
			}
		}
	}
	return requests
}

// sameRequest tells requests apart. The audit id alone does not: clients may choose it.
func sameRequest(x, y *alertv1.Request) bool {
	return x.AuditId == y.AuditId && x.GetTime().AsTime().Equal(y.GetTime().AsTime())
}

func lastIndex(words []string, word string) int {
	for i, w := range slices.Backward(words) {
		if w == word {
			return i
		}
	}
	return -1
}

// outcome notes whether requests were let through. That one was, after attempts, is told
// at once.
func (m *Machine) outcome(a *anchor, match auditrule.Match, first bool) {
	attempted := slices.Contains(a.Alert.Tags, tagAttempt)
	switch {
	case first && match.Attempt:
		a.Alert.Tags = union(a.Alert.Tags, []string{tagAttempt})
	case !match.Attempt && attempted:
		a.Alert.Tags = slices.DeleteFunc(a.Alert.Tags, func(tag string) bool { return tag == tagAttempt })
		m.later(a, 0)
	}
}

// notAfterNow is a time of an API server's, but not after now.
func (m *Machine) notAfterNow(t time.Time) time.Time {
	if now := m.now(); t.After(now) || t.Unix() <= 0 {
		return now
	}
	return t
}

// actor is as whom a request was carried out.
func actor(e *auditv1.Event) *auditv1.User {
	if e.Impersonated != nil {
		return e.Impersonated
	}
	return e.User
}

func objectName(o *auditv1.Object) string {
	if o == nil {
		return "api"
	}
	name := o.Resource
	if o.Subresource != "" {
		name += "/" + o.Subresource
	}
	return cutName(name + " " + o.Namespace + "/" + o.Name)
}

// podOf is where a request reaches, as far as a container can say it; nil: nowhere.
func podOf(o *auditv1.Object) *sensorv1.Container {
	if o.GetNamespace() == "" {
		return nil
	}
	pod := &sensorv1.Pod{Namespace: cutID(o.Namespace)}
	if o.Resource == "pods" {
		pod.Name, pod.Uid = cutName(o.Name), cutID(o.Uid)
	}
	return &sensorv1.Container{Pod: pod}
}

// ruleStates are the rows of what rules remember that changed.
func (m *Machine) ruleStates(rows []Row) []Row {
	if m.matcher == nil {
		return rows
	}
	for _, row := range m.matcher.Changes() {
		rows = append(rows, Row{Kind: rowRule, Key: row.Key, Body: row.Body})
	}
	return rows
}
