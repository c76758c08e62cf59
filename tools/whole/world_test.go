package whole

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/testpriv"
)

const (
	// A spool may be 16 MiB at least. The rest is for what else an agent keeps.
	agentDiskBytes = 28 << 20
	// An event log has to be allowed 64 MiB, and takes what it gets.
	collectorDiskBytes = 256 << 20
)

// noContainers has nothing wait in memory for a container's name: here are none, and a
// cgroup that looks like one would keep its events for seconds.
const noContainers = "pen: {wait: 1ms}\n"

// world is everything that runs.
type world struct {
	testing.TB
	folder                   string
	agentDisk, collectorDisk *disk
	agentWay, siemWay        *proxy
	agent, collector         *process
	siem, receiver           *process
	actor                    *actor
	agentAdmin               string
	agentFlags               []string // beside what every agent of a test has

	readers  sync.WaitGroup // keep SIEM and receiver running
	stopping context.CancelFunc
	mu       sync.Mutex
	starts   map[int]bool // how many lines the SIEM had written when it was started
}

// newWorld makes the parts, and starts none but the network. Settings are the collector's,
// after its sinks for files and webhooks.
func newWorld(t testing.TB, agentFlags []string, settings string) *world {
	t.Helper()
	testpriv.Root(t)
	w := &world{TB: t, folder: t.TempDir(), agentFlags: agentFlags, starts: map[int]bool{}, agentAdmin: freeAddress(t)}
	w.agentDisk = newDisk(t, w.path("agent"), agentDiskBytes)
	w.collectorDisk = newDisk(t, w.path("collector"), collectorDiskBytes)
	w.agentWay, w.siemWay = newProxy(t), newProxy(t)
	w.actor = newActor(t, w.path("actor"))
	receiver := freeAddress(t)
	w.write("rules.yaml", markRules)
	w.write("collector.yaml", fmt.Sprintf(`cluster: whole
event_log: {max_bytes: %d, keep_bytes: %d}
sinks:
  - {name: archive, kind: file, form: json, path: %s}
  - {name: hook, kind: webhook, form: json, url: %s}
%s`, 96<<20, 64<<20, quote(w.path("archive.json")), quote("http://"+receiver+"/"), settings))
	w.write("agent.yaml", fmt.Sprintf("spool: {max_bytes: %d}\n%s", 16<<20, noContainers))

	w.collector = newProcess(t, w.folder, "collector", filepath.Join(built, "seawall-collector"), func() []string {
		return append([]string{"--listen", "127.0.0.1:0", "--admin-address", "", "--log-level", "debug"}, w.collectorFlags()...)
	})
	w.collector.ready = "ready: "
	w.agent = newProcess(t, w.folder, "agent", filepath.Join(built, "seawall-agent"), func() []string {
		return append([]string{
			"--config", w.path("agent.yaml"), "--collector", w.agentWay.address(), "--join-token-file", w.path("token"),
			"--state-dir", w.path("agent", "state"), "--node", "whole", "--containerd", "off", "--rules", w.path("rules.yaml"),
			"--telemetry", "all", "--admin-address", w.agentAdmin, "--log-level", "debug",
		}, w.agentFlags...)
	})
	w.agent.ready = "ready"
	w.siem = newProcess(t, w.folder, "siem", filepath.Join(built, "siemclient"), func() []string {
		return []string{"-collector", w.siemWay.address(), "-name", "whole", "-cert", w.path("siem", "client.crt"),
			"-key", w.path("siem", "client.key"), "-ca", w.path("siem", "ca.crt")}
	})
	w.siem.stdout = w.path("siem.json")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.receiver = newProcess(t, w.folder, "receiver", self, func() []string { return []string{receiveArgument, receiver, w.path("hook.json")} })
	w.receiver.ready = "receiving"
	t.Cleanup(func() {
		for _, p := range []*process{w.agent, w.collector} {
			p.kill()
		}
	})
	return w
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.folder}, parts...)...)
}

func (w *world) write(name, text string) {
	w.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (w *world) collectorFlags() []string {
	return []string{"--config", w.path("collector.yaml"), "--data-dir", w.path("collector", "data")}
}

func (w *world) spool() string { return w.path("agent", "state", "spool") }

// ask runs a command of the collector's beside it.
func (w *world) ask(words ...string) string {
	w.Helper()
	var errs bytes.Buffer
	command := exec.CommandContext(w.Context(), w.collector.path, append(words, w.collectorFlags()...)...)
	command.Stderr = &errs
	out, err := command.Output()
	if err != nil {
		w.Fatalf("%v: %v: %s", words, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// start starts everything; the agent is enrolled and says that all its hooks work.
func (w *world) start() {
	w.Helper()
	if err := w.startCollector(); err != nil {
		w.Fatal(err)
	}
	w.write("token", w.ask("token", "create"))
	w.ask("client", "create", "siem", "--role", "viewer", "--out", w.path("siem"))
	ctx, stop := context.WithCancel(context.Background())
	w.stopping = stop
	w.Cleanup(w.stopReaders)
	w.readers.Go(func() { w.keep(ctx, w.siem) })
	w.readers.Go(func() { w.keep(ctx, w.receiver) })
	if err := w.agent.start(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) startCollector() error {
	if err := w.collector.start(); err != nil {
		return err
	}
	_, address, ok := strings.Cut(w.collector.said, " listens on ")
	if !ok {
		return fmt.Errorf("the collector says %q", w.collector.said)
	}
	w.agentWay.leadTo(address)
	w.siemWay.leadTo(address)
	return nil
}

// keep starts a reader again whenever it ends, until ctx does.
func (w *world) keep(ctx context.Context, p *process) {
	out := w.path("hook.json")
	if p == w.siem {
		out = p.stdout
	}
	for ctx.Err() == nil {
		if err := cutHalfLine(out); err != nil {
			w.Error(err)
			return
		}
		if p == w.siem {
			w.noteStart(out)
		}
		if err := p.start(); err != nil {
			w.Error(err)
			return
		}
		select {
		case <-p.ended:
			again := time.NewTimer(50 * time.Millisecond)
			select {
			case <-again.C:
			case <-ctx.Done():
			}
			again.Stop()
		case <-ctx.Done():
			p.kill()
		}
	}
}

func (w *world) noteStart(path string) {
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		w.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starts[bytes.Count(text, []byte("\n"))] = true
}

// startedAt reports whether the SIEM was started when it had written that many lines.
func (w *world) startedAt(lines int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.starts[lines]
}

func (w *world) stopReaders() {
	w.stopping()
	w.readers.Wait()
}

// signal kills a reader; it is started again by itself.
func (w *world) signal(p *process) {
	if command := p.command; command != nil && command.Process != nil {
		_ = command.Process.Kill() // it may just have ended
	}
}

// scrape is the agent's metrics, by name and labels.
func (w *world) scrape() (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.agentAdmin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	found := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		var value float64
		if _, err := fmt.Sscan(line[at+1:], &value); err != nil {
			return nil, fmt.Errorf("metric %q: %w", line, err)
		}
		found[line[:at]] = value
	}
	return found, nil
}

// until asks again and again until nothing is wrong any more.
func (w *world) until(limit time.Duration, what string, wrong func() error) {
	w.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(limit); ; <-again.C {
		err := wrong()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("%s: not after %v: %v\nagent:\n%s\ncollector:\n%s", what, limit, err, w.agent.tail(), w.collector.tail())
		}
	}
}
