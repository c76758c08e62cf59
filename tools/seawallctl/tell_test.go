package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

var update = flag.Bool("update", false, "rewrite what alerts look like")

// TestTell shows what a person sees of the alerts that real recordings give
// (collector/correlate/testdata).
func TestTell(t *testing.T) {
	files, err := filepath.Glob("../../collector/correlate/testdata/alerts/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no alerts: %v", err)
	}
	var out bytes.Buffer
	for _, file := range files {
		for _, a := range alertsOf(t, file) {
			out.WriteString("==== " + filepath.Base(file) + "\n")
			if err := tell(&out, a); err != nil {
				t.Fatal(err)
			}
		}
	}
	golden := filepath.Join("testdata", "alerts.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v; -update makes it", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")); diff != "" {
		t.Errorf("-want +got (-update accepts it):\n%s", diff)
	}
}

func TestTellBelievesNoText(t *testing.T) {
	evil := "\x1b[2J\r\n\u202eab\xff"
	a := &alertv1.Alert{
		Id: evil, Title: evil, Summary: evil, Tags: []string{evil}, Tactics: []string{evil},
		Asset: &alertv1.Asset{Node: evil, Container: &sensorv1.Container{Name: evil, Pod: &sensorv1.Pod{Name: evil, Namespace: evil}}},
		Processes: []*sensorv1.Process{
			{Id: "a", ParentId: "b", Name: evil, Args: []string{evil, strings.Repeat("x", 500)}},
			{Id: "b", ParentId: "a", Name: evil}, // a circle
			{Id: "c", ParentId: "c", Name: evil},
			{Id: "", Name: evil},
		},
		Evidence: []*alertv1.Evidence{{Text: evil, Rule: evil, Role: evil, Time: timestamppb.Now()}},
		Gaps:     []*sensorv1.Gap{{Class: evil, Stage: evil, Reason: evil}},
		Entries:  []*alertv1.Entry{{Kind: evil, Args: []string{evil}, Tty: evil, RequestsOmitted: 1, Requests: []*alertv1.Request{{AuditId: evil, User: &auditv1.User{Name: evil}}}}},
		Requests: []*alertv1.Request{{AuditId: evil, Role: evil, SourceIp: evil, UserAgent: evil, Verb: evil, Object: &auditv1.Object{Resource: evil, Subresource: evil, Name: evil},
			Connections: []*alertv1.Connection{{Ip: evil, Count: 2, Ambiguous: 1}}, ConnectionsOmitted: 1,
			TokenPod: &sensorv1.Pod{Name: evil}, Impersonated: &auditv1.User{Name: evil}}},
	}
	var out bytes.Buffer
	if err := tell(&out, a); err != nil {
		t.Fatal(err)
	}
	if err := tellShort(&out, a); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\r\u202e") || !utf8.Valid(out.Bytes()) {
		t.Errorf("reaches the terminal: %q", out.String())
	}
	for line := range strings.Lines(out.String()) {
		if len(line) > 700 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

func alertsOf(t *testing.T, file string) []*alertv1.Alert {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var alerts []*alertv1.Alert
	for objects := json.NewDecoder(bytes.NewReader(text)); ; {
		var object json.RawMessage
		if err := objects.Decode(&object); errors.Is(err, io.EOF) {
			return alerts
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		a := &alertv1.Alert{}
		if err := protojson.Unmarshal(object, a); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		alerts = append(alerts, a)
	}
}
