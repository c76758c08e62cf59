package spool

import "testing"

// What an owner leaves is told to the next one, and to nobody if it did not end with Close:
// then the latest entry tells until when it lived at least.
func TestNotesAreOfTheLifeBefore(t *testing.T) {
	d := newDisk(t, 1)
	want := func(s *Spool, note, latest int64) {
		t.Helper()
		if gotNote, gotLatest := s.Former(); gotNote != note || gotLatest != latest {
			t.Errorf("note %d, latest entry %d; want %d and %d", gotNote, gotLatest, note, latest)
		}
	}
	closed := func(s *Spool) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, "", small(d))
	want(s, 0, 0)
	mustAppend(t, s, low, 1, 2)
	mustAppend(t, s, high, 1)
	s.Leave(77)
	closed(s)

	s = mustOpen(t, "", small(d))
	want(s, 77, 2000)
	closed(s) // without a note

	s = mustOpen(t, "", small(d))
	want(s, 0, 2000)
	s.Leave(78)
	closed(s)

	s = mustOpen(t, "", small(d))
	want(s, 78, 2000)
	s.Leave(79)
	mustAppend(t, s, low, 3)
	mustSync(t, s)
	d.cut()
	_ = s.Close() // of a life that the power cut has ended

	want(mustOpen(t, "", small(d.after)), 0, 3000)
}
