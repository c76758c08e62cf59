package correlate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Bounds of a summary.
const (
	maxTold     = 3   // facts of one sort
	maxToldText = 160 // bytes of each
)

// describe writes title and summary for a person: who came in, through which door, what
// ran, what it reached. It says nothing that is not in the alert.
func describe(a *anchor) {
	al := a.Alert
	var sentences []string
	say := func(sentence string) { sentences = append(sentences, sentence) }
	where := location(al)
	switch al.Kind {
	case alert.KindWebShell:
		al.Title, sentences = webTitle(al, where)
	case alert.KindEscape:
		al.Title = "Escape tried " + where
		if n := countRules(al); n > 1 {
			al.Title = fmt.Sprintf("Escape tried in %d ways %s", n, where)
		}
		say(told("", al, roleEscape))
	case alert.KindAudit:
		al.Title = auditTitle(al)
		say(asSentence(gravest(al).Text))
		if n := facts(al); n > 1 {
			say(fmt.Sprintf("%d requests in all.", n))
		}
		say(whoAsked(al))
	case alert.KindEntry:
		al.Title = entryTitle(al) + " " + where
		say(al.Evidence[0].Text + ".")
		if slices.Contains(al.Tags, tagRepeated) {
			say(fmt.Sprintf("So %d times, behind %d that were told one by one.", facts(al), repeatsTold))
		}
		if a.Explained > 0 {
			say(fmt.Sprintf("Of %d of these requests came late.", a.Explained))
		}
	default:
		say(al.Evidence[0].Text + ".")
		if n := facts(al); n > 1 {
			text := fmt.Sprintf("Found %d times, counting all replicas of the workload", n)
			if on := len(al.Nodes); on > 1 {
				text += fmt.Sprintf(", on %d nodes", on)
			}
			say(text + ".")
		}
	}
	if al.Kind != alert.KindAudit {
		say(whoCame(al))
	}
	say(tellCreated(al))
	say(when(al))
	if len(al.Gaps) > 0 {
		lost := uint64(0)
		for _, g := range al.Gaps {
			lost = alert.AddUp(lost, g.Count)
		}
		if lost > 0 {
			say(fmt.Sprintf("Around that time %d events of this node were lost: there may be more to it.", lost))
		} else {
			say("Around that time events were lost, nobody knows how many: there may be more to it.")
		}
	}
	al.Title = line(al.Title) // names are the agents'
	al.Summary = oneLine(strings.Join(slices.DeleteFunc(sentences, func(s string) bool { return s == "" }), " "))
}

// gravest is the last of the facts that weigh most: what was let through, where tries
// weigh less, however many follow.
func gravest(al *alertv1.Alert) *alertv1.Evidence {
	found := al.Evidence[0]
	for _, e := range al.Evidence {
		if e.Severity >= found.Severity {
			found = e
		}
	}
	return found
}

func webTitle(al *alertv1.Alert, where string) (title string, sentences []string) {
	server := "a web server"
	for _, p := range al.Processes {
		if p.Id == al.GetAnchor().GetKey() && p.Program != "" {
			server = p.Program
		}
	}
	has := func(role string) bool { return slices.ContainsFunc(al.Evidence, hasRole(role)) }
	switch {
	case has(roleShell) && has(roleScript):
		title = "Web shell in use below " + server + " " + where
	case has(roleShell):
		title = "Commands run through " + server + " " + where
	case has(roleScript):
		title = "Script written by " + server + " where it serves scripts from, " + where
	default:
		title = "Intruder at work below " + server + " " + where
	}
	sentences = []string{
		told("Came in: ", al, roleEntry),
		told("Left behind: ", al, roleScript),
		told("Ran: ", al, roleShell, roleExecute),
		told("In memory: ", al, roleMemory),
		told("Read: ", al, roleRead),
		told("Reached: ", al, roleConnect),
		told("Tried to get out: ", al, roleEscape),
		told("Also: ", al, roleOther),
	}
	return title, sentences
}

// told is the facts of some roles, those that a rule speaks of first; "": there are none.
func told(head string, al *alertv1.Alert, roles ...string) string {
	var texts []string
	for _, ofRule := range []bool{true, false} {
		for _, e := range al.Evidence {
			if (e.Rule != "") == ofRule && slices.Contains(roles, e.Role) {
				texts = append(texts, alert.Cut(e.Text, maxToldText))
			}
		}
	}
	if len(texts) == 0 {
		return ""
	}
	more := ""
	if n := len(texts) - maxTold; n > 0 {
		texts, more = texts[:maxTold], fmt.Sprintf("; and %d more", n)
	}
	return head + strings.Join(texts, "; ") + more + "."
}

// location says where it happened: "in container web", "on node a".
func location(al *alertv1.Alert) string {
	c := al.GetAsset().GetContainer()
	switch {
	case c == nil:
		return "on node " + al.GetAsset().GetNode()
	case c.GetPod().GetName() != "":
		return fmt.Sprintf("in container %s of pod %s/%s", c.Name, c.Pod.Namespace, c.Pod.Name)
	case c.GetName() != "":
		return "in container " + c.Name
	}
	return "in container " + alert.Cut(c.Id, 16)
}

func when(al *alertv1.Alert) string {
	const clock = "2006-01-02 15:04:05"
	first, last := al.FirstTime.AsTime().Format(clock), al.LastTime.AsTime().Format(clock)
	n := facts(al)
	text := fmt.Sprintf("%d facts between %s and %s UTC", n, first, last)
	if n == 1 {
		text = "At " + first + " UTC"
	}
	if al.EvidenceOmitted > 0 {
		text += fmt.Sprintf(", %d of them not shown", al.EvidenceOmitted)
	}
	if u := al.GetTimeUncertainty().AsDuration(); u >= time.Second {
		text += fmt.Sprintf(", give or take %s", u.Round(time.Second))
	}
	return text + "."
}

// facts counts what belongs to the alert, shown or not.
func facts(al *alertv1.Alert) uint64 { return uint64(len(al.Evidence)) + al.EvidenceOmitted }

func countRules(al *alertv1.Alert) int {
	rules := make(map[string]bool)
	for _, e := range al.Evidence {
		rules[e.Rule] = true
	}
	return len(rules)
}
