package uplink

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/spool"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// downOf is a session that has sent three batches of two items in each lane.
func downOf(t testing.TB, folder string) (*session, func()) {
	t.Helper()
	const first = uint64(100)
	s, err := spool.Open(folder, spool.Options{Lanes: []spool.Lane{detections, entries, telemetry}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []spool.Lane{detections, entries, telemetry} {
		for i := range uint64(6) {
			if err := s.Append(name, spool.Entry{Sequence: first + i, Data: []byte{1}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	u := &Uplink{spool: s, options: Options{BootID: "boot", Now: time.Now}, log: zap.NewNop()}
	u.counts.latency = newLatency()
	u.settings.Store(&afar{mode: Trees})
	down := &session{uplink: u, orders: newOrders()}
	welcome := &sensorv1.Welcome{}
	if down.detections, err = u.openLane(detections, sensorv1.Lane_LANE_DETECTIONS, welcome); err != nil {
		t.Fatal(err)
	}
	if down.entries, err = u.openLane(entries, sensorv1.Lane_LANE_ENTRIES, welcome); err != nil { // a guest of telemetry's
		t.Fatal(err)
	}
	if down.telemetry, err = u.openLane(telemetry, sensorv1.Lane_LANE_TELEMETRY, welcome); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*lane{down.detections, down.entries, down.telemetry} {
		for range 3 {
			var items []*sensorv1.Item
			for range 2 {
				item, err := l.next(t.Context(), true)
				if err != nil {
					t.Fatal(err)
				}
				items = append(items, item)
			}
			l.window <- struct{}{}
			l.sending(items)
		}
	}
	return down, func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAcks(t *testing.T) {
	for name, test := range map[string]struct {
		lane     sensorv1.Lane
		boot     string
		sequence uint64
		left     int
		broken   bool
	}{
		"first batch":               {sensorv1.Lane_LANE_DETECTIONS, "boot", 101, 2, false},
		"two batches":               {sensorv1.Lane_LANE_DETECTIONS, "boot", 103, 1, false},
		"all":                       {sensorv1.Lane_LANE_DETECTIONS, "boot", 105, 0, false},
		"inside of the second":      {sensorv1.Lane_LANE_DETECTIONS, "boot", 102, 2, false},
		"inside of the first":       {sensorv1.Lane_LANE_DETECTIONS, "boot", 100, 3, false},
		"what is long done":         {sensorv1.Lane_LANE_DETECTIONS, "boot", 7, 3, false},
		"more than was sent":        {sensorv1.Lane_LANE_DETECTIONS, "boot", 106, 3, true},
		"another boot":              {sensorv1.Lane_LANE_DETECTIONS, "other", 103, 3, true},
		"another boot, and too far": {sensorv1.Lane_LANE_DETECTIONS, "other", 1 << 40, 3, true},
		"a lane that there is not":  {77, "boot", 101, 3, true},
		"the other lane":            {sensorv1.Lane_LANE_TELEMETRY, "boot", 105, 3, false},
		"its guest":                 {sensorv1.Lane_LANE_TELEMETRY, "boot" + guestBoot, 105, 3, false},
		"its guest, and too far":    {sensorv1.Lane_LANE_TELEMETRY, "boot" + guestBoot, 106, 3, true},
		"a lane that was not sent":  {sensorv1.Lane_LANE_ENTRIES, "boot", 101, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, done := downOf(t, t.TempDir())
			defer done()
			_, err := s.take(&sensorv1.ToAgent{Body: &sensorv1.ToAgent_Ack{Ack: &sensorv1.Ack{
				Position: &sensorv1.Position{Lane: test.lane, BootId: test.boot, Sequence: test.sequence}}}})
			if test.broken != errors.Is(err, errProtocol) || !test.broken && err != nil {
				t.Errorf("%v", err)
			}
			if left := len(s.detections.flight); left != test.left || len(s.detections.window) != test.left {
				t.Errorf("%d batches are in flight, and %d places taken, not %d", left, len(s.detections.window), test.left)
			}
			acked := map[spool.Lane]uint64{}
			for _, l := range s.uplink.spool.Stats().Lanes {
				acked[l.Lane] = l.Acked
			}
			for name, of := range map[spool.Lane]bool{telemetry: test.boot == "boot", entries: test.boot == "boot"+guestBoot} {
				if of = of && test.lane == sensorv1.Lane_LANE_TELEMETRY && !test.broken; (acked[name] > 0) != of {
					t.Errorf("%d of %s are acknowledged", acked[name], name)
				}
			}
			if got := acked[detections]; got != uint64(2*(3-test.left)) {
				t.Errorf("%d entries left the spool", got)
			}
		})
	}
}

// FuzzTake feeds what may come down, from a collector that may be anybody's program: it
// never frees what was not sent, and every answer is one that can be sent.
func FuzzTake(f *testing.F) {
	for _, m := range []*sensorv1.ToAgent{
		{}, {Body: &sensorv1.ToAgent_Welcome{Welcome: &sensorv1.Welcome{}}},
		{Body: &sensorv1.ToAgent_Ack{Ack: &sensorv1.Ack{Position: &sensorv1.Position{Lane: 1, BootId: "boot", Sequence: 101}}}},
		{Body: &sensorv1.ToAgent_Ack{Ack: &sensorv1.Ack{Position: &sensorv1.Position{Lane: 2, BootId: "boot", Sequence: 1 << 63}}}},
		{Body: &sensorv1.ToAgent_Ack{}}, {Body: &sensorv1.ToAgent_Settings{}}, {Body: &sensorv1.ToAgent_Bundle{}},
		{Body: &sensorv1.ToAgent_Settings{Settings: &sensorv1.Settings{Version: "1", Telemetry: 3}}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	s, done := downOf(f, f.TempDir())
	defer done()
	fresh := append([]flight(nil), s.detections.flight...)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &sensorv1.ToAgent{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		for _, l := range []*lane{s.detections, s.telemetry} {
			l.flight = append(l.flight[:0], fresh...)
			for len(l.window) < len(fresh) {
				l.window <- struct{}{}
			}
		}
		applied, err := s.take(m)
		if applied != nil && (err != nil || len(applied.Version) > maxVersionBytes) {
			t.Errorf("%v, %v", applied, err)
		}
		for _, l := range []*lane{s.detections, s.telemetry} {
			freed := len(fresh) - len(l.flight)
			if len(l.window) != len(l.flight) || freed > 0 && (err != nil || m.GetAck().GetPosition().GetSequence() < fresh[freed-1].last) {
				t.Errorf("%d freed by %v (%v)", freed, m, err)
			}
		}
	})
}
