package alert

import (
	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// MaxGaps bounds the gaps of one alert: one for each class, stage and reason.
const MaxGaps = 32

// AddGap says in the alert that something was lost while it went on. Gaps of one class,
// stage and reason become one. Beyond [MaxGaps] they are added to the last.
func AddGap(a *alertv1.Alert, gap *sensorv1.Gap) {
	for _, g := range a.Gaps {
		if g.Class == gap.Class && g.Stage == gap.Stage && g.Reason == gap.Reason {
			widen(g, gap)
			return
		}
	}
	if len(a.Gaps) < MaxGaps {
		a.Gaps = append(a.Gaps, proto.CloneOf(gap))
		return
	}
	last := a.Gaps[MaxGaps-1]
	last.Class, last.Stage, last.Reason = "all", "several", "several"
	widen(last, gap)
}

func widen(g, by *sensorv1.Gap) {
	if by.GetSince().AsTime().Before(g.GetSince().AsTime()) {
		g.Since = by.Since
	}
	if by.GetUntil().AsTime().After(g.GetUntil().AsTime()) {
		g.Until = by.Until
	}
	g.Count += by.Count
}
