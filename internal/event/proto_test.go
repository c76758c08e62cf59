package event

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func TestProtoOfStranger(t *testing.T) {
	e := &Event{
		Header: Header{
			Kind: KindProcessExit, Time: 5, Actor: Key{7, 8}, Parent: Key{9, 10}, UID: 33, Comm: "sh", Result: 4,
		},
		Payload: &Exit{Code: 1},
	}
	want := &sensorv1.Event{
		Kind: sensorv1.Kind_KIND_PROCESS_EXIT, BootTimeNs: 5, Uid: 33,
		Process: &sensorv1.Process{
			Id: ProcessID("b", Key{7, 8}), ParentId: ProcessID("b", Key{9, 10}), Pid: 7, StartTimeNs: 8, Comm: "sh", Unknown: true,
		},
		Payload: &sensorv1.Event_Exit{Exit: &sensorv1.ProcessExit{Code: 1}},
	}
	if diff := cmp.Diff(want, e.Proto("b"), protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestProtoEscapesAllTextOrNone(t *testing.T) {
	e := &Event{
		Header:  Header{Kind: KindFileRename, Comm: `a\b`},
		Payload: &Rename{File: File{Path: "/tmp/x\ny"}, NewPath: `/tmp/c\d`},
		Process: &Process{ID: "i", Comm: `a\b`, Args: []string{"ä", `\n`}},
		Container: &Container{ID: "c", Labels: map[string]string{
			`k\`: `v\`,
		}},
	}
	m := e.Proto("b")
	if m.Escaped || m.Process.Comm != `a\b` || m.GetRename().NewName != `c\d` || m.Container.Labels[`k\`] != `v\` {
		t.Errorf("valid text is changed: %v", m)
	}

	e.Payload = &Rename{File: File{Path: "/tmp/x\ny/\xff\x80z"}, NewPath: `/tmp/c\d`}
	m = e.Proto("b")
	if _, err := proto.Marshal(m); err != nil {
		t.Fatal(err)
	}
	got := []string{m.GetRename().File.Path, m.GetRename().File.Name, m.GetRename().NewName, m.Process.Comm, m.Process.Args[0], m.Process.Args[1], m.Container.Labels[`k\\`]}
	want := []string{"/tmp/x\ny/" + `\xff\x80z`, `\xff\x80z`, `c\\d`, `a\\b`, "ä", `\\n`, `v\\`}
	if diff := cmp.Diff(want, got); diff != "" || !m.Escaped {
		t.Errorf("escaped %v; -want +got:\n%s", m.Escaped, diff)
	}
	if e.Process.Args[1] != `\n` {
		t.Error("the published process was changed")
	}
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"":               "",
		"plain":          "plain",
		`\`:              `\\`,
		"\xff":           `\xff`,
		"a\xc3\x28":      `a\xc3(`,
		"\xed\xa0\x80":   `\xed\xa0\x80`, // half a surrogate pair
		"\uFFFD\x00\n漢":  "\uFFFD\x00\n漢",
		`\x41` + "\x80A": `\\x41\x80A`,
	} {
		got := Escape(text)
		if got != want || !utf8.ValidString(got) {
			t.Errorf("Escape(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestProtoOwnsItsText(t *testing.T) {
	record := []byte("/tmp/file\x00/tmp/other")
	lend := func(from, to int) string { return unsafe.String(&record[from], to-from) }
	events := []*Event{
		{Header: Header{Kind: KindFileRename, Comm: lend(1, 4)}, Payload: &Rename{File: File{Path: lend(0, 9)}, NewPath: lend(10, 20)}},
		{Header: Header{Kind: KindNetworkConnect}, Payload: &Flow{Path: lend(0, 9)}},
		{Header: Header{Kind: KindCgroupCreate}, Payload: &Cgroup{Path: lend(0, 9)}},
		{Header: Header{Kind: KindMemoryMap}, Payload: &Memory{File: File{Path: lend(0, 9)}}},
	}
	var before, after []string
	var messages []*sensorv1.Event
	for _, e := range events {
		m := e.Proto("b")
		messages, before = append(messages, m), append(before, m.String())
	}
	clear(record)
	for _, m := range messages {
		after = append(after, m.String())
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

func TestAncestorsAreBounded(t *testing.T) {
	var p *Process
	for i := range 40 {
		p = &Process{ID: fmt.Sprint(i), Parent: p}
	}
	e := &Event{Header: Header{Kind: KindProcessExit}, Payload: &Exit{}, Process: p}
	if m := e.Proto("b"); len(m.Ancestors) != 0 || m.Process.ParentId != "38" {
		t.Errorf("%d ancestors, parent %q", len(m.Ancestors), m.Process.ParentId)
	}
	m := e.ProtoWithAncestors("b")
	if len(m.Ancestors) != MaxAncestors || m.Ancestors[0].Id != "38" || m.Ancestors[15].Id != "23" {
		t.Errorf("%d ancestors: %v", len(m.Ancestors), m.Ancestors)
	}
}

func TestProtoOfTimes(t *testing.T) {
	wall := time.Unix(1_795_000_000, 0)
	file := File{Path: "/x", Origin: &Origin{Time: 300, Wall: wall, Process: &Process{ID: "w"}}}
	e := &Event{Header: Header{Kind: KindFileUnlink, Time: 1300}, Payload: &Unlink{File: file}}
	if got := e.Proto("b").GetUnlink().File; got.Origin.Age.AsDuration() != 1000 || got.ChangeTime != nil || !got.Origin.Time.AsTime().Equal(wall) {
		t.Errorf("got %v", got)
	}
	e.Time = 200 // another processor's clock was behind
	if age := e.Proto("b").GetUnlink().File.Origin.Age.AsDuration(); age != 0 {
		t.Errorf("age %v", age)
	}
	c := &Container{ID: "c", Created: time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)}
	if m, escaped := c.Proto(); m.Created != nil || m.Pod != nil || escaped {
		t.Errorf("a year no schema can carry: %v, escaped %v", m, escaped)
	}
}

func TestFactsByThemselves(t *testing.T) {
	p := &Process{ID: "i", Name: "\xff", ParentKey: Key{1, 2}, Exe: File{Path: `/\`, Origin: &Origin{Time: 3}}}
	m, escaped := p.Proto("b")
	if !escaped || m.Name != `\xff` || m.Exe.Path != `/\\` || m.ParentId != ProcessID("b", Key{1, 2}) || m.Exe.Origin.Age != nil {
		t.Errorf("escaped %v: %v", escaped, m)
	}
	c := &Container{Name: "\xff", PodUID: "u"}
	k, escaped := c.Proto()
	if !escaped || k.Name != `\xff` || k.Pod.Uid != "u" {
		t.Errorf("escaped %v: %v", escaped, k)
	}
}

func TestAddress(t *testing.T) {
	tests := []struct {
		in   Address
		want *sensorv1.Address
	}{
		{Address{}, nil},
		{Address{Family: FamilyUnix}, &sensorv1.Address{Family: "unix"}},
		{Address{Family: 16, Port: 1}, &sensorv1.Address{Family: "other", Port: 1}},
		{Address{FamilyIPv4, netip.MustParseAddr("127.9.9.9"), 80, 0}, &sensorv1.Address{Family: "ipv4", Ip: "127.9.9.9", Port: 80, Loopback: true}},
		{Address{FamilyIPv6, netip.MustParseAddr("::ffff:127.0.0.1"), 1, 0}, &sensorv1.Address{Family: "ipv6", Ip: "127.0.0.1", Port: 1, Loopback: true}},
		{Address{FamilyIPv6, netip.MustParseAddr("2001:db8::1"), 65535, 0}, &sensorv1.Address{Family: "ipv6", Ip: "2001:db8::1", Port: 65535}},
		{Address{FamilyIPv4, netip.MustParseAddr("0.0.0.0"), 0, 4026531840}, &sensorv1.Address{Family: "ipv4", Ip: "0.0.0.0", NetNamespace: 4026531840}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, address(test.in), protocmp.Transform()); diff != "" {
			t.Errorf("%+v: -want +got:\n%s", test.in, diff)
		}
	}
}

func TestNamespaceChanges(t *testing.T) {
	n := Namespace{
		Before: Namespaces{Mount: 10, PID: 11, Net: 12, User: 13, UTS: 0, IPC: 15, Cgroup: 16},
		After:  Namespaces{Mount: 1, PID: 11, Net: 22, User: 4, UTS: 5, IPC: 0, Cgroup: 16},
		Host:   Namespaces{Mount: 1, PID: 11, Net: 3, User: 4, UTS: 5, IPC: 0, Cgroup: 7},
	}
	if diff := cmp.Diff([]string{"mount", "net", "user"}, n.Changed()); diff != "" {
		t.Errorf("changed: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"mount", "user"}, n.JoinedHost()); diff != "" {
		t.Errorf("joined host: -want +got:\n%s", diff)
	}
	i := 0
	for name, inode := range n.Before.Each { // both orders are one
		if namespaceNames[i] != name || n.Before.numbers()[i] != inode {
			t.Errorf("%d is %s %d", i, name, inode)
		}
		i++
	}
}

func TestAppendJSON(t *testing.T) {
	record := &sensorv1.Record{AgentId: "a", Body: &sensorv1.Record_Event{Event: (&Event{
		Header:    Header{Kind: KindFileUnlink, Flags: HasResult, Result: -1, Actor: Key{1, 2}},
		Payload:   &Unlink{File: File{Path: "/<a>\n\"b\"", Size: 1 << 60}},
		Container: &Container{ID: "c", Labels: map[string]string{"z": "1", "a": "2", "m": "3"}},
	}).Proto("b")}}
	want := `prefix {"agent_id":"a","event":{"kind":"KIND_FILE_UNLINK","result_known":true,"result":"-1",` +
		`"process":{"id":"` + ProcessID("b", Key{1, 2}) + `","pid":1,"start_time_ns":"2","unknown":true},` +
		`"container":{"id":"c","labels":{"a":"2","m":"3","z":"1"}},` +
		`"unlink":{"file":{"path":"/<a>\n\"b\"","name":"<a>\n\"b\"","size_bytes":"1152921504606846976"}}}}`
	for range 20 {
		got, err := AppendJSON([]byte("prefix "), record)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	}
	got, err := AppendJSON([]byte("kept"), &sensorv1.Record{Node: "\xff"})
	if err == nil || string(got) != "kept" {
		t.Errorf("got %q, %v", got, err)
	}
}

func BenchmarkProto(b *testing.B) {
	for _, e := range fullEvents() {
		b.Run(e.Kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Proto("boot")
			}
		})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	var line []byte
	record := &sensorv1.Record{Body: &sensorv1.Record_Event{Event: fullEvents()[0].ProtoWithAncestors("boot")}}
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if line, err = AppendJSON(line[:0], record); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(line)))
}
