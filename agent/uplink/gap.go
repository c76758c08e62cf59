package uplink

import (
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/spool"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// say is why a record was not spooled, in gaps.
func say(why queue.Reason) string {
	return [...]string{
		queue.Many:       "spooling is too slow: as many records wait as may",
		queue.Much:       "spooling is too slow: what waits takes as much memory as it may",
		queue.NoSpace:    "the spool does not take it",
		queue.NotEncoded: "record could not be encoded, or is too large to be sent",
	}[why]
}

// saySpool is why the spool lost something.
func saySpool(g spool.Gap) string {
	why := map[spool.Reason]string{
		spool.Evicted:    "the collector was away too long: the spool was full",
		spool.Unwritable: "the disk of the spool did not take it",
		spool.Corrupt:    "the spool was damaged",
		spool.Oversized:  "too large for the spool",
		spool.Crash:      "the agent ended without closing its spool: what was youngest",
	}[g.Reason]
	if g.More {
		why += ", and others that nobody can count"
	}
	return why + " (lane " + string(g.Lane) + ")"
}

// spoolGap appends what the spool lost as records, one for each class. It runs on the
// spool's goroutine.
func (u *Uplink) spoolGap(s *spool.Spool, g spool.Gap) {
	u.log.Warn("spool lost entries", zap.Any("gap", g))
	unknown := g.Count
	for _, class := range slices.Sorted(maps.Keys(g.Classes)) {
		u.spoolGapOf(s, g, className(class), g.Classes[class])
		unknown -= min(unknown, g.Classes[class])
	}
	if unknown > 0 || len(g.Classes) == 0 {
		u.spoolGapOf(s, g, "all", unknown)
	}
}

func (u *Uplink) spoolGapOf(s *spool.Spool, g spool.Gap, class string, count uint64) {
	if g.Until == 0 { // damage hides its times; by now it was there
		g.Until = u.options.Now().UnixNano()
	}
	data, err := proto.Marshal(&sensorv1.Record{BootId: u.options.BootID, Body: &sensorv1.Record_Gap{Gap: &sensorv1.Gap{
		Class: class, Stage: "spool", Reason: saySpool(g), Count: count, Since: stamp(g.Since), Until: stamp(g.Until),
	}}})
	if err == nil {
		err = u.append(s, detections, classGap, u.options.Now(), data)
	}
	if err != nil { // while the spool closes: it tells of the gap again in its next life
		u.log.Warn("gap of the spool is not told", zap.Error(err))
	}
}

func className(class uint8) string {
	switch class {
	case classDetection:
		return "detection"
	case classGap:
		return "gap"
	case classEntry:
		return "entry"
	}
	return event.Kind(class).String()
}

// stamp is nil for a time that is not known.
func stamp(ns int64) *timestamppb.Timestamp {
	if ns == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, ns))
}
