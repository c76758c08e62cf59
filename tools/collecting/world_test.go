package collecting

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agent "github.com/seawall-security/seawall/agent/enrol"
	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
	"github.com/seawall-security/seawall/tools/local"
)

var program, ctl string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "seawall-collecting-")
	if err != nil {
		panic(err)
	}
	program, ctl = filepath.Join(folder, "seawall-collector"), filepath.Join(folder, "seawallctl")
	code := 1
	if build(program, "../../collector") && build(ctl, "../seawallctl") {
		code = m.Run()
	}
	_ = os.RemoveAll(folder) // of no use to anybody
	os.Exit(code)
}

func build(path, folder string) bool {
	command := exec.Command("go", "build", "-o", path, folder)
	command.Stdout, command.Stderr = os.Stderr, os.Stderr
	return command.Run() == nil
}

// node is a collector with its data folder, which may stop and start.
type node struct {
	*testing.T
	local.Collector
	folder  string
	address string
	admin   string // address of the metrics; none: not served
	process *local.Process
}

func newNode(t *testing.T, settings string) *node {
	t.Helper()
	n := &node{T: t, folder: t.TempDir()}
	file := filepath.Join(n.folder, "collector.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Collector = local.Collector{Path: program, Flags: []string{"--config", file, "--data-dir", filepath.Join(n.folder, "data")}}
	return n
}

// start runs the collector until it is ready, on the address it had before.
func (n *node) start() {
	n.Helper()
	process, address, err := n.Start(n.Context(), nil, "--listen", cmp.Or(n.address, "127.0.0.1:0"), "--admin-address", n.admin)
	if err != nil {
		n.Fatal(err)
	}
	n.process, n.address = process, address
	n.Cleanup(func() { _ = process.Kill() }) // of a test that failed
}

func (n *node) log() error { return n.process.LastLines() }

// stop ends the collector in order; kill does not.
func (n *node) stop() {
	n.Helper()
	if err := n.process.Stop(); err != nil {
		n.Errorf("stopped: %v\n%v", err, n.log())
	}
}

func (n *node) kill() {
	n.Helper()
	if err := n.process.Kill(); err != nil {
		n.Error(err)
	}
}

// ask runs a command of the collector's beside it.
func (n *node) ask(words string, more ...string) (string, error) {
	return n.Ask(n.Context(), words, more...)
}

func (n *node) must(words string, more ...string) string {
	n.Helper()
	out, err := n.ask(words, more...)
	if err != nil {
		n.Fatal(err)
	}
	return out
}

// client makes a client's files and returns the folder.
func (n *node) client(name, role string) string {
	n.Helper()
	folder := filepath.Join(n.folder, name)
	if err := n.Client(n.Context(), name, role, folder); err != nil {
		n.Fatal(err)
	}
	return folder
}

// dial connects as whoever the configuration shows.
func (n *node) dial(config *tls.Config) *grpc.ClientConn {
	n.Helper()
	conn, err := grpc.NewClient(n.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { conn.Close() })
	return conn
}

// dialAs connects with a client's files.
func (n *node) dialAs(folder string) *grpc.ClientConn {
	n.Helper()
	conn, err := local.Dial(n.address, folder)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { conn.Close() })
	return conn
}

// enrol gets an agent in by a token.
func (n *node) enrol(text string) (*agent.Agent, error) {
	n.Helper()
	token, err := tlsconf.ParseJoinToken(text)
	if err != nil {
		n.Fatal(err)
	}
	ctx, cancel := context.WithCancel(n.Context())
	defer cancel()
	var failed error
	once := func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() } // after the first attempt
	a, err := agent.Open(agent.Options{StateDir: n.TempDir(), Collector: n.address, JoinToken: &token, Node: "node-1", MachineID: "m",
		Now: time.Now, Wait: once, Random: func() float64 { return 0.5 }, Log: zap.NewNop()})
	if err != nil {
		n.Fatal(err)
	}
	if err := a.Run(ctx); err != nil {
		failed = err
	}
	if _, in := a.Identity(); !in && failed == nil {
		failed = fmt.Errorf("not let in")
	}
	return a, failed
}

const boot = "6f2d1c3a-0000-4000-8000-000000000001"

// stream opens an agent's stream, up to the welcome.
func (n *node) stream(a *agent.Agent) grpc.BidiStreamingClient[sensorv1.FromAgent, sensorv1.ToAgent] {
	n.Helper()
	s, err := sensorv1.NewSensorClient(n.dial(a.TLS())).Stream(n.Context())
	if err != nil {
		n.Fatal(err)
	}
	n.send(s, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Hello{Hello: &sensorv1.Hello{BootId: boot, Node: "node-1", Version: "v1"}}})
	if m, err := s.Recv(); err != nil || m.GetWelcome() == nil {
		n.Fatalf("greeted with %v, %v\n%s", m, err, n.log())
	}
	return s
}

func (n *node) send(s grpc.BidiStreamingClient[sensorv1.FromAgent, sensorv1.ToAgent], m *sensorv1.FromAgent) {
	n.Helper()
	if err := s.Send(m); err != nil && !errors.Is(err, io.EOF) { // then Recv says why
		n.Fatal(err)
	}
}

// report sends records as a batch and returns what became of it.
func (n *node) report(s grpc.BidiStreamingClient[sensorv1.FromAgent, sensorv1.ToAgent], first uint64, records ...*sensorv1.Record) (*sensorv1.Ack, error) {
	n.Helper()
	batch := &sensorv1.Batch{Lane: sensorv1.Lane_LANE_DETECTIONS, Sent: timestamppb.Now()}
	for i, r := range records {
		data, err := proto.Marshal(r)
		if err != nil {
			n.Fatal(err)
		}
		batch.Items = append(batch.Items, &sensorv1.Item{Sequence: first + uint64(i), BootId: boot, Record: data})
	}
	n.send(s, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Batch{Batch: batch}})
	m, err := s.Recv()
	return m.GetAck(), err
}

// recording is what an agent said of an act, as if it were now.
func recording(t *testing.T, name string) []*sensorv1.Record {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "collector", "correlate", "testdata", "records", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var all []*sensorv1.Record
	for line := range bytes.Lines(text) {
		r := &sensorv1.Record{}
		if err := protojson.Unmarshal(line, r); err != nil {
			t.Fatal(err)
		}
		if d := r.GetDetection(); d != nil {
			d.Event.Time = timestamppb.Now()
		} else if e := r.GetEvent(); e != nil {
			e.Time = timestamppb.Now()
		}
		all = append(all, r)
	}
	return all
}
