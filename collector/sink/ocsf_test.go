package sink

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/google/go-cmp/cmp"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

var update = flag.Bool("update", false, "renew golden files")

func at(seconds int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 3, 1, 12, 0, seconds, 250e6, time.UTC))
}

// webShell is a revision with something in every field.
func webShell() Revision {
	process := func(id, parent, name string, pid uint32, args ...string) *sensorv1.Process {
		return &sensorv1.Process{
			Id: strings.Repeat(id, 32), ParentId: strings.Repeat(parent, 32), Pid: pid, NsPid: pid - 1000, Name: name,
			StartTime: at(0), Cwd: "/var/www/html", Args: args,
			Exe:         &sensorv1.File{Path: "/usr/bin/" + name, Name: name, Mode: 0o100755, SizeBytes: 125688},
			Credentials: &sensorv1.Credentials{Uid: 33, Euid: 33},
		}
	}
	return Revision{Position: 7, Alert: &alertv1.Alert{
		Id: "0123456789abcdef0123456789abcdef", Revision: 2, Kind: "web-shell",
		Title: "Web shell in pod store/shop-7d4b9", Summary: "lighttpd took shell.php and ran it:\nsh -c id",
		Severity: sensorv1.Severity_SEVERITY_HIGH, Cluster: "prod-eu",
		Anchor: &alertv1.Anchor{Kind: "process", Key: strings.Repeat("a", 32), Episode: 1},
		Asset: &alertv1.Asset{AgentId: "6ba7b810-9dad-41d1-80b4-00c04fd430c8", Node: "node-1", Container: &sensorv1.Container{
			Id: strings.Repeat("c", 64), Runtime: "containerd", Name: "web", Image: "registry.example/store/shop:1.0",
			ImageDigest: "sha256:" + strings.Repeat("d", 64),
			Pod:         &sensorv1.Pod{Name: "shop-7d4b9", Namespace: "store", Uid: "9c5a1bb2-6e0c-4c1a-9d8f-1f2e3d4c5b6a"},
		}},
		FirstTime: at(1), LastTime: at(5), CreatedTime: at(2), StoredTime: at(6), TimeUncertainty: durationpb.New(40 * time.Millisecond),
		Tactics: []string{"TA0003", "TA0002"}, Techniques: []string{"T1505.003", "T1190"}, Tags: []string{"web"},
		Evidence: []*alertv1.Evidence{
			{EventId: "agent:boot:11", Time: at(1), Role: "script", Text: "lighttpd wrote /var/www/html/shell.php",
				Rule: "webshell-file-created-by-server", DetectionId: strings.Repeat("e", 32),
				Severity: sensorv1.Severity_SEVERITY_HIGH, ProcessId: strings.Repeat("a", 32), Revision: 1,
				Kind: sensorv1.Kind_KIND_FILE_OPEN, File: &sensorv1.File{Path: "/var/www/html/shell.php", Name: "shell.php", Mode: 0o100644, SizeBytes: 28}},
			{EventId: "agent:boot:13", Time: at(4), Role: "entry", Text: "lighttpd took a connection from 203.0.113.9 on port 80", ProcessId: strings.Repeat("a", 32), Revision: 1,
				Kind: sensorv1.Kind_KIND_NETWORK_ACCEPT, Local: address("10.20.0.2", 80), Remote: address("203.0.113.9", 51514)},
			{EventId: "agent:boot:14", Time: at(4), Role: "connect", Text: "lighttpd connected to 198.51.100.7 port 4444", ProcessId: strings.Repeat("a", 32), Revision: 1,
				Kind: sensorv1.Kind_KIND_NETWORK_CONNECT, Local: address("10.20.0.2", 40112), Remote: address("198.51.100.7", 4444)},
			{EventId: "agent:boot:15", Time: at(5), Role: "shell", Text: "php-cgi started sh -c id",
				Rule: "web-server-spawned-shell", DetectionId: strings.Repeat("f", 32),
				Severity: sensorv1.Severity_SEVERITY_HIGH, ProcessId: strings.Repeat("b", 32), Revision: 2},
			{EventId: "agent:boot:16", Time: at(5), Role: "read", Text: "sh read /etc/passwd", ProcessId: strings.Repeat("b", 32), Revision: 2},
			{EventId: "agent:boot:17", Time: at(5), Role: "other", Text: "of a process that is not told", ProcessId: strings.Repeat("9", 32), Revision: 2},
		},
		EvidenceOmitted: 3,
		Nodes:           []*alertv1.Node{{AgentId: "6ba7b810-9dad-41d1-80b4-00c04fd430c8", Name: "node-1"}, {AgentId: "6ba7b810-9dad-41d1-80b4-00c04fd430c9", Name: "node-2"}},
		Processes: []*sensorv1.Process{
			process("a", "", "lighttpd", 1010, "lighttpd", "-D", "-f", "/etc/lighttpd/lighttpd.conf"),
			process("b", "a", "dash", 1044, "sh", "-c", "id; echo 'it<s'"),
		},
		Gaps: []*sensorv1.Gap{{Class: "file_open", Stage: "ring", Reason: "full", Since: at(2), Until: at(3), Count: 17}},
	}}
}

// asked is a revision of an alert of requests, with all that can be said of who sent them.
func asked() Revision {
	request := func(id, role string) *alertv1.Request {
		return &alertv1.Request{
			AuditId: id, Time: at(3), Role: role, Verb: "get", Code: 101, SourceIp: "10.77.0.10", UserAgent: "kubectl/v1.35.4",
			User:         &auditv1.User{Name: "alice@example.test", Uid: "u-1", Groups: []string{"developers", ""}},
			Impersonated: &auditv1.User{Name: "system:admin"},
			Object:       &auditv1.Object{Resource: "pods", Subresource: "exec", Namespace: "store", Name: "shop-7d4b9"},
			TokenPod:     &sensorv1.Pod{Namespace: "ops", Name: "runner-0"},
		}
	}
	forward := request("a3", "rule")
	forward.Object.Subresource = "portforward"
	forward.Connections = []*alertv1.Connection{{Ip: "127.0.0.1", Port: 8080, Count: 3, Ambiguous: 1, First: at(3), Last: at(4)}}
	return Revision{Position: 9, Alert: &alertv1.Alert{
		Id: strings.Repeat("3", 32), Revision: 1, Kind: "audit", Title: "Command run in a pod", Cluster: "prod-eu",
		Anchor:   &alertv1.Anchor{Kind: "user", Key: "alice@example.test", Episode: 1},
		Evidence: []*alertv1.Evidence{{EventId: "a1", AuditId: "a1", Time: at(3), Role: "request", Text: "alice ran sh", Rule: "audit-pod-exec", Revision: 1}},
		Requests: []*alertv1.Request{request("a1", "rule"), request("a2", "pod-created"), {}, forward},
		Entries: []*alertv1.Entry{
			{SessionId: "s1", Kind: "exec", Attribution: alertv1.Attribution_ATTRIBUTION_JOINED, Time: at(3), Args: []string{"sh", "-c", "id; ls"}, Requests: []*alertv1.Request{request("a1", "entry")}},
			{SessionId: "s2", Attribution: alertv1.Attribution_ATTRIBUTION_UNATTRIBUTED, Time: at(4)},
		},
	}}
}

// TestOCSFSaysWhoAsked: a request that is evidence is told there, others beside it, and
// each entry with who may have come in.
func TestOCSFSaysWhoAsked(t *testing.T) {
	text, err := OCSF("1.0")(nil, asked())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Evidences []struct {
			UID, Name string
			Actor     struct{ User struct{ Name string } }
			User      struct{ Name string }
			Source    struct{ IP string } `json:"src_endpoint"`
			API       struct {
				Operation string
				Request   struct{ UID string }
			}
			Data struct {
				Attribution, Text, Object string
				TokenPod                  string `json:"token_pod"`
				Connections               []struct{ Port, Count, Ambiguous int }
			}
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range got.Evidences {
		lines = append(lines, strings.Join([]string{e.UID, e.Name, e.Actor.User.Name, e.User.Name, e.Source.IP, e.API.Operation, e.API.Request.UID, e.Data.Attribution, e.Data.Text, e.Data.Object, e.Data.TokenPod}, "|"))
		for _, c := range e.Data.Connections {
			lines = append(lines, fmt.Sprintf("port %d: %d, of them %d ambiguous", c.Port, c.Count, c.Ambiguous))
		}
	}
	want := []string{
		"a1|request|alice@example.test|system:admin|10.77.0.10|get pods/exec|a1||alice ran sh|store/shop-7d4b9|ops/runner-0",
		"a2|pod-created|alice@example.test|system:admin|10.77.0.10|get pods/exec|a2|||store/shop-7d4b9|ops/runner-0",
		"||||||||||",
		"a3|rule|alice@example.test|system:admin|10.77.0.10|get pods/portforward|a3|||store/shop-7d4b9|ops/runner-0",
		"port 8080: 3, of them 1 ambiguous",
		"a1|entry|alice@example.test|system:admin|10.77.0.10|get pods/exec|a1|joined|sh -c 'id; ls'|store/shop-7d4b9|ops/runner-0",
		"s2|entry||||||unattributed|||",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func address(ip string, port uint32) *sensorv1.Address { return &sensorv1.Address{Ip: ip, Port: port} }

// documents are alerts from full to empty.
func documents() map[string]Revision {
	full := webShell()
	first := Revision{Position: 1 << 40, Alert: proto.Clone(full.Alert).(*alertv1.Alert)}
	first.Alert.Revision, first.Alert.Severity = 1, sensorv1.Severity_SEVERITY_CRITICAL
	bare := Revision{Position: 1, Alert: &alertv1.Alert{Id: strings.Repeat("1", 32), Revision: 1}}
	circle := Revision{Position: 2, Alert: &alertv1.Alert{
		Id:        strings.Repeat("2", 32),
		Evidence:  []*alertv1.Evidence{{ProcessId: "x"}, {}, {Local: address("nowhere", 1), Remote: address("::1", 70000), File: &sensorv1.File{}}},
		Processes: []*sensorv1.Process{{Id: "x", ParentId: "y", Pid: 1 << 31}, {Id: "y", ParentId: "x", Exe: &sensorv1.File{Path: "/"}}},
		Asset:     &alertv1.Asset{Container: &sensorv1.Container{Pod: &sensorv1.Pod{Uid: "not-a-uuid"}, Name: "c"}},
	}}
	return map[string]Revision{"full": full, "first": first, "bare": bare, "circle": circle, "asked": asked()}
}

func TestOCSFMeetsTheSchema(t *testing.T) {
	s := readSchema(t)
	for name, r := range documents() {
		text, err := OCSF("1.0")(nil, r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, problem := range s.check(text) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

// Every attribute of the table is one that we write, so that it says no more than it has to.
func TestEveryAttributeIsWritten(t *testing.T) {
	written := map[string]bool{}
	s := readSchema(t)
	var walk func(name string, value any)
	walk = func(name string, value any) {
		if list, ok := value.([]any); ok {
			for _, v := range list {
				walk(name, v)
			}
		}
		fields, _ := value.(map[string]any)
		for attribute, v := range fields {
			written[name+"."+attribute] = true
			if words := strings.Fields(s.Objects[name].Attributes[attribute]); len(words) > 1 {
				walk(strings.TrimSuffix(words[1], "[]"), v)
			}
		}
	}
	for _, r := range documents() {
		text, err := OCSF("1.0")(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		walk(s.Class, value)
	}
	for name, object := range s.Objects {
		for attribute := range object.Attributes {
			if !written[name+"."+attribute] {
				t.Errorf("%s.%s stands in the table and in no document", name, attribute)
			}
		}
	}
}

func TestFormatsAreWhatTheyWere(t *testing.T) {
	for name, format := range map[string]Format{"ocsf": OCSF("1.0"), "json": JSON, "summary": Summary} {
		text, err := format([]byte("before:"), webShell())
		if err != nil {
			t.Fatal(err)
		}
		again, err := format(nil, webShell())
		if err != nil {
			t.Fatal(err)
		}
		text, ok := bytes.CutPrefix(text, []byte("before:"))
		if !ok || !bytes.Equal(text, again) || bytes.ContainsAny(text, "\n\r") {
			t.Errorf("%s is not appended, not the same twice, or no line: %q", name, text)
		}
		var got bytes.Buffer
		if name == "summary" {
			got.Write(text)
		} else if err := json.Indent(&got, text, "", "  "); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
		path := "testdata/web-shell." + name
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
			t.Errorf("%s changed (-update renews it): -was +is\n%s", path, diff)
		}
	}
}

// FuzzOCSF maps whatever an alert may be.
func FuzzOCSF(f *testing.F) {
	for _, r := range documents() {
		b, err := proto.Marshal(r.Alert)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, r.Position)
	}
	s := readSchema(f)
	f.Fuzz(func(t *testing.T, data []byte, position uint64) {
		a := &alertv1.Alert{}
		if proto.Unmarshal(data, a) != nil {
			return
		}
		a.Id = or(a.Id, "none") // the store has no alert without one
		r := Revision{Position: position, Alert: a}
		text, err := OCSF("1.0")(nil, r)
		if err != nil {
			// A time that JSON cannot say is the one thing that the gaps' encoding refuses.
			if _, err := JSON(nil, r); err == nil {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(text) || bytes.ContainsAny(text, "\n\r") {
			t.Fatalf("%q", text)
		}
		for _, problem := range s.check(text) {
			t.Errorf("%s in %s", problem, text)
		}
		line, err := Summary(nil, r)
		if err != nil || bytes.ContainsAny(line, "\n\r\x1b\x00") {
			t.Errorf("%q, %v", line, err)
		}
	})
}

// What the collector says of itself has neither node nor evidence.
func TestOCSFOfALostLog(t *testing.T) {
	at := timestamppb.New(time.Unix(1.9e9, 0))
	r := Revision{Position: 3, Alert: &alertv1.Alert{
		Id: "0123456789abcdef0123456789abcdef", Revision: 1, Kind: "gap", Title: "A part of the event log was lost", Summary: "Some.",
		Severity: sensorv1.Severity_SEVERITY_HIGH, Cluster: "c", Anchor: &alertv1.Anchor{Kind: "log", Key: "event-log", Episode: 1},
		FirstTime: at, LastTime: at, StoredTime: at, Gaps: []*sensorv1.Gap{{Class: "all", Stage: "collector", Reason: "log_lost", Since: at, Until: at}},
	}}
	document, err := OCSF("v1")(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range readSchema(t).check(document) {
		t.Error(problem)
	}
	if line, err := Summary(nil, r); err != nil || string(line) != "HIGH: A part of the event log was lost [cluster c] Some." {
		t.Errorf("%s, %v", line, err)
	}
}

// TestOCSFOfOneAuditID: of requests that a client gave one id, each is told.
func TestOCSFOfOneAuditID(t *testing.T) {
	request := func(second int, user string) *alertv1.Request {
		return &alertv1.Request{AuditId: "chosen", Time: at(second), Role: "rule", User: &auditv1.User{Name: user}}
	}
	evidences := ocsfEvidencesOf(&alertv1.Alert{
		Evidence: []*alertv1.Evidence{{EventId: "chosen", AuditId: "chosen", Time: at(4), Role: "request"}},
		Requests: []*alertv1.Request{request(3, "alice"), request(4, "mallory")},
	})
	var users []string
	for _, e := range evidences {
		users = append(users, e.Actor.User.Name)
	}
	if diff := cmp.Diff([]string{"mallory", "alice"}, users); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
