package live

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/testpriv"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// tally counts what one actor and its children did. It is written by the reader only,
// and read when that is idle.
type tally struct {
	dir string // the actor's own folder

	files              map[string]*fileTally // in that folder, by path
	unlinks, strangers int                   // in that folder; the latter: opens by a process that is not known
	forks, execs       int
	exits              map[event.Key]int // of each child
}

type fileTally struct{ opens, writes, created int }

func newTally(dir string) *tally {
	return &tally{dir: dir, files: map[string]*fileTally{}, exits: map[event.Key]int{}}
}

func (c *tally) Detection(*sensorv1.Detection) {}

func (c *tally) Event(ev *event.Event) {
	switch p := ev.Payload.(type) {
	case *event.Open:
		if dir(p.File.Path) == c.dir {
			c.open(ev, p)
		}
	case *event.Unlink:
		if dir(p.File.Path) == c.dir {
			c.unlinks++
		}
	case *event.Fork:
		if ev.Process != nil && c.isActor(ev.Process) {
			c.forks++
			c.exits[p.Child] = 0
		}
	case *event.Exec:
		if _, ok := c.exits[ev.Actor]; ok {
			c.execs++
		}
	case *event.Exit:
		if _, ok := c.exits[ev.Actor]; ok {
			c.exits[ev.Actor]++
		}
	}
}

func (c *tally) open(ev *event.Event, p *event.Open) {
	f := c.files[p.File.Path]
	if f == nil {
		f = &fileTally{}
		c.files[strings.Clone(p.File.Path)] = f
	}
	f.opens++
	if p.Write {
		f.writes++
	}
	if p.Created {
		f.created++
	}
	if ev.Process == nil || ev.Process.Unknown {
		c.strangers++
	}
}

// ended counts children that ended, and whether any did more than once.
func (c *tally) ended() (children int, twice bool) {
	for _, times := range c.exits {
		if times > 0 {
			children++
		}
		twice = twice || times > 1
	}
	return children, twice
}

// opens of all files.
func (c *tally) opens() (n int) {
	for _, f := range c.files {
		n += f.opens
	}
	return n
}

// isActor knows the actor by its folder, which stands in its argv.
func (c *tally) isActor(p *event.Process) bool {
	return p.Name == "attack" && len(p.Args) > 2 && p.Args[2] == c.dir
}

func dir(path string) string { return path[:max(0, len(path)-len(event.BaseName(path))-1)] }

// TestStorm: with nothing filtered and room in the rings, the user gets every single
// thing that happened, and the ledger proves it.
func TestStorm(t *testing.T) {
	testpriv.Root(t)
	folder := t.TempDir()
	seen := newTally(folder)
	w := newWorld(t, setup{sink: seen, wait: 100 * time.Millisecond, sensor: func(o *probe.Options) {
		o.Unfiltered = true
		o.DecisiveBytes, o.BulkBytes = 16<<20, 256<<20
	}})
	w.settled(t)
	before := w.open(t)
	began := time.Now()
	const opens, execs = 200_000, 5_000
	r := must(t, folder, "storm", "-opens", strconv.Itoa(opens), "-execs", strconv.Itoa(execs), "-child", "tiny")
	t.Logf("storm took %v", time.Since(began))
	if r.Counts["opens_read"]+r.Counts["opens_write"] != opens || r.Counts["execs"] != execs {
		t.Fatalf("the actor did %v", r.Counts)
	}
	file := &fileTally{}
	children, twice := 0, false
	w.until(t, "the actor's last act and its last child's end", func() bool {
		children, twice = seen.ended()
		return seen.unlinks == r.Counts["unlinks"] && children >= execs
	})
	t.Logf("all delivered after %v", time.Since(began))
	if f := seen.files[r.Paths[0]]; f != nil {
		file = f
	}
	for _, c := range []struct {
		what      string
		got, want int
	}{
		// It was made by opening it once.
		{"opens", file.opens, opens + 1}, {"opens for write", file.writes, r.Counts["opens_write"] + 1}, {"files made", file.created, 1},
		{"opens by a process that is not known", seen.strangers, 0},
		{"forks", seen.forks, execs}, {"execs", seen.execs, execs}, {"exits", children, execs},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d delivered, %d done", c.what, c.got, c.want)
		}
	}
	if twice {
		t.Error("a child ended twice")
	}
	w.balance(t)
	after := w.open(t)
	for _, ring := range after.rings {
		if ring.Missing > 0 {
			t.Errorf("%d records of the %s ring are missing", ring.Missing, ring.Ring)
		}
	}
	// Before, the host's own unfiltered noise may wait for cgroups to be told apart.
	for bound, n := range after.agent.PenOverflows {
		if n -= before.agent.PenOverflows[bound]; n == 0 {
			continue
		}
		t.Errorf("the pen overflowed %d times", n)
	}
	for kind, row := range after.kernel {
		if n := row.Seen - before.kernel[kind].Seen; n > 0 {
			t.Logf("%-18s seen %7d emitted %7d own %d", kind, n, row.Emitted-before.kernel[kind].Emitted, row.FilteredOwn)
		}
	}
}

// TestDrops: when rings are too small for what happens, the user is told of every loss,
// by kind, and what is rare and decisive does not suffer from what is plenty.
func TestDrops(t *testing.T) {
	testpriv.Root(t)
	folder := t.TempDir()
	seen := newTally(folder)
	w := newWorld(t, setup{sink: seen, wait: 100 * time.Millisecond, sensor: func(o *probe.Options) {
		o.DecisiveBytes, o.BulkBytes = 2<<20, 64<<10
		// Only the actor's folder: then every drop of an open is one of its opens.
		o.Interest = rule.Interest{Prefixes: map[string]rule.Op{folder + "/": rule.OpOpenRead | rule.OpOpenWrite}}
	}})
	w.settled(t)

	t.Run("bulk", func(t *testing.T) {
		const opens, execs = 50_000, 300
		before := w.open(t)
		w.reader.hold()
		r := must(t, folder, "storm", "-opens", strconv.Itoa(opens), "-execs", strconv.Itoa(execs), "-child", "tiny")
		w.reader.release()
		everyCPU(t, func() { must(t, folder, "open-write") })
		w.balance(t)
		after := w.open(t)
		open, was := after.kernel[event.KindFileOpen], before.kernel[event.KindFileOpen]
		children, _ := seen.ended()
		done := uint64(opens + r.Counts["creates"] + 2*len(cpus(t))) // everyCPU: made, opened again
		if !w.lowest("file_open") {
			done += execs // upper rungs see the kernel open what it executes
		}
		dropped := open.DroppedRing - was.DroppedRing
		if uint64(seen.opens())+dropped != done || dropped == 0 {
			t.Errorf("%d opens delivered and %d dropped of %d", seen.opens(), dropped, done)
		}
		if seen.execs != execs || seen.forks != execs || children != execs {
			t.Errorf("%d execs, %d forks, %d exits delivered of %d", seen.execs, seen.forks, children, execs)
		}
		if n := after.dropped(probe.Decisive); n > 0 {
			t.Errorf("%d decisive records dropped", n)
		}
		t.Logf("%d opens delivered, %d dropped; %d records missing in the bulk ring", seen.opens(), dropped, after.rings[probe.Bulk].Missing)
	})

	t.Run("decisive", func(t *testing.T) {
		w.reader.hold()
		must(t, folder, "exec", "-n", "2500", "-child", "tiny")
		w.reader.release()
		everyCPU(t, func() { must(t, folder, "open-write") })
		w.balance(t)
		after := w.open(t)
		if after.dropped(probe.Decisive) == 0 {
			t.Error("nothing was dropped: the ring holds more than this test makes")
		}
		t.Logf("%d records missing in the decisive ring", after.rings[probe.Decisive].Missing)
	})
}

// everyCPU calls f on each CPU once: a drop shows in the sequence numbers with the next
// record of its CPU only.
func everyCPU(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var home unix.CPUSet
	if err := unix.SchedGetaffinity(0, &home); err != nil {
		t.Fatal(err)
	}
	for _, cpu := range cpus(t) {
		var one unix.CPUSet
		one.Set(cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			t.Fatal(err)
		}
		f()
	}
	if err := unix.SchedSetaffinity(0, &home); err != nil {
		t.Fatal(err)
	}
}

// cpus lists the CPUs that this thread may run on.
func cpus(t *testing.T) (list []int) {
	t.Helper()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := range 8 * int(unsafe.Sizeof(all)) {
		if all.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list
}
