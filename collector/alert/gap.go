package alert

import (
	"math"

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
	JoinGap(a.Gaps[MaxGaps-1], gap)
}

// JoinGap makes one gap of two: g is changed.
func JoinGap(g, by *sensorv1.Gap) {
	if g.Class != by.Class || g.Stage != by.Stage || g.Reason != by.Reason {
		g.Class, g.Stage, g.Reason = "all", "several", "several"
	}
	widen(g, by)
}

func widen(g, by *sensorv1.Gap) {
	if by.GetSince().AsTime().Before(g.GetSince().AsTime()) {
		g.Since = by.Since
	}
	if by.GetUntil().AsTime().After(g.GetUntil().AsTime()) {
		g.Until = by.Until
	}
	g.Count = AddUp(g.Count, by.Count)
}

// AddUp is the sum, or the largest number: what agents count need not be true.
func AddUp(x, y uint64) uint64 {
	if x > math.MaxUint64-y {
		return math.MaxUint64
	}
	return x + y
}
