package uplink

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seawall-security/seawall/internal/bundle"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// slow takes a bundle when the test says so.
type slow struct {
	began  chan string // its version
	finish chan error
	serial atomic.Uint64
}

func (s *slow) Apply(ctx context.Context, b bundle.Signed) (string, error) {
	u, err := b.Unverified()
	if err != nil {
		return "", err
	}
	select {
	case s.began <- u.Version:
	case <-ctx.Done():
		return u.Version, context.Cause(ctx)
	}
	select {
	case err := <-s.finish:
		if err == nil {
			s.serial.Store(u.Serial)
		}
		return u.Version, err
	case <-ctx.Done():
		return u.Version, context.Cause(ctx)
	}
}

func (s *slow) InForce() (string, uint64) {
	serial := s.serial.Load()
	if serial == 0 {
		return "", 0
	}
	return "in force", serial
}

func down(t *testing.T, version string) *sensorv1.ToAgent {
	t.Helper()
	signed, err := bundle.Sign(bundle.Bundle{Serial: 5, Version: version}, make([]byte, 64))
	if err != nil {
		t.Fatal(err)
	}
	return &sensorv1.ToAgent{Body: &sensorv1.ToAgent_Bundle{Bundle: signed.Proto()}}
}

// While rules are compiled, however long that takes, acks are received and batches sent;
// every bundle is answered, and of those that wait only the last is looked at.
func TestBundlesDoNotHoldAcksUp(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	c.down = []*sensorv1.ToAgent{down(t, "first")}
	more := make(chan *sensorv1.ToAgent, 2)
	c.behave = func(n int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
		for len(more) > 0 {
			if err := send(<-more); err != nil {
				return err
			}
		}
		return acks(n, b, send)
	}
	o := c.options()
	rules := &slow{began: make(chan string), finish: make(chan error)}
	o.Bundles = rules
	u := openUplink(t, o)
	defer run(t, u)()
	if got := <-rules.began; got != "first" {
		t.Fatalf("%s is looked at", got)
	}
	more <- down(t, "second")
	more <- down(t, "third")
	names := feed(u, "/while", 2000)
	c.until(func() bool { return c.arrived(names) })
	c.until(func() bool { return u.counts.telemetry.acked.Load() > 0 && len(c.applied) == 1 })
	if a := c.applied[0]; a.Version != "second" || a.Part != sensorv1.Part_PART_BUNDLE || a.Error != "another bundle came before this one was looked at" {
		t.Errorf("answered %v", a)
	}
	rules.finish <- nil
	if got := <-rules.began; got != "third" {
		t.Errorf("%s is looked at after the first", got)
	}
	rules.finish <- errors.New(strings.Repeat("wrong \xff", 10_000))
	c.until(func() bool { return len(c.applied) == 3 })
	if a := c.applied[1]; a.Version != "first" || a.Error != "" {
		t.Errorf("answered %v", a)
	}
	if a := c.applied[2]; a.Version != "third" || !strings.HasPrefix(a.Error, "wrong ") || len(a.Error) > maxProblemBytes+10 {
		t.Errorf("answered %d bytes for %s", len(a.Error), a.Version)
	}
	if m := u.status(); m.BundleSerial != 5 || m.BundleVersion != "in force" {
		t.Errorf("status is %v", m)
	}
}

// A stream that ends while a bundle is looked at does not wait for it.
func TestStreamEndsWhileABundleIsLookedAt(t *testing.T) {
	c := newCollector(t)
	c.listenAnywhere()
	c.down = []*sensorv1.ToAgent{down(t, "first")}
	over := errors.New("over")
	c.behave = func(n int, b *sensorv1.Batch, send func(*sensorv1.ToAgent) error) error {
		c.mu.Lock()
		first := c.streams == 1
		c.mu.Unlock()
		if first {
			return over
		}
		return acks(n, b, send)
	}
	o := c.options()
	rules := &slow{began: make(chan string), finish: make(chan error)}
	o.Bundles = rules
	u := openUplink(t, o)
	defer run(t, u)()
	<-rules.began
	feed(u, "/x", 1)
	if got := <-rules.began; got != "first" { // again, on the next stream
		t.Errorf("%s is looked at", got)
	}
	rules.finish <- nil
	c.until(func() bool { return len(c.applied) == 1 })
}

// Settings that came from afar outlive the agent, and go before what it was told where it
// runs, but only in what they say.
func TestSettingsAreKept(t *testing.T) {
	const all, trees, unsaid = sensorv1.Telemetry_TELEMETRY_ALL, sensorv1.Telemetry_TELEMETRY_TREES, sensorv1.Telemetry_TELEMETRY_UNSPECIFIED
	c := newCollector(t)
	o := c.options()
	o.SettingsFile = filepath.Join(t.TempDir(), "settings")
	o.dial = func() (sensorv1.SensorClient, io.Closer, error) { return nil, nil, errors.New("nobody") }
	restart := func(local Telemetry) *Uplink {
		t.Helper()
		o.Telemetry, o.Folder = local, t.TempDir()
		u := openUplink(t, o)
		t.Cleanup(func() { _ = u.Close() }) // only the settings matter
		return u
	}
	must := func(u *Uplink, when, version string, mode Telemetry) {
		t.Helper()
		if a := u.settings.Load(); a.said.GetVersion() != version || a.mode != mode {
			t.Errorf("%s settings %q say %s, not %q and %s", when, a.said.GetVersion(), a.mode, version, mode)
		}
	}
	apply := func(u *Uplink, version string, telemetry sensorv1.Telemetry, want string) {
		t.Helper()
		if got := u.apply(&sensorv1.Settings{Version: version, Telemetry: telemetry}); got != want {
			t.Errorf("%s is answered %q, not %q", version, got, want)
		}
	}
	u := restart(None)
	must(u, "at first", "", None)
	apply(u, "1", unsaid, "")
	must(u, "with nothing said", "1", None)
	u = restart(Trees)
	must(u, "told otherwise where it runs", "1", Trees)
	apply(u, "2", all, "")
	apply(u, "3", 77, "telemetry 77 is not known to this version")
	u = restart(None)
	must(u, "after a restart", "2", All)
	apply(u, "4", unsaid, "")
	u = restart(None)
	must(u, "with nothing more said", "4", All)

	if err := os.WriteFile(o.SettingsFile, []byte{0xff}, 0o600); err != nil {
		t.Fatal(err)
	}
	u = restart(Trees)
	must(u, "damaged", "", Trees)
	apply(u, "5", trees, "")
	if err := errors.Join(os.Remove(o.SettingsFile), os.MkdirAll(filepath.Join(o.SettingsFile, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if got := u.apply(&sensorv1.Settings{Version: "6", Telemetry: all}); !strings.HasPrefix(got, "keep settings: ") {
		t.Errorf("settings that cannot be kept are answered %q", got)
	}
	must(u, "not kept", "5", Trees)
}
