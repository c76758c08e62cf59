package whole

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// readyTimeout bounds a start: the agent's has tests of all its hooks in it.
const readyTimeout = time.Minute

// process is one of the processes, over all its lives. It is for one goroutine at a time.
type process struct {
	t      testing.TB
	name   string
	path   string
	args   func() []string
	stdout string // file that its output is appended to; empty: none
	errors string // file that its log is appended to
	// ready is how the line begins that says that it works; empty: it works at once.
	ready string

	said    string // the rest of that line
	command *exec.Cmd
	ended   chan struct{} // closed when it is gone and its output read
	how     error         // how it ended, after that
}

func newProcess(t testing.TB, folder, name, path string, args func() []string) *process {
	return &process{t: t, name: name, path: path, args: args, errors: filepath.Join(folder, name+".log")}
}

// start returns once it is ready. The error is how it ended instead.
func (p *process) start() error {
	log, err := os.OpenFile(p.errors, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	p.command = exec.Command(p.path, p.args()...)
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if p.stdout != "" {
		out, err := os.OpenFile(p.stdout, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer out.Close()
		p.command.Stdout = out
	}
	stderr, err := p.command.StderrPipe()
	if err != nil {
		return err
	}
	if err := fork(p.command); err != nil {
		return err
	}
	ready, ended := make(chan string, 1), make(chan struct{})
	p.ended = ended
	go func() {
		defer close(ended)
		defer log.Close()
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), p.ready); ok && p.ready != "" {
				select {
				case ready <- rest:
				default:
				}
			}
			fmt.Fprintln(log, lines.Text())
		}
		p.how = p.command.Wait()
	}()
	if p.ready == "" {
		return nil
	}
	late := time.NewTimer(readyTimeout)
	defer late.Stop()
	select {
	case p.said = <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("%s ended: %w\n%s", p.name, cmp.Or(p.how, errors.New("in order")), p.tail())
	case <-late.C:
		p.kill()
		return fmt.Errorf("%s is not ready after %v\n%s", p.name, readyTimeout, p.tail())
	}
}

// forks takes what is to be started by the one thread that lives as long as the test: the
// kernel kills a child for which that was asked when the thread that made it ends.
var forks = sync.OnceValue(func() chan func() {
	orders := make(chan func())
	go func() {
		runtime.LockOSThread()
		for order := range orders {
			order()
		}
	}()
	return orders
})

func fork(command *exec.Cmd) error {
	started := make(chan error)
	forks() <- func() { started <- command.Start() }
	return <-started
}

func (p *process) up() bool {
	if p.ended == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends it without a word, and returns when the kill was sent.
func (p *process) kill() time.Time {
	at := time.Now()
	if p.up() {
		_ = p.command.Process.Kill() // it may just have ended
		<-p.ended
	}
	return at
}

// stop ends it in order.
func (p *process) stop() {
	p.t.Helper()
	if !p.up() {
		return
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("stop %s: %v", p.name, err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = p.command.Process.Kill() })
	defer late.Stop()
	<-p.ended
	if p.how != nil {
		p.t.Errorf("%s stopped: %v\n%s", p.name, p.how, p.tail())
	}
}

// tail is the end of its log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.errors)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}
