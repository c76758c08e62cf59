package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/agent/output"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testpriv"
)

// testEndOnce: a program with many threads, all of which end at the same moment, is told
// to end once, with the status it had.
func testEndOnce(t *testing.T, n *node) {
	const programs, threads = 20, 64
	for range programs {
		pid := run(t, self(t, actThreads, strconv.Itoa(threads)))
		exec := n.seen.await(t, "the program", execBy(pid))
		n.seen.await(t, "its end", exitOf(exec.Actor))
	}
	// A second end of the last one would come before what is done now.
	n.seen.await(t, "a later program", execBy(run(t, attack(t, n.dir, "noop"))))
	ends := map[event.Key]int{}
	for _, ev := range n.seen.all(func(ev *event.Event) bool {
		return ev.Kind == event.KindProcessExit && slices.Contains(ev.Process.Args, actThreads)
	}) {
		ends[ev.Actor]++
		if exit := ev.Payload.(*event.Exit); exit.Code != 0 || exit.Signal != 0 {
			t.Errorf("process %d ended with %+v", ev.Actor.TGID, exit)
		}
	}
	twice := 0
	for _, times := range ends {
		if times > 1 {
			twice++
		}
	}
	if len(ends) != programs || twice > 0 {
		t.Errorf("%d of %d programs ended, %d of them more than once", len(ends), programs, twice)
	}
}

// testLongArgs: of an argv of 1 MiB the user gets the beginning, is told that it was cut
// and how long it was.
func testLongArgs(t *testing.T, n *node) {
	const kept = 8192 // ARGS_BYTES of bpf/event.h
	r := must(t, n.dir, "burst-args", strconv.Itoa(1<<20))
	ev := n.seen.await(t, "the long argv", func(ev *event.Event) bool {
		return ev.Kind == event.KindProcessExec && ev.Parent.TGID == r.PID
	})
	exec := ev.Payload.(*event.Exec)
	if len(exec.Args) != kept || exec.ArgsBytes != 1<<20 || !exec.ArgsCut {
		t.Errorf("%d bytes of %d, cut %v", len(exec.Args), exec.ArgsBytes, exec.ArgsCut)
	}
	p := ev.Process
	if len(p.Args) != 4 || p.Args[1] != "noop" || strings.Trim(p.Args[3], "a") != "" || !p.ArgsCut || p.ArgsBytes != 1<<20 {
		t.Errorf("process has %d words %.60q, %d bytes, cut %v", len(p.Args), p.Args, p.ArgsBytes, p.ArgsCut)
	}
}

// testBadPaths: file names hold any byte but NUL and '/'. Each event stays one line of
// JSON, and the name can be read back from it.
func testBadPaths(t *testing.T, n *node) {
	r := must(t, n.dir, "bad-path")
	var want []string
	for _, name := range []string{"new\nline", "invalid-\xff\xfe-utf8", `back\slash`, "escape-\x1b[31m"} {
		want = append(want, filepath.Join(n.dir, "attack-"+strconv.Itoa(int(r.PID))+"-"+name))
	}
	unlinked := func(ev *event.Event) bool { return ev.Kind == event.KindFileUnlink && ev.Actor.TGID == r.PID }
	n.seen.await(t, "the last name is gone", func(ev *event.Event) bool {
		return unlinked(ev) && ev.Payload.(*event.Unlink).File.Path == want[len(want)-1]
	})
	acts := map[string][]*event.Event{
		"made": n.seen.all(func(ev *event.Event) bool {
			open, ok := ev.Payload.(*event.Open)
			return ok && open.Created && ev.Actor.TGID == r.PID
		}),
		"read": n.seen.all(func(ev *event.Event) bool {
			open, ok := ev.Payload.(*event.Open)
			return ok && !open.Write && ev.Actor.TGID == r.PID && filepath.Dir(open.File.Path) == n.dir
		}),
		"unlinked": n.seen.all(unlinked),
	}
	for act, events := range acts {
		var got []string
		for _, ev := range events {
			got = append(got, printedPath(t, n, ev))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", act, diff)
		}
	}
}

// printedPath prints an event as the agent does and reads the path of its file back.
func printedPath(t *testing.T, n *node, ev *event.Event) string {
	t.Helper()
	var out bytes.Buffer
	printer := output.New(&out, output.Options{Events: true, BootID: n.bootID})
	printer.Event(ev)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := printer.Run(ended); err != nil {
		t.Fatal(err)
	}
	line := out.Bytes()
	if bytes.Count(line, []byte("\n")) != 1 || !bytes.HasSuffix(line, []byte("\n")) || !utf8.Valid(line) || bytes.ContainsRune(line, 0x1b) {
		t.Errorf("not one line of text: %q", line)
	}
	type file struct {
		File struct {
			Path string `json:"path"`
		} `json:"file"`
	}
	var record struct {
		Event struct {
			Escaped bool `json:"escaped"`
			Open    file `json:"open"`
			Unlink  file `json:"unlink"`
		} `json:"event"`
	}
	if err := json.Unmarshal(line, &record); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	path := record.Event.Open.File.Path + record.Event.Unlink.File.Path
	if record.Event.Escaped {
		return unescape(t, path)
	}
	return path
}

// unescape reads what the schema says of escaped text.
func unescape(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	for len(text) > 0 {
		before, after, found := strings.Cut(text, `\`)
		b.WriteString(before)
		switch {
		case !found:
			return b.String()
		case strings.HasPrefix(after, `\`):
			b.WriteByte('\\')
			text = after[1:]
		default:
			if len(after) < 3 || after[0] != 'x' {
				t.Fatalf("%q is not escaped text", text)
			}
			c, err := strconv.ParseUint(after[1:3], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteByte(byte(c))
			text = after[3:]
		}
	}
	return b.String()
}

// testNumberUsedAgain: a process that gets the number of one that ended is another one,
// and neither gets the other's events. The second asks for its number; that changes
// nothing for the rest of the host.
func testNumberUsedAgain(t *testing.T, n *node) {
	busybox := testpriv.Program(t, "busybox")
	first, second := filepath.Join(n.dir, "first"), filepath.Join(n.dir, "second")
	c := attack(t, n.dir, "create", "-name", "first", "-keep")
	pid := run(t, c)
	// A rule may hit what is dead by the time the agent reads of it: the mark that follows
	// must not come to the next holder of the number.
	dead := n.seen.await(t, "the first's end", func(ev *event.Event) bool {
		return ev.Kind == event.KindProcessExit && ev.Actor.TGID == pid
	})
	if err := n.sensor.Mark(dead.Actor, event.TreeRule); err != nil {
		t.Fatal(err)
	}
	spawnAs(t, pid, busybox, "touch", second)

	a, b := n.seen.await(t, "the first's file", openOf(first)), n.seen.await(t, "the second's file", openOf(second))
	if a.Actor.TGID != pid || b.Actor.TGID != pid {
		t.Fatalf("numbers are %d and %d, not %d twice", a.Actor.TGID, b.Actor.TGID, pid)
	}
	if a.Actor.Start >= b.Actor.Start || a.Process.ID == b.Process.ID {
		t.Errorf("keys are %+v %s and %+v %s", a.Actor, a.Process.ID, b.Actor, b.Process.ID)
	}
	n.seen.await(t, "the second's end", exitOf(b.Actor))
	if b.Tree != 0 {
		t.Errorf("the second is in the tree of interest of the first: %v", b.Tree.Names())
	}
	programs := map[event.Key]string{a.Actor: "attack", b.Actor: "busybox"}
	for _, ev := range n.seen.all(func(ev *event.Event) bool { return ev.Actor.TGID == pid }) {
		program, ok := programs[ev.Actor]
		if !ok {
			t.Errorf("%s of a third process %+v", ev.Kind, ev.Actor)
			continue
		}
		if ev.Process.Key != ev.Actor || ev.Process.ID != event.ProcessID(n.bootID, ev.Actor) || ev.Process.Name != program {
			t.Errorf("%s of %s is told of %s %+v", ev.Kind, program, ev.Process.Name, ev.Process.Key)
		}
		if open, ok := ev.Payload.(*event.Open); ok && (open.File.Path == second) != (program == "busybox") {
			t.Errorf("%s opened %s", program, open.File.Path)
		}
		if ev.Actor == a.Actor && ev.Time >= b.Actor.Start {
			t.Errorf("%s of the first after the second was born", ev.Kind)
		}
	}
	if l := n.processes.Stats().LostExits; l > 0 {
		t.Errorf("%d numbers were used again before their end was seen", l)
	}
}

// cloneArgs is struct clone_args of clone3(2).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// spawnAs runs a program to its end in a process whose number, which must be free, is
// chosen.
func spawnAs(t *testing.T, pid uint32, program string, args ...string) {
	t.Helper()
	path, err := unix.BytePtrFromString(program)
	if err != nil {
		t.Fatal(err)
	}
	argv, err := syscall.SlicePtrFromStrings(append([]string{program}, args...))
	if err != nil {
		t.Fatal(err)
	}
	number := new(uint32)
	*number = pid
	how := &cloneArgs{exitSignal: uint64(unix.SIGCHLD), setTID: uint64(uintptr(unsafe.Pointer(number))), setTIDSize: 1}
	child, errno := cloneAndExec(how, path, &argv[0])
	runtime.KeepAlive(number)
	if errno != 0 {
		testpriv.Feature(t, "clone3 with a chosen number", errno)
	}
	if child != uintptr(pid) {
		t.Fatalf("number %d instead of %d", child, pid)
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(int(pid), &status, 0, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
	if status.ExitStatus() != 0 {
		t.Fatalf("%s %q: status %d", program, args, status.ExitStatus())
	}
}

// cloneAndExec copies this process and replaces the copy at once. Until then the copy
// has one thread and no scheduler: nothing in it may allocate, grow the stack or block.
//
//go:noinline
func cloneAndExec(how *cloneArgs, path *byte, argv **byte) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(how)), unsafe.Sizeof(*how), 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(argv)), 0)
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// testDoors: the same act is seen through every entry of the kernel that the lowest rung
// has to know by name, a refused one too.
func testDoors(t *testing.T, n *node) {
	t.Run("32-bit open", func(t *testing.T) {
		file := newFile(t, n, "door-compat")
		r := perform(t, attack(t, n.dir, "compat-open", "-write", file))
		if strings.Contains(r.Result, "32-bit") || r.Errno == int(unix.ENOSYS) {
			testpriv.Feature(t, "the 32-bit system calls of x86-64", errors.New(r.Result))
		} else if r.Result != "ok" {
			t.Fatal(r.Result)
		}
		ev := n.seen.await(t, "open of "+file, openOf(file))
		open := ev.Payload.(*event.Open)
		if !open.Write || open.Failed || open.File.Inode == 0 {
			t.Errorf("it is %+v", open)
		}
		if compat := ev.Flags.Has(event.Compat); compat != n.lowest("file_open") {
			t.Errorf("flagged as 32-bit: %v, on the lowest rung: %v", compat, n.lowest("file_open"))
		}
	})
	for _, door := range []string{actOpenat2, actCreat} {
		t.Run(door, func(t *testing.T) {
			file := newFile(t, n, "door-"+door)
			pid := run(t, self(t, door, file))
			ev := n.seen.await(t, "open of "+file, openOf(file))
			open := ev.Payload.(*event.Open)
			if ev.Actor.TGID != pid || !open.Write || open.Failed || open.Truncate != (door == actCreat) || open.Created {
				t.Errorf("process %d did %+v", ev.Actor.TGID, open)
			}
			if n.lowest("file_open") && (!ev.Flags.Has(event.HasResult) || ev.Result < 0) {
				t.Errorf("flags %b, result %d", ev.Flags, ev.Result)
			}
		})
	}
	t.Run("refused write of a knob", func(t *testing.T) {
		const knob, nobody = "/proc/sys/kernel/core_pattern", 65534
		c := attack(t, n.dir, "knob", knob)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		r := perform(t, c)
		if r.Errno != int(unix.EACCES) {
			t.Fatalf("the actor was not refused: %s", r.Result)
		}
		if !n.lowest("file_open") {
			return // upper rungs run after the kernel's own check has refused
		}
		ev := n.seen.await(t, "refused open of the knob", func(ev *event.Event) bool {
			return ev.Actor.TGID == r.PID && openOf(knob)(ev)
		})
		open := ev.Payload.(*event.Open)
		if !open.Failed || !open.Write || !ev.Flags.Has(event.HasResult|event.UserMemory) || ev.Result != -int64(unix.EACCES) || ev.UID != nobody {
			t.Errorf("it is %+v by user %d, flags %b, result %d", open, ev.UID, ev.Flags, ev.Result)
		}
	})
}

func newFile(t *testing.T, n *node, name string) string {
	t.Helper()
	file := filepath.Join(n.dir, name)
	if err := os.WriteFile(file, []byte("door"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// testNamespaceJoin: whoever joins namespaces is seen with those it leaves and those it
// comes into, and told apart is who comes into the host's.
func testNamespaceJoin(t *testing.T, n *node) {
	joined := func(pid uint32, nth int) *event.Event {
		t.Helper()
		count := 0
		return n.seen.await(t, "join of a namespace", func(ev *event.Event) bool {
			if ev.Kind == event.KindProcessNamespace && ev.Actor.TGID == pid {
				count++
			}
			return count == nth && ev.Kind == event.KindProcessNamespace && ev.Actor.TGID == pid
		})
	}
	host := n.sensor.Host().Namespaces
	inside := n.shell(t, "joined")
	defer inside.remove(t)
	pid := strconv.Itoa(int(inside.running.Task.Pid()))
	r := must(t, n.dir, "setns", "/proc/"+pid+"/ns/net", "/proc/"+pid+"/ns/uts")
	if r.Counts["setns"] != 2 {
		t.Fatalf("the actor did %v", r.Counts)
	}
	net, uts := joined(r.PID, 1), joined(r.PID, 2)
	target := n.initOf(t, "joined").Process.Namespaces
	first := net.Payload.(*event.Namespace)
	if first.Before != (event.Namespaces{Mount: host.Mount, PID: host.PID, Net: host.Net, User: host.User, UTS: host.UTS, IPC: host.IPC, Cgroup: host.Cgroup}) {
		t.Errorf("it leaves %+v, the host's are %+v", first.Before, host)
	}
	if first.After.Net != target.Net || first.After.UTS != host.UTS || first.After.Mount != host.Mount {
		t.Errorf("first it comes into %+v, the container's are %+v", first.After, target)
	}
	if second := uts.Payload.(*event.Namespace); second.Before.Net != target.Net || second.After.UTS != target.UTS {
		t.Errorf("then it goes from %+v to %+v, the container's are %+v", second.Before, second.After, target)
	}
	if got := net.Proto(n.bootID).GetNamespace(); !slices.Equal(got.GetChanged(), []string{"net"}) || len(got.GetJoinedHost()) > 0 {
		t.Errorf("it is printed as %v", got)
	}

	back := attack(t, n.dir, "setns", "/proc/"+strconv.Itoa(os.Getpid())+"/ns/uts")
	back.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
	r = perform(t, back)
	if r.Result != "ok" {
		t.Fatal(r.Result)
	}
	got := joined(r.PID, 1).Proto(n.bootID).GetNamespace()
	if !slices.Equal(got.GetChanged(), []string{"uts"}) || !slices.Equal(got.GetJoinedHost(), []string{"uts"}) {
		t.Errorf("the way back into the host's is printed as %v", got)
	}
}
