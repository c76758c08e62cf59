package redact

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const githubToken = "ghp_0123456789abcdefghijABCDEFGHIJ012345"

// The agent or its rules write these, or the kernel from a fixed list, or they are ids
// by which records are joined.
var notRedacted = map[protoreflect.FullName]bool{
	"seawall.sensor.v1.Record.agent_id": true, "seawall.sensor.v1.Record.boot_id": true, "seawall.sensor.v1.Record.node": true,
	"seawall.sensor.v1.Detection.id": true, "seawall.sensor.v1.Detection.rule": true, "seawall.sensor.v1.Detection.title": true,
	"seawall.sensor.v1.Detection.tactics": true, "seawall.sensor.v1.Detection.techniques": true, "seawall.sensor.v1.Detection.tags": true,
	"seawall.sensor.v1.Gap.class": true, "seawall.sensor.v1.Gap.stage": true,
	"seawall.sensor.v1.Event.tree": true, "seawall.sensor.v1.Process.id": true, "seawall.sensor.v1.Process.parent_id": true,
	"seawall.sensor.v1.Process.tty": true, "seawall.sensor.v1.Session.id": true, "seawall.sensor.v1.Session.root_id": true, "seawall.sensor.v1.Event.tree_root_id": true,
	"seawall.sensor.v1.Session.container_id": true, "seawall.sensor.v1.Session.tty": true, "seawall.sensor.v1.Session.entered_by": true,
	"seawall.sensor.v1.File.filesystem": true, "seawall.sensor.v1.FileOrigin.process_id": true, "seawall.sensor.v1.Stdio.kind": true,
	"seawall.sensor.v1.Address.family": true, "seawall.sensor.v1.Address.ip": true,
	"seawall.sensor.v1.Container.id": true, "seawall.sensor.v1.Container.runtime": true, "seawall.sensor.v1.Container.runtime_namespace": true,
	"seawall.sensor.v1.Container.image_digest": true, "seawall.sensor.v1.Pod.name": true, "seawall.sensor.v1.Pod.namespace": true, "seawall.sensor.v1.Pod.uid": true,
	"seawall.sensor.v1.NetworkFlow.type": true, "seawall.sensor.v1.MemoryChange.region": true, "seawall.sensor.v1.ProcessNamespace.changed": true,
	"seawall.sensor.v1.ProcessNamespace.joined_host": true,
}

// fill sets every text of m, choosing member n of each oneof.
func fill(m protoreflect.Message, n, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if o := f.ContainingOneof(); o != nil && o.Fields().Get(n%o.Fields().Len()) != f {
			continue
		}
		switch {
		case f.IsMap():
			key := githubToken
			if f.Name() == "evidence" { // named by the rule
				key = "name"
			}
			m.Mutable(f).Map().Set(protoreflect.ValueOfString(key).MapKey(), protoreflect.ValueOfString(githubToken))
		case f.Kind() == protoreflect.StringKind && f.IsList():
			m.Mutable(f).List().Append(protoreflect.ValueOfString(githubToken))
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(githubToken))
		case f.Kind() == protoreflect.MessageKind && depth < 8 && f.IsList():
			fill(m.Mutable(f).List().AppendMutable().Message(), n, depth+1)
		case f.Kind() == protoreflect.MessageKind && depth < 8:
			fill(m.Mutable(f).Message(), n, depth+1)
		}
	}
}

// texts calls f with every text below m and the field that holds it.
func texts(m protoreflect.Message, f func(protoreflect.FieldDescriptor, string)) {
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				f(field, k.String())
				f(field, v.String())
				return true
			})
		case field.Kind() == protoreflect.StringKind && field.IsList():
			for i := range v.List().Len() {
				f(field, v.List().Get(i).String())
			}
		case field.Kind() == protoreflect.StringKind:
			f(field, v.String())
		case field.Kind() == protoreflect.MessageKind && field.IsList():
			for i := range v.List().Len() {
				texts(v.List().Get(i).Message(), f)
			}
		case field.Kind() == protoreflect.MessageKind:
			texts(v.Message(), f)
		}
		return true
	})
}

func TestEveryTextOfARecordIsRedacted(t *testing.T) {
	r := redactor(t)
	seen := map[protoreflect.FullName]bool{}
	for _, body := range []*sensorv1.Record{
		{Body: &sensorv1.Record_Event{Event: &sensorv1.Event{}}},
		{Body: &sensorv1.Record_Detection{Detection: &sensorv1.Detection{}}},
		{Body: &sensorv1.Record_Gap{Gap: &sensorv1.Gap{}}},
	} {
		for n := range 14 {
			m := proto.CloneOf(body)
			switch b := m.Body.(type) {
			case *sensorv1.Record_Event:
				fill(b.Event.ProtoReflect(), n, 0)
			case *sensorv1.Record_Detection:
				fill(b.Detection.ProtoReflect(), n, 0)
			case *sensorv1.Record_Gap:
				fill(b.Gap.ProtoReflect(), n, 0)
			}
			if r.Record(m) == 0 {
				t.Fatal("nothing was masked")
			}
			texts(m.ProtoReflect(), func(f protoreflect.FieldDescriptor, text string) {
				seen[f.FullName()] = true
				if masked := !strings.Contains(text, githubToken[:6]); masked == notRedacted[f.FullName()] {
					t.Errorf("%s is %q", f.FullName(), text)
				}
			})
			once := proto.CloneOf(m)
			if n := r.Record(m); n != 0 {
				t.Errorf("%d masks the second time", n)
			}
			if diff := cmp.Diff(once, m, protocmp.Transform()); diff != "" {
				t.Errorf("redacted twice: -once +twice:\n%s", diff)
			}
		}
	}
	for name := range notRedacted {
		if !seen[name] && !strings.HasPrefix(string(name), "seawall.sensor.v1.Record.") {
			t.Errorf("%s does not exist", name)
		}
	}
}

// detection is one by a rule whose evidence repeats argv.
func detection(args ...string) *sensorv1.Detection {
	joined := strings.Join(args, " ")
	return &sensorv1.Detection{
		Summary:  "sh started " + joined + " as root",
		Evidence: map[string]string{"command": joined, "second": args[min(1, len(args)-1)], "cut": joined[:min(len(joined), 40)] + ellipsis},
		Event:    &sensorv1.Event{Process: &sensorv1.Process{Args: args}},
	}
}

func TestSummaryAndEvidenceRepeatSecrets(t *testing.T) {
	r := redactor(t)
	record := func(d *sensorv1.Detection) *sensorv1.Detection {
		r.Record(&sensorv1.Record{Body: &sensorv1.Record_Detection{Detection: d}})
		return d
	}
	mask := func(s string) string {
		_, masked := mark(r, "«"+s+"»")
		return masked
	}

	// Only the whole argument shows where it ends.
	d := record(detection("app", "--password=correct horse battery"))
	if want := "sh started app --password=" + mask("correct horse battery") + " as root"; d.Summary != want {
		t.Errorf("summary %q", d.Summary)
	}
	if want := "app --password=" + mask("correct horse battery"); d.Evidence["command"] != want || d.Evidence["second"] != d.Event.Process.Args[1] {
		t.Errorf("evidence %q", d.Evidence)
	}

	// Cut within the secret: the same mask, for it is known which one it is.
	d = detection("app", "--some-long-option", "--password=correct horse battery")
	d.Evidence["cut"] = "app --some-long-option --password=correct h" + ellipsis
	if want := "app --some-long-option --password=" + mask("correct horse battery") + ellipsis; record(d).Evidence["cut"] != want {
		t.Errorf("cut evidence %q", d.Evidence["cut"])
	}

	// A short one is masked with what stands around it, not wherever its letters are.
	d = detection("mysql", "-uroot", "-proot", "--database", "root")
	d.Evidence["user"] = "root"
	d.Evidence["option"] = "-proot"
	record(d)
	want := map[string]string{
		"user":    "root",
		"option":  "-p" + mask("root"),
		"second":  "-uroot",
		"command": "mysql -uroot -p" + mask("root") + " --database root",
		"cut":     "mysql -uroot -p" + mask("root") + " --database root" + ellipsis,
	}
	delete(want, "option") // a single argument says too little
	delete(d.Evidence, "option")
	if diff := cmp.Diff(want, d.Evidence); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEscapedTextStaysEscaped(t *testing.T) {
	r := redactor(t)
	e := &event.Event{
		Header: event.Header{Kind: event.KindProcessExec},
		Process: &event.Process{ID: "p", Args: []string{
			"app", "--password=a\\b\xff", "x\xfe\\y --token \xf0\x9f", "sh", "password='a\\b\xff' \\x\xff", `\`,
		}},
		Payload: &event.Exec{},
	}
	m := e.Proto("b")
	if !m.Escaped {
		t.Fatal("not escaped")
	}
	r.Record(&sensorv1.Record{Body: &sensorv1.Record_Event{Event: m}})
	_, secret := mark(r, "«a\\b\xff»")
	_, token := mark(r, "«\xf0\x9f»")
	want := []string{"app", "--password=" + secret, `x\xfe\\y --token ` + token, "sh", "password='" + secret + `' \\x\xff`, `\\`}
	if diff := cmp.Diff(want, m.Process.Args); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := []string{unescape(`a\\xff\xff\x`), unescape(`\q\`)}; got[0] != "a\\xff\xff\\x" || got[1] != `\q\` {
		t.Errorf("%q", got)
	}
}

func TestMaskTellsSecretsApartAndNeedsTheKey(t *testing.T) {
	for _, size := range []int{0, 16, 31, 33} {
		if _, err := New(make([]byte, size)); err == nil {
			t.Errorf("a key of %d bytes is taken", size)
		}
	}
	key := bytes.Repeat([]byte{1}, KeyBytes)
	a, _ := New(key)
	key[0]++
	b, _ := New(key)
	text := "PASSWORD=hunter22"
	again, _ := New(a.key)
	if a.Text(text) != again.Text(text) || a.Text(text) == b.Text(text) || a.Text(text) == a.Text(text+"x") {
		t.Errorf("%s, %s", a.Text(text), b.Text(text))
	}
	if _, same, _ := strings.Cut(a.Text(text), "="); !strings.HasSuffix(a.Text("curl https://kim:hunter22@host/"), same+"@host/") {
		t.Error("the same secret has another mask elsewhere")
	}
	if got := a.Text(text); maskAt(got, len("PASSWORD=")) != len(got) {
		t.Errorf("%s", got)
	}
}

func TestTruncatedArgumentsEndInTokens(t *testing.T) {
	r := redactor(t)
	for _, tail := range []string{"ghp_0123", "AKIAIOSF", "eyJhbGci", "xoxb-1", "Bearer abcdef"} {
		e := &sensorv1.Event{Process: &sensorv1.Process{Args: []string{"app", tail}, ArgsTruncated: true}}
		r.Record(&sensorv1.Record{Body: &sensorv1.Record_Event{Event: e}})
		if got := e.Process.Args[1]; got == tail {
			t.Errorf("%s stays", tail)
		}
	}
}

func TestLabels(t *testing.T) {
	r := redactor(t)
	c := &sensorv1.Container{Labels: map[string]string{
		"app": "shop", "db.password": "hunter22", "com.example/token-file": "/run/x", "url": "https://kim:hunter22@host/", "example.com/api-key": "$KEY",
	}}
	r.Record(&sensorv1.Record{Body: &sensorv1.Record_Event{Event: &sensorv1.Event{Container: c}}})
	_, mask := mark(r, "«hunter22»")
	want := map[string]string{
		"app": "shop", "db.password": mask, "com.example/token-file": "/run/x", "url": "https://kim:" + mask + "@host/", "example.com/api-key": "$KEY",
	}
	if diff := cmp.Diff(want, c.Labels); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRedactorIsSafeForConcurrentUse(t *testing.T) {
	r := redactor(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			text := fmt.Sprintf("app --password hunter%d", i)
			want := r.Text(text)
			for range 100 {
				if got := r.Text(text); got != want {
					t.Errorf("%s, then %s", want, got)
				}
			}
		})
	}
	wg.Wait()
}
