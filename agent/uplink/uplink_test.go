package uplink

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Whatever a collector does, in the end each record is there under one name.
func TestEverythingArrivesOnce(t *testing.T) {
	end := status.Error(codes.Unavailable, "the collector is stopping")
	for name, behave := range map[string]func(n int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error{
		"acks": acks,
		"acks late, and only now and then": func(n int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
			if n%2 == 1 {
				return nil
			}
			return send(ackOf(b))
		},
		"acks twice": func(_ int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
			if err := send(ackOf(b)); err != nil {
				return err
			}
			return send(ackOf(b))
		},
		"acks inside of batches, too": func(_ int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
			if err := send(ackOf(&sensorv1.Batch{Lane: b.Lane, Items: b.Items[:1]})); err != nil {
				return err
			}
			return send(ackOf(b))
		},
		"ends after every second batch, unacked": func(n int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
			if n == 2 {
				return end
			}
			return send(ackOf(b))
		},
		"ends without an error": func(n int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
			if err := send(ackOf(b)); err != nil || n < 3 {
				return err
			}
			return io.EOF
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t)
			c.behave = behave
			u := openUplink(t, c.options())
			defer run(t, u)()
			names := feed(u, "/before", 300)
			c.listen()
			c.until(func() bool { return c.arrived(names) })
			names = append(names, feed(u, "/after", 300)...)
			c.until(func() bool { return c.arrived(names) })
			if name != "acks" {
				return
			}
			c.until(func() bool {
				if c.status == nil {
					return false
				}
				if c.hello.GetBootId() != "boot-1" || c.hello.GetHooks()[0].GetRung() != "fentry" || c.status.GetLedger()[0].GetProduced() != 3 {
					t.Errorf("%v, %v", c.hello, c.status)
				}
				return true
			})
			if c.repeats != 0 || c.streams != 1 {
				t.Errorf("%d items came again, on %d streams", c.repeats, c.streams)
			}
		})
	}
}

// A collector that does not ack gets a bounded number of batches, and a lane that
// stands still does not hold up the other.
func TestUnackedBatchesAreBounded(t *testing.T) {
	c := newCollector(t)
	c.behave = func(_ int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
		if b.Lane == sensorv1.Lane_LANE_TELEMETRY {
			return nil
		}
		return send(ackOf(b))
	}
	o := c.options()
	u := openUplink(t, o)
	const events, size = 1000, 4000 // some eight batches
	for range events {
		u.Event(open("/" + strings.Repeat("p", size)))
	}
	spoolAll(t, u)
	c.listen()
	defer run(t, u)()
	c.until(func() bool { return c.batches == maxInFlight })
	names := []string{}
	for _, rule := range []string{"a", "b", "c", "d", "e", "f"} { // more than may be in flight
		u.Detection(&sensorv1.Detection{Rule: rule})
		names = append(names, rule)
		c.until(func() bool { return c.arrived(names) })
	}
	c.until(func() bool {
		telemetry := 0
		for i := range c.items {
			if i.lane == sensorv1.Lane_LANE_TELEMETRY {
				telemetry++
			}
		}
		if telemetry == 0 || telemetry > maxInFlight*batchBytes/size {
			t.Errorf("%d events are in flight", telemetry)
		}
		return true
	})
}

// What was spooled goes up after the agent was ended, or killed, and after a reboot,
// under the names it had.
func TestRestart(t *testing.T) {
	for _, killed := range []bool{false, true} {
		c := newCollector(t)
		o := c.options()
		u := openUplink(t, o)
		names := feed(u, "/first", 500)
		spoolAll(t, u)
		if killed { // the folder as the kill left it
			folder := t.TempDir()
			if err := os.CopyFS(folder, os.DirFS(o.Folder)); err != nil {
				t.Fatal(err)
			}
			o.Folder = folder
		}
		if err := u.Close(); err != nil {
			t.Fatal(err)
		}

		o.BootID = "boot-2"
		u = openUplink(t, o)
		stop := run(t, u)
		names = append(names, feed(u, "/second", 500)...)
		c.listen()
		c.until(func() bool {
			if !c.arrived(names) {
				return false
			}
			for i, r := range c.items {
				want := "boot-1"
				if strings.HasPrefix(r.GetEvent().GetOpen().GetFile().GetPath()+r.GetDetection().GetRule(), "/second") || r.GetGap() != nil {
					want = "boot-2"
				}
				if i.boot != want {
					t.Errorf("%v is of %s", r, i.boot)
				}
			}
			return true
		})
		stop()
	}
}

// Without its folder an agent uses no sequence again.
func TestLostFolder(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	var names []string
	for i := range 2 {
		u := openUplink(t, c.options()) // a folder of its own
		stop := run(t, u)
		names = append(names, feed(u, "/"+string(rune('a'+i)), 100)...)
		c.until(func() bool { return c.arrived(names) })
		stop()
	}
}

// A collector that says in its Welcome what it has does not get that again.
func TestWelcomeSaysWhatIsThere(t *testing.T) {
	c := newCollector(t)
	o := c.options()
	u := openUplink(t, o)
	for range 10 {
		u.Detection(&sensorv1.Detection{Rule: "r"})
	}
	spoolAll(t, u)
	last, err := u.spool.LastSequence(detections)
	if err != nil {
		t.Fatal(err)
	}
	c.welcome.Positions = []*sensorv1.Position{
		{Lane: sensorv1.Lane_LANE_DETECTIONS, BootId: "boot-1", Sequence: last - 1},
		{Lane: sensorv1.Lane_LANE_DETECTIONS, BootId: "boot-0", Sequence: last + 1000}, // says nothing of this boot
	}
	c.listen()
	defer run(t, u)()
	c.until(func() bool { return len(c.items) > 0 })
	c.until(func() bool {
		if len(c.items) != 1 || c.items[item{sensorv1.Lane_LANE_DETECTIONS, "boot-1", last}] == nil {
			t.Errorf("%d items", len(c.items))
		}
		return true
	})
}

// What a full spool lets go is told, class by class, and the sum is right. Detections
// stay.
func TestFullSpoolGivesGaps(t *testing.T) {
	c := newCollector(t)
	o := c.options()
	o.MaxBytes, o.segmentBytes = 1<<20, 256<<10
	u := openUplink(t, o)
	const events = 1000
	for i := range events {
		u.Event(open("/" + strings.Repeat("p", 4000)))
		if i%100 == 0 {
			u.Detection(&sensorv1.Detection{Rule: "r"})
		}
	}
	spoolAll(t, u)
	c.listen()
	defer run(t, u)()
	c.until(func() bool {
		records, gaps := c.seen()
		got := records["/"+strings.Repeat("p", 4000)]
		if got+int(gaps["file_open"]) > events {
			t.Fatalf("%d and %d lost, of %d", got, gaps["file_open"], events)
		}
		return got+int(gaps["file_open"]) == events && gaps["file_open"] > 0 && records["r"] == events/100
	})
}

// What damage costs is told with its count, and a time that covers it.
func TestDamagedSpoolGivesAGap(t *testing.T) {
	c := newCollector(t)
	o := c.options()
	o.segmentBytes = 64 << 10
	u := openUplink(t, o)
	began := o.Now()
	names := feed(u, "/"+strings.Repeat("p", 2000), 100)
	spoolAll(t, u)
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(o.Folder, "telemetry-*.segment"))
	if err != nil || len(segments) < 2 {
		t.Fatal(segments, err)
	}
	text, err := os.ReadFile(segments[0])
	if err == nil {
		text[len(text)/2] ^= 1
		err = os.WriteFile(segments[0], text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	u = openUplink(t, o)
	c.listen()
	defer run(t, u)()
	c.until(func() bool {
		var gap *sensorv1.Gap
		arrived := len(c.items)
		for _, r := range c.items {
			if g := r.GetGap(); g != nil {
				gap = g
				arrived--
			}
		}
		if gap == nil || arrived+int(gap.GetCount()) < len(names) {
			return false
		}
		if arrived+int(gap.GetCount()) > len(names) || gap.GetSince().AsTime().After(o.Now()) ||
			gap.GetUntil().AsTime().Before(began) || gap.GetUntil().AsTime().After(o.Now()) {
			t.Errorf("of %d records %d arrived, with the gap %v", len(names), arrived, gap)
		}
		return true
	})
}

// A queue that is full says so too.
func TestFullQueueGivesGaps(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	u := openUplink(t, c.options())
	const events = 20000
	for range events { // before anybody takes
		u.Event(open("/a"))
	}
	defer run(t, u)()
	c.until(func() bool {
		records, gaps := c.seen()
		return records["/a"]+int(gaps["file_open"]) == events && gaps["file_open"] > 0
	})
}

// Which events go up is a setting, and what comes down is answered.
func TestSettings(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	o := c.options()
	o.Telemetry = None
	set := func(version string, mode sensorv1.Telemetry) *sensorv1.ToAgent {
		return &sensorv1.ToAgent{Body: &sensorv1.ToAgent_Settings{Settings: &sensorv1.Settings{Version: version, Telemetry: mode}}}
	}
	c.down = []*sensorv1.ToAgent{
		set("1", sensorv1.Telemetry_TELEMETRY_ALL), set("2", 99), set("3", sensorv1.Telemetry_TELEMETRY_TREES),
		set("4", sensorv1.Telemetry_TELEMETRY_UNSPECIFIED), set(strings.Repeat("v", maxVersionBytes+1), sensorv1.Telemetry_TELEMETRY_ALL),
		{Body: &sensorv1.ToAgent_Bundle{Bundle: &sensorv1.SignedBundle{}}}, {},
	}
	u := openUplink(t, o)
	u.Event(open("/none"))
	defer run(t, u)()
	c.until(func() bool { return len(c.applied) == 6 })
	if c.applied[0].Error != "" || c.applied[1].Error == "" || c.applied[2].Error != "" || c.applied[3].Error != "" || c.applied[4].Error == "" ||
		c.applied[5].Error != "this agent takes no bundles" || c.applied[5].Part != sensorv1.Part_PART_BUNDLE {
		t.Errorf("%v", c.applied)
	}
	if got := u.settings.Load().said.GetVersion(); got != "4" {
		t.Errorf("settings %q are in force", got)
	}
	u.Event(open("/outside"))
	inside := open("/inside")
	inside.Tree, inside.Process = event.TreeWeb, &event.Process{ID: "p", Tree: event.TreeWeb}
	u.Event(inside)
	c.until(func() bool { return c.arrived([]string{"/inside"}) })
	if records, _ := c.seen(); len(records) != 1 {
		t.Errorf("%v", records)
	}
}

// Credentials leave the node masked: with its own key until it is enrolled, then with
// the cluster's.
func TestCredentialsAreMasked(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	o := c.options()
	e := o.Enrolment.(*enrolment)
	e.ready, e.key = make(chan struct{}), nil
	u := openUplink(t, o)
	secret := func(rule string) {
		u.Detection(&sensorv1.Detection{Rule: rule, Summary: "mysql --password=hunter2-and-more was run"})
	}
	secret("before")
	spoolAll(t, u)
	defer run(t, u)()
	e.enrol(7)
	c.until(func() bool { return c.arrived([]string{"before"}) })
	secret("after")
	secret("again")
	c.until(func() bool { return c.arrived([]string{"before", "after", "again"}) })
	summary := map[string]string{}
	for _, r := range c.items {
		d := r.GetDetection()
		if r.LocalMasks != (d.GetRule() == "before") {
			t.Errorf("%s: masked with a key of the node's own: %t", d.GetRule(), r.LocalMasks)
		}
		summary[d.GetRule()] = d.GetSummary()
		if strings.Contains(d.GetSummary(), "hunter2") || !strings.Contains(d.GetSummary(), "[redacted:") {
			t.Errorf("%v", d)
		}
	}
	if summary["after"] != summary["again"] || summary["after"] == summary["before"] {
		t.Errorf("%v", summary)
	}
}

// Arguments of ancestors, which the watched choose, do not keep a detection from going up.
func TestDetectionThatIsTooLarge(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	u := openUplink(t, c.options())
	defer run(t, u)()
	long := strings.Repeat("x", 40<<10)
	ev := &sensorv1.Event{Process: &sensorv1.Process{Args: []string{"actor"}}}
	for range event.MaxAncestors {
		ev.Ancestors = append(ev.Ancestors, &sensorv1.Process{Name: "n", Args: []string{long}})
	}
	u.Detection(&sensorv1.Detection{Rule: "long", Event: ev})
	u.Detection(&sensorv1.Detection{Rule: "hopeless", Summary: strings.Repeat("s", batchBytes)})
	c.until(func() bool {
		_, gaps := c.seen()
		return gaps["detection"] == 1 && c.arrived([]string{"long"})
	})
	for _, r := range c.items {
		if d := r.GetDetection(); d != nil {
			a := d.GetEvent().GetAncestors()
			if len(a) != event.MaxAncestors || len(a[0].Args) != 0 || !a[0].ArgsTruncated || a[0].Name != "n" || len(d.Event.Process.Args) != 1 {
				t.Errorf("%d bytes, %d ancestors", proto.Size(d), len(a))
			}
		}
	}
}

// What is only in memory does not count as durable.
func TestDurableIsCounted(t *testing.T) {
	u := openUplink(t, newCollector(t).options())
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(u)
	durable := func() (n float64) {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "seawall_agent_uplink_durable_total" {
				continue
			}
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() == string(detections) {
					n = m.GetCounter().GetValue()
				}
			}
		}
		return n
	}
	feed(u, "/a", 100) // with 10 detections
	if n := durable(); n != 0 {
		t.Errorf("%v records are durable before they were spooled", n)
	}
	spoolAll(t, u)
	if n := durable(); n != 10 {
		t.Errorf("%v records are durable, want 10", n)
	}
	if err := u.Close(); err != nil {
		t.Error(err)
	}
}
