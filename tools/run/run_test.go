package main

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/internal/testpriv"
	"github.com/seawall-security/seawall/tools/local"
)

// programs is the folder of all binaries, as make builds them.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "seawall-run-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(programs)
		for name, folder := range map[string]string{
			"seawall-run": ".", "seawall-agent": "../../agent", "seawall-collector": "../../collector",
			"seawallctl": "../seawallctl", "seawall-attack": "../attack",
		} {
			build := exec.Command("go", "build", "-o", filepath.Join(programs, name), folder)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			build.Stdout, build.Stderr = os.Stderr, os.Stderr
			if err := build.Run(); err != nil {
				panic(err)
			}
		}
		return m.Run()
	}())
}

func program(name string) string { return filepath.Join(programs, name) }

// waiting bounds what a test waits for.
const waiting = time.Minute

// terminal is one make run, and what it prints.
type terminal struct {
	*testing.T
	process *local.Process
	command *exec.Cmd
	lines   chan string
}

// place is where runs of one test have their state and listen.
type place struct{ state, listen, collectorAdmin, agentAdmin string }

func newPlace(t *testing.T) place {
	t.Helper()
	var addresses []string
	for range 3 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		addresses = append(addresses, listener.Addr().String())
	}
	return place{state: filepath.Join(t.TempDir(), "state"), listen: addresses[0], collectorAdmin: addresses[1], agentAdmin: addresses[2]}
}

func (p place) flags() []string {
	return []string{"-state", p.state, "-listen", p.listen, "-collector-admin", p.collectorAdmin, "-agent-admin", p.agentAdmin}
}

func (p place) collector() local.Collector {
	return local.Collector{Path: program("seawall-collector"), Flags: []string{"--data-dir", filepath.Join(p.state, "collector")}}
}

func open(t *testing.T, p place) *terminal {
	t.Helper()
	term := &terminal{T: t, lines: make(chan string, 1000)}
	term.command = exec.Command(program("seawall-run"), append(p.flags(), "--", "--containerd", "off")...)
	var err error
	term.process, err = local.Start(t.Context(), local.Program{Name: "run", Command: term.command,
		Out: func(line []byte) error { term.lines <- string(line); return nil },
		End: func() error { return term.command.Process.Signal(os.Interrupt) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = term.process.Stop() }) // of a test that failed
	return term
}

// until waits for a line.
func (term *terminal) until(text string) string {
	term.Helper()
	late := time.After(waiting)
	for {
		select {
		case line := <-term.lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-term.process.Ended():
			for len(term.lines) > 0 {
				if line := <-term.lines; strings.Contains(line, text) {
					return line
				}
			}
			term.Fatalf("ended without a line of %q\n%v", text, term.process.LastLines())
		case <-late:
			term.Fatalf("no line of %q\n%v", text, term.process.LastLines())
		}
	}
}

var reporting = regexp.MustCompile(`^agent (\S+) of node \S+ reports$`)

// ready waits until alerts would be shown, and returns the agent's id.
func (term *terminal) ready() string {
	term.Helper()
	found := reporting.FindStringSubmatch(term.until(" reports"))
	if found == nil {
		term.Fatal("no agent's id")
	}
	term.until("Alerts as they come")
	return found[1]
}

// ended waits until it ends by itself.
func (term *terminal) ended() {
	term.Helper()
	select {
	case <-term.process.Ended():
	case <-time.After(waiting):
		term.Fatalf("it goes on\n%v", term.process.LastLines())
	}
}

func (term *terminal) interrupt() {
	term.Helper()
	if err := term.process.Stop(); err != nil {
		term.Fatalf("%v\n%v", err, term.process.LastLines())
	}
}

func act(t *testing.T, name string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program("seawall-attack"), name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

const (
	memfdTitle   = "Program run from memory without a file"
	deletedTitle = "Program run from a deleted file"
)

// What happens on this machine is on the terminal, the last of it too, and all of it is
// there after another start, with the same agent.
func TestAlertsAreShownAndKept(t *testing.T) {
	testpriv.Root(t)
	p := newPlace(t)
	term := open(t, p)
	id := term.ready()
	act(t, "memfd-exec")
	term.until(memfdTitle)
	act(t, "deleted-exec")
	term.interrupt() // at once
	term.until(deletedTitle)
	term.until("Kept in " + p.state)
	tokens, err := p.collector().Ask(t.Context(), "token list")
	if err != nil || strings.Count(tokens, "\n") != 1 { // below the heading
		t.Errorf("tokens after the first run: %v\n%s", err, tokens)
	}

	term = open(t, p)
	if again := term.ready(); again != id {
		t.Errorf("the agent was %s and is %s", id, again)
	}
	list, err := exec.CommandContext(t.Context(), program("seawallctl"), "alerts", "list",
		"-collector", p.listen, "-credentials", filepath.Join(p.state, "client")).CombinedOutput()
	if err != nil || !strings.Contains(string(list), memfdTitle) || !strings.Contains(string(list), deletedTitle) {
		t.Errorf("%v\n%s", err, list)
	}
	term.interrupt()
	if more, err := p.collector().Ask(t.Context(), "token list"); err != nil || more != tokens {
		t.Errorf("tokens: %v\n%s\nwere\n%s", err, more, tokens)
	}
}

// descendants are handles of all processes below one, by their programs' names.
func descendants(t *testing.T, pid int) map[string]int {
	t.Helper()
	found := map[string]int{}
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has gone
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			path, err := os.Readlink(filepath.Join("/proc", word, "exe"))
			if err != nil {
				continue
			}
			found[filepath.Base(path)] = child
			for name, pid := range descendants(t, child) {
				found[name] = pid
			}
		}
	}
	return found
}

// gone waits until a process has ended.
func gone(t *testing.T, handle int) {
	t.Helper()
	for deadline := time.Now().Add(waiting); time.Now().Before(deadline); {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(handle), Events: unix.POLLIN}}, 1000); n == 1 && err == nil {
			return
		}
	}
	t.Fatal("a process is left behind")
}

// A part that dies takes the rest with it, and it is said which; so does the death of the
// whole.
func TestNothingIsLeftBehind(t *testing.T) {
	testpriv.Root(t)
	p := newPlace(t)
	for _, test := range []struct{ victim, says string }{
		{"seawall-collector", "the collector ended"},
		{"seawall-agent", "the agent ended"},
		{"seawall-run", ""},
	} {
		term := open(t, p)
		term.ready()
		below := descendants(t, term.command.Process.Pid)
		victim := below[test.victim]
		if test.says == "" {
			victim = term.command.Process.Pid
		}
		handles := map[string]int{}
		for name, pid := range below {
			handle, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // of a test that failed
				_ = unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0)
				_ = unix.Close(handle)
			})
			handles[name] = handle
		}
		for _, name := range []string{"seawall-collector", "seawall-agent", "seawall-run", "seawallctl"} { // run: its root half
			if handles[name] == 0 {
				t.Fatalf("no %s among %v", name, below)
			}
		}
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		term.ended()
		if said := term.process.LastLines(); test.says != "" && (said == nil || !strings.Contains(said.Error(), test.says)) {
			t.Errorf("%s killed: it says %v", test.victim, said)
		}
		if term.process.Stop() == nil {
			t.Errorf("%s killed: no error", test.victim)
		}
		for _, handle := range handles {
			gone(t, handle)
		}
	}
}

// An address that is taken is said before anything is started.
func TestAddressesInUse(t *testing.T) {
	p := newPlace(t)
	for flag, address := range map[string]string{"-listen": p.listen, "-collector-admin": p.collectorAdmin, "-agent-admin": p.agentAdmin} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		term := open(t, p)
		term.ended()
		if said := term.process.LastLines(); said == nil || !strings.Contains(said.Error(), address+" is in use") || !strings.Contains(said.Error(), flag) {
			t.Errorf("%s is taken: %v", flag, said)
		}
		if term.process.Stop() == nil {
			t.Errorf("%s is taken: no error", flag)
		}
		if _, err := os.Stat(p.state); err == nil {
			t.Errorf("%s is taken, and %s was made", flag, p.state)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/somewhere")
	o, err := parse([]string{"--", "--standalone", "--node", "collector", "--events"})
	if err != nil || o.state != "/somewhere/seawall" || !slices.Equal(o.agentFlags, []string{"--standalone", "--node", "collector", "--events"}) {
		t.Errorf("%+v, %v", o, err)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "/home/somebody")
	if o, err = parse(nil); err != nil || o.state != "/home/somebody/.local/state/seawall" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, flag := range []string{"--admin-address=", "-state-dir", "--collector", "--join-token-file"} {
		if _, err := parse([]string{"--", flag, "x"}); err == nil || !strings.Contains(err.Error(), "make run itself") {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// Without root and without sudo nothing is begun.
func TestWithoutRoot(t *testing.T) {
	testpriv.Root(t) // to become somebody else
	p := newPlace(t)
	for _, folder := range []string{programs, filepath.Dir(p.state)} {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), waiting)
	defer cancel()
	command := exec.CommandContext(ctx, program("seawall-run"), p.flags()...)
	command.Env = []string{"PATH=/nowhere", "HOME=/"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "needs root, and there is no sudo") {
		t.Errorf("%v: %s", err, out)
	}
	if first, _, _ := bufio.NewReader(strings.NewReader(string(out))).ReadLine(); !strings.HasPrefix(string(first), "seawall-run: ") {
		t.Errorf("%s", out)
	}
}
