package collecting

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// waiting bounds what a test waits for a collector to do by itself.
const waiting = time.Minute

// subscribe opens a named subscription of the client whose files are in a folder.
func (n *node) subscribe(folder, name string, after uint64) (alertv1.AlertStreamClient, alertv1.AlertStream_SubscribeClient) {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), waiting)
	n.Cleanup(cancel)
	client := alertv1.NewAlertStreamClient(n.dialAs(folder))
	stream, err := client.Subscribe(ctx, &alertv1.SubscribeRequest{Subscription: name, After: after})
	if err != nil {
		n.Fatal(err)
	}
	return client, stream
}

// next is the next revision; nil: nothing more for now.
func (n *node) next(stream alertv1.AlertStream_SubscribeClient) *alertv1.SubscribeResponse {
	n.Helper()
	m, err := stream.Recv()
	if err != nil {
		n.Fatalf("%v\n%v", err, n.log())
	}
	if m.Idle {
		return nil
	}
	return m
}

// alert waits for a revision.
func (n *node) alert(stream alertv1.AlertStream_SubscribeClient) *alertv1.SubscribeResponse {
	n.Helper()
	for {
		if m := n.next(stream); m != nil {
			return m
		}
	}
}

// TestFromDetectionToSIEM is the life of one alert: over a collector that stops, and one
// that is killed, it is told to its reader once.
func TestFromDetectionToSIEM(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "alerts.json")
	n := newNode(t, "cluster: harbour\nsinks:\n  - {name: archive, kind: file, form: json, path: "+archive+"}\n")
	siem := n.client("siem", "viewer") // before the collector ever ran
	n.start()
	token := n.must("token create", "--uses", "1") // while it runs
	a, err := n.enrol(token)
	if err != nil {
		t.Fatal(err, n.log())
	}
	if _, err := n.enrol(token); err == nil {
		t.Error("a token of one use lets two in")
	}
	_, stream := n.subscribe(siem, "", 0)
	detection := recording(t, "sensitive-file-read-positive-cat")
	ack, err := n.report(n.stream(a), 1, detection...)
	if err != nil || ack.GetPosition().GetSequence() != uint64(len(detection)) {
		t.Fatal(ack, err, n.log())
	}
	told := n.alert(stream)
	id, _ := a.Identity()
	if told.Position != 1 || told.Alert.Revision != 1 || told.Alert.Cluster != "harbour" || told.Alert.GetAsset().GetAgentId() != id.Name {
		t.Errorf("told %v", told)
	}

	// Over a restart, and a kill: the agent repeats what it sent, the reader gets the same
	// once, and nothing behind its cursor.
	for _, end := range []func(){n.stop, n.kill} {
		end()
		n.start()
		if ack, err := n.report(n.stream(a), 1, detection...); err != nil || ack.GetPosition().GetSequence() != uint64(len(detection)) {
			t.Fatal(ack, err, n.log())
		}
		// A second fact is behind the repeated one in the log: when it is told, that was read.
		_, stream = n.subscribe(siem, "", 0)
		if again := n.alert(stream); again.Position != 1 || again.Alert.Id != told.Alert.Id || again.Alert.Revision != 1 {
			t.Errorf("after it ran again: %v", again)
		}
	}
	s := n.stream(a)
	if _, err := n.report(s, 1, detection...); err != nil {
		t.Fatal(err)
	}
	other := recording(t, "escape-core-pattern-positive-opened")
	if _, err := n.report(s, uint64(len(detection)+1), other...); err != nil {
		t.Fatal(err)
	}
	client, stream := n.subscribe(siem, "soc", 0)
	first, second := n.alert(stream), n.alert(stream)
	if first.Position != 1 || second.Position != 2 || second.Alert.Kind != "escape" || second.Alert.Revision != 1 {
		t.Errorf("told %v, then %v", first, second)
	}
	if _, err := client.Acknowledge(t.Context(), &alertv1.AcknowledgeRequest{Subscription: "soc", Position: first.Position}); err != nil {
		t.Error(err)
	}
	n.kill()
	n.start()
	if _, stream := n.subscribe(siem, "soc", 0); n.alert(stream).Position != 2 {
		t.Error("a cursor that was acknowledged is forgotten")
	}
	n.stop()

	// The sink has both, once each: what a crash repeats in a file, it finds there.
	text, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{first.Alert.Id, second.Alert.Id} {
		if got := bytes.Count(text, []byte(`"id":"`+id+`"`)); got != 1 {
			t.Errorf("alert %s is %d times in the file:\n%s", id, got, text)
		}
	}
}

// TestWhoMayDoWhat: the certificate decides.
func TestWhoMayDoWhat(t *testing.T) {
	n := newNode(t, "cluster: harbour\n")
	n.start()
	defer n.stop()
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	s := n.stream(a)
	id, _ := a.Identity()
	for _, role := range []string{"viewer", "operator"} {
		folder := n.client("of-"+role, role)
		conn := n.dialAs(folder)
		answer, err := collectorv1.NewManagementClient(conn).ListAgents(t.Context(), &collectorv1.ListAgentsRequest{})
		if err != nil || len(answer.Agents) != 1 || answer.Agents[0].Id != id.Name || answer.Agents[0].Version != "v1" {
			t.Errorf("%s: agents %v, %v", role, answer, err)
		}
		if _, err := alertv1.NewAlertStreamClient(conn).List(t.Context(), &alertv1.ListRequest{}); err != nil {
			t.Errorf("%s: alerts: %v", role, err)
		}
		up, err := sensorv1.NewSensorClient(conn).Stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := up.Recv(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s as an agent: %v", role, err)
		}
	}
	agents := n.dial(a.TLS())
	if _, err := alertv1.NewAlertStreamClient(agents).List(t.Context(), &alertv1.ListRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an agent reads alerts: %v", err)
	}
	if _, err := collectorv1.NewManagementClient(agents).ListAgents(t.Context(), &collectorv1.ListAgentsRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an agent lists agents: %v", err)
	}
	config := a.TLS().Clone()
	config.GetClientCertificate, config.Certificates = nil, nil
	nobody := n.dial(config)
	if _, err := alertv1.NewAlertStreamClient(nobody).List(t.Context(), &alertv1.ListRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("nobody reads alerts: %v", err)
	}

	// A revoked agent's next stream is its last.
	n.must("agent revoke " + id.Name)
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	again, err := sensorv1.NewSensorClient(agents).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Recv(); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a revoked agent: %v", err)
	}
}

func TestTokensOfTheCommandLine(t *testing.T) {
	n := newNode(t, "cluster: harbour\n")
	text := n.must("token create", "--ttl", "1h", "--uses", "3") // before the collector ever ran
	id := strings.Split(text, ".")[1]
	if list := n.must("token list"); !strings.Contains(list, id) || strings.Contains(list, strings.Split(text, ".")[2]) {
		t.Errorf("list:\n%s", list)
	}
	n.start()
	defer n.stop()
	if _, err := n.enrol(text); err != nil {
		t.Error(err, n.log())
	}
	n.must("token revoke " + id)
	if _, err := n.enrol(text); err == nil {
		t.Error("a revoked token lets an agent in")
	}
	if _, err := n.ask("token revoke " + id); err == nil || !strings.Contains(err.Error(), "no such join token") {
		t.Errorf("revoked twice: %v", err)
	}
	if _, err := n.ask("--admin-address= --listen " + n.address); err == nil || !strings.Contains(err.Error(), "another collector runs in") {
		t.Errorf("two collectors run on one folder: %v", err)
	}
	if out := n.must("--check-config"); !strings.Contains(out, "usable") {
		t.Error(out)
	}
}
