package collecting

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// ctl prepares seawallctl with a client's files.
func (n *node) ctl(folder, words string, more ...string) *exec.Cmd {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), waiting)
	n.Cleanup(cancel)
	c := exec.CommandContext(ctx, ctl, append(strings.Fields(words), more...)...)
	c.Env = append(os.Environ(), "SEAWALL_COLLECTOR="+n.address, "SEAWALL_CREDENTIALS="+folder)
	return c
}

// tells runs seawallctl and returns what it prints; an error has what it complains of.
func (n *node) tells(folder, words string, more ...string) (string, error) {
	n.Helper()
	c := n.ctl(folder, words, more...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, errs.String())
	}
	return string(out), err
}

// says expects seawallctl to print all of these.
func (n *node) says(folder, words string, want ...string) string {
	n.Helper()
	out, err := n.tells(folder, words)
	for _, part := range want {
		if err != nil || !strings.Contains(out, part) {
			n.Errorf("seawallctl %s, want %q: %v\n%s", words, part, err, out)
		}
	}
	return out
}

// refuses expects seawallctl to fail, and to say why.
func (n *node) refuses(folder, words, want string, more ...string) {
	n.Helper()
	if out, err := n.tells(folder, words, more...); err == nil || !strings.Contains(err.Error(), want) {
		n.Errorf("seawallctl %s, want the error %q: %v\n%s", words, want, err, out)
	}
}

const rules = `
rules:
  - id: netcat-started
    title: Netcat was started
    description: A test.
    severity: low
    kinds: [process_exec]
    condition: process.name == "nc"
    summary: |
      "netcat"
`

// bundle writes a bundle as bundle sign does. Whose signature it is only agents ask.
func (n *node) bundle(serial uint64, text string) (path string, signed *sensorv1.SignedBundle) {
	n.Helper()
	b, err := proto.Marshal(&sensorv1.Bundle{Serial: serial, Version: fmt.Sprint("v", serial), Files: []*sensorv1.BundleFile{{Name: "ours/netcat.yaml", Data: []byte(text)}}})
	if err != nil {
		n.Fatal(err)
	}
	signed = &sensorv1.SignedBundle{Bundle: b, Signature: make([]byte, 64), KeyId: make([]byte, 32)}
	data, err := proto.Marshal(signed)
	if err != nil {
		n.Fatal(err)
	}
	path = filepath.Join(n.TempDir(), "bundle")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		n.Fatal(err)
	}
	return path, signed
}

func (n *node) receive(s grpc.BidiStreamingClient[sensorv1.FromAgent, sensorv1.ToAgent]) *sensorv1.ToAgent {
	n.Helper()
	m, err := s.Recv()
	if err != nil {
		n.Fatalf("%v\n%v", err, n.log())
	}
	return m
}

// TestOperatingAgents is what an operator does with agents, from the command line to their
// streams: settings, a bundle, how they are, and the end of one.
func TestOperatingAgents(t *testing.T) {
	n := newNode(t, "cluster: harbour\nagents: {telemetry: trees}\n")
	n.start()
	viewer, operator := n.client("vera", "viewer"), n.client("olga", "operator")
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	id, _ := a.Identity()
	s := n.stream(a)
	settings := n.receive(s).GetSettings()
	if settings.GetTelemetry() != sensorv1.Telemetry_TELEMETRY_TREES || settings.GetVersion() == "" {
		t.Errorf("settings %v", settings)
	}

	n.says(viewer, "agents list", "node-1", id.Name, "v1")
	n.refuses(viewer, "bundle show", "no bundle was pushed")
	path, signed := n.bundle(7, rules)
	n.refuses(viewer, "bundle push", "vera is a viewer: only an operator may do this", path)
	bad, _ := n.bundle(8, strings.Replace(rules, "process.name", "process.nam", 1))
	n.refuses(operator, "bundle push", "ours/netcat.yaml:8:", bad)
	n.refuses(operator, "bundle push", "read signed bundle", filepath.Join(n.folder, "collector.yaml"))
	if out, err := n.tells(operator, "bundle push", path); err != nil || !strings.Contains(out, "bundle 7 (v7) is kept and sent to 1 connected agents") {
		t.Errorf("%s, %v", out, err)
	}
	if got := n.receive(s).GetBundle(); !proto.Equal(got, signed) {
		t.Errorf("the agent has %v", got)
	}
	n.refuses(operator, "bundle push", "serial 7 is not above 7", path)
	if journal := n.log().Error(); !strings.Contains(journal, `"bundle pushed"`) || !strings.Contains(journal, `"olga"`) {
		t.Errorf("the journal:\n%s", journal)
	}

	// It was kept before it was answered for; who comes later has it, too.
	n.kill()
	n.start()
	n.says(viewer, "bundle show", "serial 7", "by olga", "ours/netcat.yaml")
	s = n.stream(a)
	if got := n.receive(s).GetSettings(); !proto.Equal(got, settings) {
		t.Errorf("after a restart: %v, was %v", got, settings)
	}
	if got := n.receive(s).GetBundle(); !proto.Equal(got, signed) {
		t.Errorf("the agent has %v", got)
	}

	// What it says of itself is shown, and harms nobody's terminal.
	n.send(s, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Applied{Applied: &sensorv1.Applied{Part: sensorv1.Part_PART_BUNDLE, Error: "no\x1b[2J trusted key"}}})
	n.send(s, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Status{Status: &sensorv1.AgentStatus{SpoolBytes: 2048, BundleVersion: "v6", BundleSerial: 6}}})
	if _, err := n.report(s, 1, recording(t, "sensitive-file-read-positive-cat")...); err != nil { // behind them
		t.Fatal(err)
	}
	if out := n.says(viewer, "agents list", "2.0 KiB", "6 v6", "bundle: no"); strings.Contains(out, "\x1b") {
		t.Errorf("reaches the terminal: %q", out)
	}
	shown := &collectorv1.Agent{}
	if err := protojson.Unmarshal([]byte(n.says(viewer, "agents list -o json")), shown); err != nil || shown.Id != id.Name || shown.Status.GetBundleSerial() != 6 {
		t.Errorf("for scripts: %v, %v", shown, err)
	}

	// Nobody has to restart anything for a revoked agent to be gone.
	n.must("agent revoke " + id.Name)
	if m, err := s.Recv(); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "the agent is revoked") {
		t.Errorf("the stream of a revoked agent: %v, %v", m, err)
	}
	n.must("client revoke olga")
	for deadline := time.Now().Add(waiting); ; { // it was looked for within a second
		if _, err := n.tells(operator, "agents list"); err != nil {
			if !strings.Contains(err.Error(), "the client is revoked") {
				t.Error(err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a revoked client is let in")
		}
	}
	n.says(viewer, "agents list", id.Name)
	n.stop()
}

// TestAlertsForPeople: the commands that look at alerts, against a collector that has some.
func TestAlertsForPeople(t *testing.T) {
	n := newNode(t, "cluster: harbour\n")
	n.start()
	viewer := n.client("vera", "viewer")
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	s, sequence := n.stream(a), uint64(1)
	report := func(name string) {
		t.Helper()
		records := recording(t, name)
		if _, err := n.report(s, sequence, records...); err != nil {
			t.Fatal(err, n.log())
		}
		sequence += uint64(len(records))
	}
	if out := n.says(viewer, "alerts list"); strings.Count(out, "\n") != 1 {
		t.Errorf("before there are any:\n%s", out)
	}
	report("sensitive-file-read-positive-cat")
	_, stream := n.subscribe(viewer, "", 0)
	first := n.alert(stream).Alert

	list := n.says(viewer, "alerts list", first.Id, "detection", "node-1")
	if strings.Count(list, "\n") != 2 {
		t.Errorf("list:\n%s", list)
	}
	listed := &alertv1.Alert{}
	if err := protojson.Unmarshal([]byte(n.says(viewer, "alerts list -o json")), listed); err != nil || listed.Id != first.Id {
		t.Errorf("for scripts: %v, %v", listed, err)
	}
	if out := n.says(viewer, "alerts list --severity critical"); strings.Contains(out, first.Id) {
		t.Errorf("critical ones:\n%s", out)
	}
	n.says(viewer, "alerts show "+first.Id, first.Id, "TIMELINE", "PROCESSES")
	n.refuses(viewer, "alerts show "+strings.Repeat("0", 32), "there is no alert")
	n.refuses(viewer, "alerts show x", "is no alert id")
	n.refuses(n.folder, "alerts list", "client create makes credentials")

	// What comes while somebody watches. When he began to, nobody says: things go on happening.
	watch := n.ctl(viewer, "alerts watch")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	watched := ""
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for _, name := range []string{"escape-core-pattern-positive-opened", "escape-docker-socket-positive-curl-docker", "webshell-file-created-by-server-positive-upload",
		"serviceaccount-token-read-positive-by-hand", "reverse-shell-stdio-socket-positive-php-web-shell", "escape-container-process-in-host-ns-positive-setns-mount"} {
		report(name)
		select {
		case watched = <-lines:
		case <-again.C:
		}
		if watched != "" {
			break
		}
	}
	if watched == "" {
		watched = <-lines
	}
	if !strings.Contains(watched, ", revision ") {
		t.Errorf("watched %q", watched)
	}
	if err := watch.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	for range lines {
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}

	// One who watches is told that he may not any more.
	var errs bytes.Buffer
	watch = n.ctl(viewer, "alerts watch")
	watch.Stderr = &errs
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	n.must("client revoke vera")
	if err := watch.Wait(); err == nil || !strings.Contains(errs.String(), "the client is revoked") {
		t.Errorf("%v: %s", err, &errs)
	}
	n.stop()
}

// TestLostEventLog: the collector does not go on by itself, the operator decides, and readers hear of it.
func TestLostEventLog(t *testing.T) {
	n := newNode(t, "cluster: harbour\n")
	n.start()
	viewer := n.client("vera", "viewer")
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	if _, err := n.report(n.stream(a), 1, recording(t, "sensitive-file-read-positive-cat")...); err != nil {
		t.Fatal(err)
	}
	_, stream := n.subscribe(viewer, "", 0)
	first := n.alert(stream).Alert
	if _, err := n.ask("log abandon"); err == nil || !strings.Contains(err.Error(), "another collector runs") {
		t.Errorf("beside the collector: %v", err)
	}
	n.stop()
	if err := os.RemoveAll(filepath.Join(n.folder, "data", "events")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ask("--admin-address= --listen " + n.address); err == nil || !strings.Contains(err.Error(), "seawall-collector log abandon goes on") {
		t.Errorf("started without its log: %v", err)
	}
	if out := n.must("log abandon"); !strings.Contains(out, "abandoned") {
		t.Error(out)
	}
	n.start()
	list := n.says(viewer, "alerts list", "A part of the event log was lost", "the collector", first.Id)
	if strings.Count(list, "\n") != 3 {
		t.Errorf("list:\n%s", list)
	}
	if _, err := n.report(n.stream(a), 1000, recording(t, "escape-core-pattern-positive-opened")...); err != nil {
		t.Fatal(err)
	}
	_, stream = n.subscribe(viewer, "", 2)
	if next := n.alert(stream); next.Position != 3 || next.Alert.Kind != "escape" {
		t.Errorf("then came %v", next)
	}
	n.stop()
}
