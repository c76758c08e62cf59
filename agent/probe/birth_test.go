package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/event"
)

// testEnteredOnce: who comes into a container is told so with the first program it runs
// there, and not again with the next.
func testEnteredOnce(t *testing.T, w *watch) {
	program, err := actorProgram()
	if err != nil {
		t.Fatal(err)
	}
	cgroup := filepath.Join(w.options.Hierarchy.Mount, fmt.Sprintf("seawall-entered-%d", os.Getpid()))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(cgroup); err != nil {
			t.Error(err)
		}
	})
	for nth, init := range []bool{true, false} {
		c := exec.Command("sh", "-c", "echo $$ >"+cgroup+"/cgroup.procs; exec sh -c 'exec \"$0\" noop' \"$0\"", program)
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		type told struct{ entered, init, marked bool }
		var got []told
		for _, ev := range w.until(t, uint32(c.Process.Pid), event.KindProcessExec) {
			exec := ev.Payload.(*event.Exec)
			got = append(got, told{exec.Entered, exec.Init, ev.Tree.Has(event.TreeEntered)})
		}
		want := []told{{}, {true, init, !init}, {false, false, !init}}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("process %d: its programs are told as %v, want %v", nth, got, want)
		}
	}
}

// testMarkOfAnother: a mark is for one process. What user space marks may have ended
// meanwhile, and its number be another's.
func testMarkOfAnother(t *testing.T, w *watch) {
	for _, test := range []struct {
		name  string
		marks []event.Boot // how long before this process the marked one began
		want  event.Tree
	}{
		{"the very process", []event.Boot{0}, event.TreeRule},
		{"an earlier one", []event.Boot{1}, 0},
		{"the very process, then an earlier one", []event.Boot{0, 1}, event.TreeRule},
		{"an earlier one, then the very process", []event.Boot{1, 0}, event.TreeRule},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := newFile(t, "marked")
			c := attack(t, t.TempDir(), "sequence", "-")
			in, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			pid := uint32(c.Process.Pid)
			born := w.find(t, "the program", func(ev *event.Event) bool {
				return ev.Kind == event.KindProcessExec && ev.Actor.TGID == pid
			})
			for i, before := range test.marks {
				err := w.Mark(event.Key{TGID: pid, Start: born.Actor.Start - before}, event.TreeRule)
				if late := i > 0 && before > test.marks[i-1]; late != errors.Is(err, unix.ESRCH) || !late && err != nil {
					t.Errorf("mark of one that began %d before: %v", before, err)
				}
			}
			// It waits for this line before it does anything.
			if err := json.NewEncoder(in).Encode([][]string{{"read", file}}); err != nil {
				t.Fatal(err)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
			forks := w.until(t, pid, event.KindProcessFork)
			if len(forks) != 1 || forks[0].Tree != test.want {
				t.Fatalf("%d children; the tree of interest is %v, want %v", len(forks), forks[0].Tree.Names(), test.want.Names())
			}
			child := forks[0].Payload.(*event.Fork).Child.TGID
			opens := opensOf(w.until(t, child, event.KindFileOpen), file)
			if told := len(opens) == 1; told != (test.want != 0) {
				t.Errorf("%d opens by its child were told", len(opens))
			}
		})
	}
}
