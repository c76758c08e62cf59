package event

import (
	"strings"
	"testing"
)

func TestWeightComesAndGoes(t *testing.T) {
	var w Weight
	events := fullEvents()
	for _, e := range events {
		before := w.Bytes()
		w.Add(e)
		if w.Bytes() <= before {
			t.Errorf("%s weighs nothing", e.Kind)
		}
	}
	for _, e := range events {
		w.Remove(e.Clone()) // a copy weighs what the lent one did
	}
	if w.Bytes() != 0 || len(w.refs) != 0 {
		t.Errorf("%d bytes and %d references are left", w.Bytes(), len(w.refs))
	}
}

func TestWhatIsSharedWeighsOnce(t *testing.T) {
	grand := &Process{ID: "g", ArgsBytes: 8192, Args: []string{strings.Repeat("x", 8191)}}
	parent := &Process{ID: "p", Parent: grand}
	var w Weight
	add := func(p *Process) int {
		before := w.Bytes()
		w.Add(&Event{Payload: &Exit{}, Process: p})
		return w.Bytes() - before
	}
	first := add(parent)
	second := add(parent)
	child := add(&Process{ID: "c", Parent: parent})
	if second > 1024 || first < second+8192 || child < second || child > 4096 {
		t.Errorf("the first weighs %d, the second %d, a child's %d", first, second, child)
	}
	w.Remove(&Event{Payload: &Exit{}, Process: parent})
	w.Remove(&Event{Payload: &Exit{}, Process: parent})
	if w.Bytes() < 8192 {
		t.Errorf("%d bytes: the child's ancestors are forgotten", w.Bytes())
	}
}

func TestWeighingAllocatesNothing(t *testing.T) {
	e := &Event{Header: Header{Kind: KindFileOpen}, Payload: &Open{File: File{Path: "/a"}},
		Process: &Process{Parent: &Process{}, Session: &Session{}}, Container: &Container{}}
	var w Weight
	w.Add(e)
	if n := testing.AllocsPerRun(100, func() { w.Add(e); w.Remove(e) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	w.Remove(e)
	if n := testing.AllocsPerRun(100, func() { w.Add(e); w.Remove(e) }); n > 0 {
		t.Errorf("%v allocations where nothing is known", n)
	}
}
