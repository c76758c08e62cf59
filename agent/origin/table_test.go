package origin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
)

var (
	start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	curl  = named(10, "/usr/bin/curl")
	mv    = named(11, "/usr/bin/mv")
	bash  = named(12, "/bin/bash")
)

func named(tgid uint32, path string) *event.Process {
	p := &event.Process{
		ID: fmt.Sprint("id-", tgid), Key: event.Key{TGID: tgid, Start: 1}, Args: []string{"secret"},
		Parent: &event.Process{}, Comm: "task",
	}
	p.Exe.Path, p.Name = path, event.BaseName(path)
	return p
}

func file(inode uint64) event.File {
	return event.File{Path: "/srv/x", Device: 8, Inode: inode, Mode: 0o100644, Links: 1}
}

// pass sends an event by both doors, with the process stage between them.
func pass(t *Table, p *event.Process, payload event.Payload) *event.Event {
	ev := &event.Event{Header: event.Header{Time: 5, Wall: start}, Payload: payload}
	t.Attach(ev)
	ev.Process = p
	t.Record(ev)
	return ev
}

func writerName(o *event.Origin) string {
	if o == nil {
		return ""
	}
	return o.Process.Name
}

// ran is who wrote the program that bash now runs.
func ran(t *Table, inode uint64) string {
	x := &event.Exec{Image: event.Image{File: file(inode)}}
	pass(t, bash, x)
	return writerName(x.File.Origin)
}

func TestWhoWroteWhatRuns(t *testing.T) {
	write := func(p *event.Process) func(*Table) {
		return func(tab *Table) { pass(tab, p, &event.Open{File: file(7), Write: true}) }
	}
	rename := func(p *event.Process) func(*Table) {
		return func(tab *Table) { pass(tab, p, &event.Rename{File: file(7), NewPath: "/srv/y"}) }
	}
	open := func(change func(*event.Open, *event.Event)) func(*Table) {
		return func(tab *Table) {
			o := &event.Open{File: file(7)}
			ev := &event.Event{Payload: o, Process: curl}
			change(o, ev)
			tab.Record(ev)
		}
	}
	unlink := func(links uint32) func(*Table) {
		return func(tab *Table) {
			f := file(7)
			f.Links = links
			pass(tab, bash, &event.Unlink{File: f})
		}
	}
	for name, tt := range map[string]struct {
		steps []func(*Table)
		want  string
	}{
		"nobody seen":                 {nil, ""},
		"written":                     {[]func(*Table){write(curl)}, "curl"},
		"the last writer counts":      {[]func(*Table){write(curl), write(bash)}, "bash"},
		"moved after the download":    {[]func(*Table){write(curl), rename(mv)}, "curl"},
		"only the move was seen":      {[]func(*Table){rename(mv)}, "mv"},
		"removed":                     {[]func(*Table){write(curl), unlink(1)}, ""},
		"one of two names removed":    {[]func(*Table){write(curl), unlink(2)}, "curl"},
		"number used again":           {[]func(*Table){write(curl), unlink(1), write(bash)}, "bash"},
		"created, opened for reading": {[]func(*Table){open(func(o *event.Open, _ *event.Event) { o.Created = true })}, "curl"},
		"read":                        {[]func(*Table){open(func(o *event.Open, _ *event.Event) { o.Read = true })}, ""},
		"failed":                      {[]func(*Table){open(func(o *event.Open, _ *event.Event) { o.Write, o.Failed = true, true })}, ""},
		"refused": {[]func(*Table){open(func(o *event.Open, ev *event.Event) {
			o.Write, ev.Flags, ev.Result = true, event.HasResult, -13
		})}, ""},
		"unknown process": {[]func(*Table){open(func(o *event.Open, ev *event.Event) { o.Write, ev.Process = true, nil })}, ""},
		"device": {[]func(*Table){open(func(o *event.Open, _ *event.Event) {
			o.Write, o.File.Mode = true, 0o020666
		})}, ""},
		"procfs": {[]func(*Table){open(func(o *event.Open, _ *event.Event) { o.Write, o.File.Magic = true, 0x9fa0 })}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tab := New(Limits{})
			for _, step := range tt.steps {
				step(tab)
			}
			if got := ran(tab, 7); got != tt.want {
				t.Errorf("written by %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEventShowsTheWriterBeforeIt(t *testing.T) {
	tab := New(Limits{})
	first := &event.Open{File: file(7), Write: true}
	pass(tab, curl, first)
	second := &event.Open{File: file(7), Write: true}
	pass(tab, bash, second)
	chmod := &event.Chmod{File: file(7)}
	pass(tab, bash, chmod)
	got := []string{writerName(first.File.Origin), writerName(second.File.Origin), writerName(chmod.File.Origin)}
	if diff := cmp.Diff([]string{"", "curl", "bash"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestOriginIsWhoAndWhenOnly(t *testing.T) {
	tab := New(Limits{})
	pass(tab, curl, &event.Open{File: file(7), Write: true})
	o := tab.Lookup(8, 7)
	if o.Process.ID != curl.ID || o.Process.Key != curl.Key || o.Process.Exe.Path != curl.Exe.Path || o.Time != 5 || !o.Wall.Equal(start) {
		t.Errorf("origin is %+v", o)
	}
	if o.Process.Parent != nil || o.Process.Args != nil {
		t.Error("origin keeps ancestors or arguments alive")
	}
	pass(tab, curl, &event.Open{File: file(8), Write: true})
	if tab.Lookup(8, 8).Process != o.Process {
		t.Error("two files of one process do not share it")
	}
	pass(tab, bash, &event.Open{File: file(7), Write: true})
	if o.Process.Name != "curl" {
		t.Error("a published origin changed")
	}
}

func TestOtherDeviceIsAnotherFile(t *testing.T) {
	tab := New(Limits{})
	pass(tab, curl, &event.Open{File: file(7), Write: true})
	if o := tab.Lookup(9, 7); o != nil {
		t.Errorf("inode of another device was written by %q", writerName(o))
	}
}

func TestFilesBound(t *testing.T) {
	tab := New(Limits{Files: 100})
	for inode := range uint64(1000) {
		pass(tab, curl, &event.Open{File: file(inode + 1), Write: true})
		tab.Lookup(8, 1) // in use
	}
	if s := tab.Stats(); s.Files != 100 || s.Evicted != 900 {
		t.Errorf("%+v", s)
	}
	if tab.Lookup(8, 1) == nil || tab.Lookup(8, 1000) == nil || tab.Lookup(8, 2) != nil {
		t.Error("not the longest unused went")
	}
}

func TestBytesBound(t *testing.T) {
	tab := New(Limits{Bytes: 1 << 20})
	for inode := range uint64(2000) {
		p := named(uint32(inode), "/tmp/"+strings.Repeat("d/", 2000)+"x")
		pass(tab, p, &event.Open{File: file(inode + 1), Write: true})
	}
	if tab.bytes > 1<<20 || tab.Stats().Files < 100 || tab.Stats().Files > 300 {
		t.Errorf("%d bytes in %d files", tab.bytes, tab.Stats().Files)
	}
	for inode := range uint64(2000) {
		pass(tab, bash, &event.Unlink{File: file(inode + 1)})
	}
	if tab.bytes != 0 || len(tab.files) != 0 {
		t.Errorf("%d bytes in %d files are left", tab.bytes, len(tab.files))
	}
}

func TestEventsWithoutEffectCostNoAllocation(t *testing.T) {
	tab := New(Limits{})
	pass(tab, curl, &event.Open{File: file(7), Write: true})
	read := file(7)
	for _, p := range []event.Payload{
		&event.Open{File: read}, &event.Open{File: file(9), Read: true}, &event.Exec{Image: event.Image{File: read}},
		&event.Rename{File: read}, &event.Unlink{File: file(9)}, &event.Chmod{File: read}, &event.Memory{File: read},
		&event.Fork{}, &event.Exit{}, &event.Flow{}, &event.Namespace{}, &event.Cgroup{},
	} {
		ev := &event.Event{Payload: p, Process: bash}
		if got := testing.AllocsPerRun(100, func() { tab.Attach(ev); tab.Record(ev) }); got != 0 {
			t.Errorf("%T: %v allocations", p, got)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	for name, payload := range map[string]event.Payload{
		"exec":  &event.Exec{Image: event.Image{File: file(7)}},
		"read":  &event.Open{File: file(7), Read: true},
		"write": &event.Open{File: file(7), Write: true},
		"fork":  &event.Fork{},
	} {
		b.Run(name, func(b *testing.B) {
			tab := New(Limits{})
			for inode := range uint64(DefaultFiles) {
				pass(tab, curl, &event.Open{File: file(inode + 1), Write: true})
			}
			ev := &event.Event{Payload: payload, Process: bash}
			b.ReportAllocs()
			for i := uint64(0); b.Loop(); i++ {
				switch p := payload.(type) {
				case *event.Exec:
					p.File.Inode = 1 + i*7919%DefaultFiles
				case *event.Open:
					p.File.Inode = 1 + i*7919%DefaultFiles
				}
				tab.Attach(ev)
				tab.Record(ev)
			}
		})
	}
}

func TestRedirectionIsWrittenByTheProgramItWasMadeFor(t *testing.T) {
	table := New(Limits{})
	target := file(7)
	pass(table, bash, &event.Open{File: target, Write: true, Created: true})
	started := *curl
	started.Stdio[1] = event.Stdio{Kind: event.StdioFile, Device: target.Device, Inode: target.Inode}
	pass(table, &started, &event.Exec{})
	if got := writerName(table.Lookup(target.Device, target.Inode)); got != "curl" {
		t.Errorf("the file of `curl url > file` was written by %q", got)
	}
	fed := *bash
	fed.Stdio[0] = event.Stdio{Kind: event.StdioFile, Device: target.Device, Inode: target.Inode}
	pass(table, &fed, &event.Exec{})
	if got := writerName(table.Lookup(target.Device, target.Inode)); got != "curl" {
		t.Errorf("a program that reads the file has become its writer: %q", got)
	}
}

func TestOriginKeepsWhichOfBusyboxsProgramsWrote(t *testing.T) {
	table := New(Limits{})
	wget := named(20, "/bin/busybox")
	wget.Args = []string{"wget", "-O", "x", "http://secret@host/"}
	pass(table, wget, &event.Open{File: file(8), Write: true})
	writer := table.Lookup(8, 8).Process
	if got := writer.Program(); got != "wget" {
		t.Errorf("written by %q, want wget", got)
	}
	if len(writer.Args) > 1 {
		t.Errorf("keeps the arguments %q", writer.Args)
	}
}
