package live

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/agent/rules"
	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	"github.com/seawall-security/seawall/internal/testpriv"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// steadyFiles are opened in turn by the steady actor: each is wanted for another reason.
var steadyFiles = []string{"by-name.seawall-switch", "any.seawsw", "prefix/deeper/file"}

// openSteadily opens the files for writing, again and again, until its input ends. Then it
// says how often.
func openSteadily(folder string) error {
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	for n := 1; ; n++ {
		for _, name := range steadyFiles {
			fd, err := unix.Open(filepath.Join(folder, name), unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open %s: %w", name, err)
			}
			if err := unix.Close(fd); err != nil {
				return err
			}
		}
		select {
		case <-stop:
			_, err := fmt.Fprintln(os.Stdout, n)
			return err
		case <-time.After(500 * time.Microsecond): // a stream, not a storm: no ring overflows
		}
	}
}

// hits counts detections by rule and file name, and how many opens of the actor were
// admitted for another reason than rules.
type hits struct {
	mu     sync.Mutex
	counts map[string]int
	byTree int
	ended  map[uint32]bool
}

func newHits() *hits { return &hits{counts: map[string]int{}, ended: map[uint32]bool{}} }

func (h *hits) Event(ev *event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ev.Kind == event.KindProcessExit {
		h.ended[ev.Actor.TGID] = true
	}
	open, ok := ev.Payload.(*event.Open)
	if !ok {
		return
	}
	h.counts["open "+open.File.Name()]++
	if ev.Flags.Has(event.ByTree) && strings.HasPrefix(open.File.Name(), "any.seaw") {
		h.byTree++
	}
}

func (h *hits) Detection(d *sensorv1.Detection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[d.GetRule()+" "+event.BaseName(d.GetEvent().GetOpen().GetFile().GetPath())]++
}

func (h *hits) of(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[what]
}

func openRule(id, condition string) string {
	return fmt.Sprintf("  - {id: %s, title: T, severity: low, kinds: [file_open], summary: open.file.path, condition: '%s'}\n", id, condition)
}

func loadText(t testing.TB, text string) *rule.Set {
	t.Helper()
	set, err := rule.Load([]rule.Source{{Name: "live.yaml", Data: []byte(text)}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func writeFiles(t *testing.T, folder string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// openOnce has an actor open a file for writing and waits until its end was read: what it
// did came before.
func (w *world) openOnce(t *testing.T, seen *hits, folder, name string) {
	t.Helper()
	r := must(t, folder, "open-write", filepath.Join(folder, name))
	w.until(t, "the actor's end is read", func() bool {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		return seen.ended[r.PID]
	})
}

// TestSwitch: rules come and go while the agent watches. What both the old and the new
// ones want is never missed, what only the new ones want is seen, and what only the old
// ones wanted costs nothing any more.
func TestSwitch(t *testing.T) {
	testpriv.Root(t)
	folder, err := os.MkdirTemp("/tmp", "sw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	writeFiles(t, folder, append([]string{"only.old", "only.new"}, steadyFiles...)...)
	both := "rules:\n" + openRule("name", `open.write && open.file.name == "by-name.seawall-switch"`) +
		openRule("suffix", `open.write && open.file.name.endsWith(".seawsw")`) +
		openRule("prefix", `open.write && open.file.path.startsWith("`+folder+`/prefix/")`)
	old := loadText(t, both+openRule("old", `open.write && open.file.name == "only.old"`))
	// The new rules want more of the same name, and something else of a longer prefix, which
	// hides the shorter one.
	next := loadText(t, both+openRule("new", `open.write && open.file.name == "only.new"`)+
		openRule("read", `open.read && open.file.name == "by-name.seawall-switch"`)+
		strings.NewReplacer("file_open", "file_unlink", "open.", "unlink.").Replace(
			openRule("deeper", `open.file.path.startsWith("`+folder+`/prefix/deeper/")`)))
	seen := newHits()
	w := newWorld(t, setup{sink: seen, rules: old, unmarked: true, wait: 100 * time.Millisecond, sensor: func(o *probe.Options) { o.TreeRate = 1 }})
	w.settled(t)
	turn := func(set *rule.Set) {
		t.Helper()
		if err := w.sensor.Switch(set.Interest(), func() error { return w.stages.Switch(t.Context(), set) }); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("what is seen", func(t *testing.T) {
		w.openOnce(t, seen, folder, "only.old")
		w.openOnce(t, seen, folder, "only.new")
		if o, n := seen.of("old only.old"), seen.of("open only.new"); o != 1 || n != 0 {
			t.Errorf("before: the old rule fired %d times, and %d opens for the new one came", o, n)
		}
		turn(next)
		filtered := w.open(t).kernel[event.KindFileOpen].FilteredInterest
		w.openOnce(t, seen, folder, "only.old")
		w.openOnce(t, seen, folder, "only.new")
		if o, n := seen.of("open only.old"), seen.of("new only.new"); o != 1 || n != 1 {
			t.Errorf("after: %d opens for the old rule came, and the new one fired %d times", o, n)
		}
		if after := w.open(t).kernel[event.KindFileOpen].FilteredInterest; after <= filtered {
			t.Errorf("the kernel refused nothing: %d opens before, %d after", filtered, after)
		}
		turn(old)
		w.balance(t)
	})

	t.Run("a thousand switches", func(t *testing.T) {
		const switches = 1000
		actor := self(t, actSteady, folder)
		in, err := actor.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out, complaints bytes.Buffer
		actor.Stdout, actor.Stderr = &out, &complaints
		if err := actor.Start(); err != nil {
			t.Fatal(err)
		}
		w.until(t, "the stream has begun", func() bool { return seen.of("name by-name.seawall-switch") > 0 })
		began := time.Now()
		for range switches / 2 {
			turn(next)
			turn(old)
		}
		took := time.Since(began)
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if err := actor.Wait(); err != nil {
			t.Fatalf("%v: %s", err, &complaints)
		}
		var done int
		if _, err := fmt.Fscan(bufio.NewReader(&out), &done); err != nil {
			t.Fatalf("%v: %q", err, &out)
		}
		w.until(t, "the actor's end is read", func() bool {
			seen.mu.Lock()
			defer seen.mu.Unlock()
			return seen.ended[uint32(actor.Process.Pid)]
		})
		for i, id := range []string{"name", "suffix", "prefix"} {
			if got := seen.of(id + " " + event.BaseName(steadyFiles[i])); got != done {
				t.Errorf("rule %s, which was always in force, fired %d times for %d opens", id, got, done)
			}
		}
		if n := w.open(t).dropped(probe.Bulk); n > 0 {
			t.Errorf("%d records were dropped: the stream is too fast for this host", n)
		}
		if seen.byTree*10 > done {
			t.Errorf("%d of %d opens came by the tree of interest: that says little of the rules", seen.byTree, done)
		}
		t.Logf("%d switches in %v beside %d opens of each file", switches, took, done)
		w.balance(t)
	})
}

// TestBundle: what an operator sends has the effect that is written in it, on a real
// kernel, from one moment to the next.
func TestBundle(t *testing.T) {
	testpriv.Root(t)
	folder := t.TempDir()
	writeFiles(t, folder, "crown-jewels.seawall")
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	inForce, err := rules.Open(rules.Options{StateDir: t.TempDir(), Keys: bundle.Keys{bundle.IDOf(public): public}, Sources: sources,
		Now: time.Now, Wait: func(ctx context.Context, _ time.Duration) error { <-ctx.Done(); return ctx.Err() }, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	seen := newHits()
	w := newWorld(t, setup{sink: seen, rules: inForce.Set(), unmarked: true, wait: 100 * time.Millisecond, sensor: func(*probe.Options) {}})
	w.settled(t)
	inForce.Attach(w.sensor, w.stages)
	apply := func(serial uint64, text string) {
		t.Helper()
		signed, err := bundle.Sign(bundle.Bundle{Serial: serial, Version: fmt.Sprint(serial), Files: []bundle.File{{Name: "live.yaml", Data: []byte(text)}}}, private)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inForce.Apply(t.Context(), signed); err != nil {
			t.Fatal(err)
		}
	}
	const file = "crown-jewels.seawall"
	expect := func(when string, opens, detections int) {
		t.Helper()
		w.openOnce(t, seen, folder, file)
		if o, d := seen.of("open "+file), seen.of("jewels "+file); o != opens || d != detections {
			t.Errorf("%s: %d opens and %d detections, not %d and %d", when, o, d, opens, detections)
		}
	}
	rules := "rules:\n" + openRule("jewels", `open.write && open.file.name == "`+file+`"`)
	expect("without a bundle", 0, 0)
	apply(1, rules)
	expect("with a rule", 1, 1)
	apply(2, rules+"exceptions:\n  - {rule: jewels, name: by us, condition: 'open.file.path.startsWith(\""+folder+
		"/\")', author: ops, reason: a test, expires: 2999-01-01}\n")
	expect("with an exception", 2, 1)
	if diff := cmp.Diff([]rule.ExceptedCount{{Rule: "jewels", Exception: "by us", Count: 1}}, w.stages.Excepted()); diff != "" {
		t.Error(diff)
	}
	apply(3, "lists: {}\n")
	expect("with both taken back", 2, 1)
	w.balance(t)
}
