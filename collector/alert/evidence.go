package alert

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of the evidence of one alert.
const (
	MaxEvidence      = 64
	MaxEvidenceBytes = 64 << 10
	// MaxText bounds one line of the timeline: all 64 of them fit, with what is around.
	MaxText = 640
)

// Taken says what became of a fact.
type Taken int

const (
	// Known: this very event is shown already. Nothing changed.
	Known Taken = iota
	// Counted: the same was told before, or there is no room: evidence_omitted rose.
	Counted
	// Shown: it stands among the evidence; a lesser fact may have made room.
	Shown
)

// AddEvidence takes a fact in. The evidence is in the order of its times. Where there is
// no room, the latest of the least facts goes: those of no rule first, then those of
// little severity. So the first and the decisive facts stay.
//
// A fact that says the same as one that is shown (role, rule and text) is counted, not
// told again; shown is the earlier one. What a rule says of an event takes the place of
// the event alone.
func AddEvidence(a *alertv1.Alert, fact *alertv1.Evidence) Taken {
	fact.Text = Cut(fact.Text, MaxText)
	for _, e := range a.Evidence {
		if sameEvent(e, fact) && fact.Rule == "" || SameFact(e, fact) {
			return Known
		}
	}
	a.Evidence = slices.DeleteFunc(a.Evidence, func(e *alertv1.Evidence) bool { return sameEvent(e, fact) && e.Rule == "" })
	bytes := proto.Size(fact)
	for _, e := range a.Evidence {
		bytes += proto.Size(e)
	}
	same := func(e *alertv1.Evidence) bool {
		return e.Role == fact.Role && e.Rule == fact.Rule && e.Text == fact.Text
	}
	if i := slices.IndexFunc(a.Evidence, same); i >= 0 {
		if compareEvidence(fact, a.Evidence[i]) < 0 {
			a.Evidence[i] = fact
			slices.SortFunc(a.Evidence, compareEvidence)
		}
		a.EvidenceOmitted++
		return Counted
	}
	for len(a.Evidence) >= MaxEvidence || bytes > MaxEvidenceBytes {
		least := leastEvidence(a.Evidence)
		if least < 0 || rank(a.Evidence[least]) >= rank(fact) {
			a.EvidenceOmitted++
			return Counted
		}
		bytes -= proto.Size(a.Evidence[least])
		a.Evidence = slices.Delete(a.Evidence, least, least+1)
		a.EvidenceOmitted++
	}
	a.Evidence = append(a.Evidence, fact)
	slices.SortFunc(a.Evidence, compareEvidence)
	return Shown
}

// SameFact reports whether two facts are of one event, and of one rule if any.
func SameFact(x, y *alertv1.Evidence) bool {
	return sameEvent(x, y) && x.Rule == y.Rule && x.DetectionId == y.DetectionId
}

// sameEvent: agents number events anew when they are started again, within one boot, so
// the number alone may be that of another event.
func sameEvent(x, y *alertv1.Evidence) bool {
	return x.EventId == y.EventId && x.ProcessId == y.ProcessId && x.Kind == y.Kind
}

// leastEvidence is the latest of those of the lowest rank; -1: there is none.
func leastEvidence(evidence []*alertv1.Evidence) int {
	least := -1
	for i, e := range evidence {
		if least < 0 || rank(e) <= rank(evidence[least]) {
			least = i
		}
	}
	return least
}

// rank orders facts by what the alert would lose with them.
func rank(e *alertv1.Evidence) int {
	switch {
	case e.DetectionId == "":
		return 0
	case e.Severity < sensorv1.Severity_SEVERITY_HIGH:
		return 1 + int(max(e.Severity, 0))
	}
	return 1 + int(sensorv1.Severity_SEVERITY_HIGH)
}

// compareEvidence orders by time; what happened at once is ordered by name, so that the
// order never depends on which came first.
func compareEvidence(x, y *alertv1.Evidence) int {
	return cmp.Or(
		x.GetTime().AsTime().Compare(y.GetTime().AsTime()),
		cmp.Compare(x.EventId, y.EventId),
		cmp.Compare(x.Rule, y.Rule),
	)
}
