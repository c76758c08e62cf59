package probe

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// nobody is a user without any right.
const nobody = 65534

// TestCallers: what a program does to be overlooked, told wrongly or told twice, on the
// best rungs of this kernel and on those that are left when it refuses all others.
func TestCallers(t *testing.T) {
	testpriv.Root(t)
	for _, test := range []struct {
		name    string
		ceiling Rung
	}{{"best", ""}, {"lowest", RungSyscall}} {
		t.Run(test.name, func(t *testing.T) {
			w := newWatch(t, test.ceiling)
			part := func(name string, f func(*testing.T, *watch)) {
				t.Run(name, func(t *testing.T) { f(t, w) })
			}
			part("wide number", testWideNumber)
			part("deep rename", testDeepRename)
			part("overlay", testOverlay)
			part("mapping behind", testMappingBehind)
			part("busy address space", testBusyAddressSpace)
			part("read implies exec", testReadImpliesExec)
			part("transition after exec", testTransitionAfterExec)
			part("crowd", testCrowd)
			part("entered once", testEnteredOnce)
			part("reach", testReach)
			part("join", testJoin)
			part("mark of another", testMarkOfAnother)
			part("ledger", testLedger)
		})
	}
}

// testWideNumber: the kernel looks at the lower half of a call's number, so the upper one
// must not hide the call.
func testWideNumber(t *testing.T, w *watch) {
	w.admit(t, unfiltered)
	file := newFile(t, "wide")
	r := perform(t, attack(t, t.TempDir(), "wide-open", "-write", file))[0]
	opens := opensOf(w.until(t, r.PID, event.KindFileOpen), file)
	if r.Errno == int(unix.ENOSYS) {
		// Before 5.13 the kernel looked at the whole number and found no such call.
		if len(opens) > 0 {
			t.Errorf("the kernel refused the call, and %d opens were told", len(opens))
		}
		return
	}
	if r.Result != "ok" {
		t.Fatal(r.Result)
	}
	if len(opens) != 1 {
		t.Fatalf("%d opens were told, not 1", len(opens))
	}
	if open := opens[0].Payload.(*event.Open); !open.Write || open.Read || open.Failed {
		t.Errorf("it is %+v", open)
	}
}

// testDeepRename: what folder and text say together can be longer than a record has room
// for. Both paths are told, whole or marked as cut, and nothing else is harmed.
func testDeepRename(t *testing.T, w *watch) {
	w.admit(t, unfiltered)
	callersText := w.rung("file_rename") == RungSyscall
	for _, test := range []struct {
		cwd, text string
		whole     bool
	}{
		{"2000", "2000", true},
		{"2000", "4095", false},
		{"4095", "4095", false},
		// The folder alone fills the room of the second path, but for its last bytes.
		{"3900", "1000", false},
		{"3950", "150", false},
		{"4000", "1000", false},
		{"4090", "10", false},
	} {
		t.Run(test.cwd+" and "+test.text, func(t *testing.T) {
			r := must(t, attack(t, t.TempDir(), "deep-rename", "-cwd", test.cwd, "-text", test.text))
			renames := w.until(t, r.PID, event.KindFileRename)
			if len(renames) != 1 {
				t.Fatalf("%d renames were told, not 1", len(renames))
			}
			ev := renames[0]
			rename := ev.Payload.(*event.Rename)
			for i, path := range []string{rename.File.Path, rename.NewPath} {
				want := r.Paths[i]
				switch {
				case path == want:
				case !ev.Flags.Has(event.PathTruncated):
					t.Errorf("path %d of %d bytes is told as %d bytes, not marked as cut", i, len(want), len(path))
				case len(path) < 3000 || callersText && !strings.HasPrefix(want, path) || !callersText && !strings.HasSuffix(want, path):
					t.Errorf("of path %d, %d bytes, these %d were kept: %.40q...", i, len(want), len(path), path)
				}
			}
			if test.whole && ev.Flags.Has(event.PathTruncated) {
				t.Errorf("paths of %d bytes were cut", len(r.Paths[0]))
			}
		})
	}
}

// testOverlay: overlayfs opens the layer's file with the mounter's rights for every open
// of its own. Only the caller's open is told, as the caller's.
func testOverlay(t *testing.T, w *watch) {
	w.admit(t, unfiltered)
	merged := overlay(t)
	for _, test := range []struct {
		name, how string
	}{{"lower", "read"}, {"upper", "read"}, {"lower", "open-write"}} {
		t.Run(test.how+" of "+test.name, func(t *testing.T) {
			file := filepath.Join(merged, test.name)
			c := attack(t, t.TempDir(), test.how, file)
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			r := must(t, c)
			var opens []*event.Event
			for _, ev := range w.until(t, r.PID, event.KindFileOpen) {
				if filepath.Base(ev.Payload.(*event.Open).File.Path) == test.name {
					opens = append(opens, ev)
				}
			}
			for _, ev := range opens {
				t.Logf("told as of user %d: %+v", ev.UID, ev.Payload)
			}
			if len(opens) != 1 {
				t.Fatalf("%d opens were told, not 1", len(opens))
			}
			ev, open := opens[0], opens[0].Payload.(*event.Open)
			if ev.UID != nobody || ev.EUID != nobody || ev.GID != nobody {
				t.Errorf("told as of user %d, %d, group %d", ev.UID, ev.EUID, ev.GID)
			}
			if open.File.Path != file || open.Write != (test.how == "open-write") || !open.File.Overlay {
				t.Errorf("it is %+v", open)
			}
		})
	}
}

// overlay mounts one as a container has it, whose files anybody may open.
func overlay(t *testing.T) (merged string) {
	t.Helper()
	dir := folder(t)
	mount := func(source, target, kind, options string) {
		t.Helper()
		if err := unix.Mount(source, target, kind, 0, options); err != nil {
			t.Fatalf("mount %s: %v", kind, err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(target, 0); err != nil {
				t.Errorf("unmount %s: %v", kind, err)
			}
		})
	}
	// What the folder is on need not serve as an upper layer.
	mount("tmpfs", dir, "tmpfs", "mode=755")
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"lower", "upper"} {
		file := filepath.Join(dir, name, name)
		if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	merged = filepath.Join(dir, "merged")
	mount("overlay", merged, "overlay", "lowerdir="+dir+"/lower,upperdir="+dir+"/upper,workdir="+dir+"/work")
	return merged
}

// testLedger: the rings had room for all of this.
func testLedger(t *testing.T, w *watch) {
	counts, err := w.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.DroppedRing > 0 {
			t.Errorf("%s: %d records did not fit into the ring", c.Kind, c.DroppedRing)
		}
	}
}

// folder is one that everybody may look into.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newFile(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func opensOf(events []*event.Event, path string) (all []*event.Event) {
	for _, ev := range events {
		if open, ok := ev.Payload.(*event.Open); ok && open.File.Path == path {
			all = append(all, ev)
		}
	}
	return all
}

func unfiltered(c *bpf.LayoutRunControl) { c.Unfiltered = 1 }
