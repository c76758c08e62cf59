package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"

	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/agent/probe"
	"github.com/seawall-security/seawall/agent/recording"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	"github.com/seawall-security/seawall/internal/rule/builtin/recordings"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// TestMain is also the program that the sensor executes to test itself: without
// this, each run of the tests would begin another one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == probe.SelfTestArgument {
		return
	}
	os.Exit(m.Run())
}

// entriesOf reads a recording.
func entriesOf(t *testing.T, text []byte) (recording.Header, []recording.Entry) {
	t.Helper()
	in, err := recording.NewReader(bytes.NewReader(text), "recording")
	if err != nil {
		t.Fatal(err)
	}
	var entries []recording.Entry
	for {
		entry, err := in.Next()
		if errors.Is(err, io.EOF) {
			return in.Header(), entries
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
}

// captured makes a log of recordings as if all had happened at once, one entry of
// each by turns.
func captured(t *testing.T, names ...string) (log *Log, each [][]recording.Entry) {
	t.Helper()
	for _, name := range names {
		text, err := fs.ReadFile(recordings.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		header, entries := entriesOf(t, text)
		if log == nil {
			log = newLog(header)
		}
		each = append(each, entries)
	}
	for i := range slices.MaxFunc(each, func(a, b []recording.Entry) int { return len(a) - len(b) }) {
		for _, entries := range each {
			switch {
			case i >= len(entries):
			case entries[i].Container != nil:
				log.name(entries[i].Container.CgroupID, entries[i].Container)
			default:
				if err := log.add(entries[i].Ring, entries[i].Raw); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return log, each
}

func containerOf(t *testing.T, entries []recording.Entry) string {
	t.Helper()
	i := slices.IndexFunc(entries, func(e recording.Entry) bool { return e.Container != nil })
	if i < 0 {
		t.Fatal("recording without a container")
	}
	return entries[i].Container.ID
}

// TestPickContainer: of two scenes at once, each container's recording is what it
// is alone. Both scenes had the same containerd, which a log has one seed of.
func TestPickContainer(t *testing.T) {
	log, each := captured(t, "exec-fileless-memfd/positive-memfd.jsonl", "mem-wx-transition/positive-jit-by-name.jsonl")
	seed := func(e recording.Entry) bool { return e.Ring == recording.Seed }
	for _, want := range each {
		got := log.pick(Selection{Containers: []string{containerOf(t, want)}})
		if !slices.ContainsFunc(got, seed) {
			t.Error("nothing tells what the daemon is")
		}
		if diff := cmp.Diff(slices.DeleteFunc(want, seed), slices.DeleteFunc(got, seed)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	if got := log.pick(Selection{Containers: []string{"another"}}); len(got) > 0 {
		t.Errorf("%d entries of a container that is not there", len(got))
	}
}

func decoded(t *testing.T, e recording.Entry) *event.Event {
	t.Helper()
	d := decode.Decoder{}
	ev, err := d.Decode(e.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestPickTree chooses a process and what it started, whatever the container.
func TestPickTree(t *testing.T) {
	log, each := captured(t, "mem-wx-transition/positive-jit-by-name.jsonl")
	var shell uint32
	for _, e := range each[0] {
		if e.Container == nil && e.Ring != recording.Seed {
			if exec, ok := decoded(t, e).Payload.(*event.Exec); ok && exec.Init {
				shell = decoded(t, e).Actor.TGID
			}
		}
	}
	if shell == 0 {
		t.Fatal("the container's first program is not there")
	}
	outside := event.Key{}
	programs := map[string]bool{}
	for _, e := range log.pick(Selection{Root: shell}) {
		ev := decoded(t, e)
		if exec, ok := ev.Payload.(*event.Exec); ok {
			programs[exec.File.Name()] = true
		}
		if ev.Kind == event.KindProcessFork && ev.Actor.TGID != shell && outside.IsZero() {
			outside = ev.Actor
		}
	}
	for _, name := range []string{"dash", "cp", "java", "runc", "containerd-shim-runc-v2"} {
		if !programs[name] {
			t.Errorf("%s is not there: %v", name, programs)
		}
	}
	for _, e := range log.pick(Selection{Root: shell, Outside: outside.TGID}) {
		if ev := decoded(t, e); ev.Actor == outside {
			t.Errorf("%s of a process that is outside", ev.Kind)
		}
	}
}

func TestKeep(t *testing.T) {
	log, each := captured(t, "sensitive-file-read/positive-cat.jsonl")
	asked := 0
	got := log.pick(Selection{Containers: []string{containerOf(t, each[0])}, Keep: func(e *event.Event) bool {
		asked++
		return false
	}})
	if asked == 0 || len(got) != len(each[0])-asked {
		t.Errorf("asked for %d of %d entries, %d are left", asked, len(each[0]), len(got))
	}
}

func TestMask(t *testing.T) {
	for _, test := range []struct{ text, word, want string }{
		{"a /home/me/x /home/me", "/home/me", "a /xxxx/xx/x /xxxx/xx"},
		{"nothing", "/home/me", "nothing"},
		{"vmvm", "vm", "xxxx"},
	} {
		raw := []byte(test.text)
		mask(raw, test.word)
		if string(raw) != test.want {
			t.Errorf("%q without %q is %q, want %q", test.text, test.word, raw, test.want)
		}
	}
}

// TestCapture records a command of this host.
func TestCapture(t *testing.T) {
	testpriv.Root(t)
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := rule.Load(sources, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	running, err := Start(ctx, Options{Log: zaptest.NewLogger(t), Rules: rules, Unfiltered: true})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	seen := running.Watch(func(e *event.Event) bool {
		exec, ok := e.Payload.(*event.Exec)
		return ok && strings.HasPrefix(exec.Args, "cat\x00"+dir)
	})
	file := dir + "/file"
	command := exec.CommandContext(ctx, "/bin/sh", "-c", "echo x > "+file+"; cat "+file)
	acted := command.Run()
	select {
	case <-seen:
	case <-ctx.Done():
		t.Error("the command was not seen")
	}
	log, err := running.Stop()
	if err := errors.Join(acted, err); err != nil {
		t.Fatal(err)
	}

	var text bytes.Buffer
	records, err := log.Write(&text, Origin{Made: "test"}, Selection{Root: uint32(command.Process.Pid), Outside: uint32(os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	header, entries := entriesOf(t, text.Bytes())
	if records != len(entries) || header.Made != "test" || header.Rungs["process_exec"] == "" || header.Host.Mount == 0 || header.BootToWall == 0 {
		t.Errorf("%d records, header %+v", records, header)
	}
	var executed []string
	wrote := false
	for _, e := range entries {
		ev := decoded(t, e)
		if ev.Actor.TGID == uint32(os.Getpid()) {
			t.Errorf("%s of the recorder itself", ev.Kind)
		}
		switch p := ev.Payload.(type) {
		case *event.Exec:
			if ev.Kind == event.KindProcessExec {
				executed = append(executed, event.Words(p.Args)[0])
			}
		case *event.Open:
			wrote = wrote || p.Write && p.File.Path == file
		}
	}
	if diff := cmp.Diff([]string{"/bin/sh", "cat"}, executed); diff != "" || !wrote {
		t.Errorf("executed (-want +got):\n%swrote the file: %v", diff, wrote)
	}
}
