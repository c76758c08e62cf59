package correlate

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// TestUnfinishedPatches: who sent patches of which nobody recorded what they did is told,
// one alert for each.
func TestUnfinishedPatches(t *testing.T) {
	patch := func(id, user, pod string, at time.Time) *auditv1.Event {
		return &auditv1.Event{AuditId: id, Stage: auditv1.Stage_STAGE_RECEIVED, Verb: "patch", RequestUri: "/api/v1/namespaces/shop/pods/" + pod,
			User: &auditv1.User{Name: user}, SourceIps: []string{"192.0.2.7"}, RequestTime: timestamppb.New(at), StageTime: timestamppb.New(at),
			Object: &auditv1.Object{Resource: "pods", Namespace: "shop", Name: pod}}
	}
	l := newLog()
	l.receiving(t, noon, noon, 0)
	tell := func(now time.Time, events ...*auditv1.Event) {
		l.put(t, now, &collectorv1.LogMessage{Body: &collectorv1.LogMessage_AuditState{AuditState: &collectorv1.AuditState{
			Cluster: testCluster, Condition: collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, Since: timestamppb.New(noon), Unfinished: events,
		}}})
	}
	tell(after(3*time.Minute), patch("a", "mallory", "web", after(0)), patch("b", "mallory", "shop-db", after(time.Second)))
	tell(after(4*time.Minute), patch("c", "ci", "web", after(time.Minute)))
	l.tick(t, settle)
	revisions := playRules(t, l.messages, func(int) bool { return true })
	found := map[string]int{}
	for _, a := range latest(revisions) {
		if a.Kind != alert.KindAudit || a.Severity != sensorv1.Severity_SEVERITY_MEDIUM || a.Title == "" || len(a.Requests) == 0 || a.Requests[0].SourceIp != "192.0.2.7" {
			t.Errorf("got %v", a)
		}
		for _, e := range a.Evidence {
			if e.Rule != "audit-unfinished-patch" || !strings.Contains(e.Text, a.Anchor.Key+" patched pods shop/") {
				t.Errorf("evidence %v", e)
			}
			found[a.Anchor.Key+" "+e.AuditId]++
		}
	}
	if len(found) != 3 || found["mallory a"] != 1 || found["mallory b"] != 1 || found["ci c"] != 1 || len(latest(revisions)) != 2 {
		t.Errorf("%d alerts, evidence %v", len(latest(revisions)), found)
	}
}
