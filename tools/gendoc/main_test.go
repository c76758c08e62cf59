package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/seawall-security/seawall/internal/rule/builtin"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	schema = "../../proto/sensor/v1/event.proto"
	page   = "../../docs/events.md"
)

func TestPageIsCurrent(t *testing.T) {
	want, err := generate(schema)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/events.md is stale, run go generate ./tools/gendoc: -schema +page:\n%s", diff)
	}
}

func TestRulesAreCurrent(t *testing.T) {
	want, err := auditRules(builtin.FS)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/audit-rules.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/audit-rules.md is stale, run go generate ./tools/gendoc: -rules +page:\n%s", diff)
	}
}

// TestCommentsNameDeclarations finds comments under names the schema does not
// have, which a change of the source's manner would bring.
func TestCommentsNameDeclarations(t *testing.T) {
	source, err := os.ReadFile(schema)
	if err != nil {
		t.Fatal(err)
	}
	file := sensorv1.File_proto_sensor_v1_event_proto
	declared := map[string]bool{}
	for i := range file.Enums().Len() {
		e := file.Enums().Get(i)
		declared[string(e.Name())] = true
		for j := range e.Values().Len() {
			declared[string(e.Name()+"."+e.Values().Get(j).Name())] = true
		}
	}
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		declared[string(m.Name())] = true
		for j := range m.Fields().Len() {
			declared[string(m.Name()+"."+m.Fields().Get(j).Name())] = true
		}
	}
	about := parseComments(string(source))
	for name := range about {
		if !declared[name] {
			t.Errorf("comment for %q, which is not declared", name)
		}
	}
	for name := range declared {
		if _, ok := about[name]; !ok {
			t.Errorf("%q was not found in the source", name)
		}
	}
}

func TestEveryKindHasItsPayload(t *testing.T) {
	file := sensorv1.File_proto_sensor_v1_event_proto
	payloads := file.Messages().ByName("Event").Oneofs().ByName("payload").Fields()
	used := map[protoreflect.Name]bool{}
	values := file.Enums().ByName("Kind").Values()
	for i := 1; i < values.Len(); i++ {
		f := payloadOf(string(values.Get(i).Name()), payloads)
		if f == nil {
			t.Errorf("%s has no payload", values.Get(i).Name())
			continue
		}
		used[f.Name()] = true
	}
	if len(used) != payloads.Len() {
		t.Errorf("%d of %d payloads have a kind", len(used), payloads.Len())
	}
}

func TestParseComments(t *testing.T) {
	got := parseComments(strings.Join([]string{
		"// The file.", "// Two lines.", "syntax = \"proto3\";", "",
		"// Stray.", "", "// A message.", "message A {", "  // A field", "  // of two lines.", "  string x = 1;", "  int32 y = 2;",
		"  oneof body {", "    // In one of.", "    A z = 3;", "  }", "}",
	}, "\n"))
	want := comments{"A": "A message.", "A.x": "A field of two lines.", "A.y": "", "A.z": "In one of."}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRun(t *testing.T) {
	folder := t.TempDir()
	out, rules := filepath.Join(folder, "events.md"), filepath.Join(folder, "rules.md")
	if err := run(schema, out, rules); err != nil {
		t.Fatal(err)
	}
	if err := run("none.proto", out, rules); err == nil {
		t.Error("no schema: no error")
	}
	for _, c := range [][2]string{{filepath.Join(out, "below-a-file"), rules}, {out, filepath.Join(rules, "below-a-file")}} {
		if err := run(schema, c[0], c[1]); err == nil {
			t.Error("cannot write: no error")
		}
	}
}
