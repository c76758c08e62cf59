package correlate

import (
	"fmt"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// unfinishedRule is what patches raise of which nobody recorded what they did: no event is
// there that a rule could match.
var unfinishedRule = &auditrule.Rule{AuditRule: &rule.AuditRule{About: rule.About{
	ID: "audit-unfinished-patch", Title: "Patch without a record of what it did", Severity: medium,
	Tactics: []string{"TA0005"}, Techniques: []string{"T1562.008"}, Tags: []string{"health"},
}}}

// unfinished makes alerts of patches that came and have no end, one for all of a user's.
func (m *Machine) unfinished(told *collectorv1.AuditState) error {
	for _, e := range told.Unfinished {
		at := e.GetRequestTime().AsTime()
		err := m.matched(told.Cluster, e, auditrule.Match{
			Rule: unfinishedRule, Severity: medium, Key: alert.Hash(unfinishedRule.ID, actor(e).GetName()), AuditIDs: []string{e.AuditId}, Count: 1, First: at, Last: at,
			Summary: fmt.Sprintf("%s patched %s, and no end of it is recorded: what was sent was no JSON, as YAML is, and the API server could not write the event; or the event was lost",
				actor(e).GetName(), objectName(e.Object)),
		})
		if err != nil {
			return err
		}
	}
	return nil
}
