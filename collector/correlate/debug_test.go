package correlate

import (
	"bytes"
	"strings"
	"testing"
	"time"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// debugs is the record of a kubectl debug; without a UID: of a dry run, or cut.
func debugs(id, user string, at time.Duration, uid string) *auditv1.Event {
	e := ask{id: id, user: user, at: after(at), end: after(at)}.event(auditv1.Stage_STAGE_COMPLETE)
	e.Object.Subresource, e.Verb, e.Code, e.Entry = "ephemeralcontainers", "patch", 200, nil
	e.Request = []byte(`{"spec":{"ephemeralContainers":[{"name":"app","image":"x"}]}}`)
	if uid != "" {
		e.Response = []byte(`{"kind":"Pod","metadata":{"name":"` + testPod + `","uid":"` + uid + `"},"spec":{"ephemeralContainers":[{"name":"app"}]}}`)
	}
	return e
}

// TestDebugOfAnotherPod: a container of that name in a pod of that name may be another one.
func TestDebugOfAnotherPod(t *testing.T) {
	dry := debugs("dry", "eve", 100*time.Second, "u2")
	dry.RequestUri = "/api/v1/namespaces/store/pods/web-0/ephemeralcontainers?fieldManager=kubectl&dryRun=All"
	for _, test := range []struct {
		name  string
		first *auditv1.Event
		want  []string // before bob's record, and then
	}{
		{"known", debugs("alice", "alice", 10*time.Second, "u1"), []string{"bobs=waiting", "bobs=bob"}},
		{"not-known", debugs("alice", "alice", 10*time.Second, ""), []string{"bobs=alice?", "bobs=bob"}},
		{"dry-run", dry, []string{"bobs=waiting", "bobs=bob"}},
	} {
		s := newStory(t)
		s.events(after(seconds(110)), test.first)
		c := comeIn{id: "bobs", init: true, container: "c2", at: after(182 * time.Second), args: []string{"sh"}}
		anew := created(after(90*time.Second), `{"containers":[{"name":"server"}],"ephemeralContainers":[{"name":"app"}]}`)
		anew.Response = bytes.Replace(anew.Response, []byte(`"uid":"u1"`), []byte(`"uid":"u2"`), 1)
		s.events(after(90*time.Second), anew)
		s.sessionOf(testAgent, seconds(182.1), c, ofPod("u2"))
		s.events(after(400*time.Second), debugs("bob", "bob", 180*time.Second, "u2"))
		for i, until := range []time.Duration{190 * time.Second, 500 * time.Second} {
			m, _ := s.run(until)
			var got string
			for _, found := range m.sessions.all() {
				got = found.Key.ID + "=" + strings.ToLower(strings.TrimPrefix(found.Attribution.String(), "ATTRIBUTION_"))
				if found.Attribution == joined || found.Attribution == ambiguous {
					got = found.Key.ID + "=" + found.Requests[0].AuditId
					if found.Attribution == ambiguous {
						got += "?"
					}
				}
			}
			if got != test.want[i] {
				t.Errorf("%s at %v: got %s, want %s", test.name, until, got, test.want[i])
			}
		}
	}
}
