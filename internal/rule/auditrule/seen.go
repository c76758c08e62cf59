package auditrule

import (
	"encoding/binary"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// A request counts once for a rule, though it may come as several stages and, after a
// failure, again. What counted is kept in a ring, page by page: a page is a row.
const (
	pageMarks = 128
	pages     = 32
)

// ring is the marks of the last requests that a rule's condition held for.
type ring struct {
	known map[uint64]int // how often it is in the ring
	marks []uint64
	next  uint64 // place, modulo the size, of the next mark
	// changed are the pages whose rows are among the matcher's changes.
	changed [pages]bool
}

func newRing() *ring { return &ring{known: make(map[uint64]int)} }

// see marks a request as seen by a rule and reports whether it was not before. The client
// chooses the audit id of its requests, so it does not tell two requests apart alone.
func (m *Matcher) see(r *run, e *auditv1.Event) bool {
	at := binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(e.GetRequestTime().AsTime().UnixNano()))
	sum := digest(e.AuditId, string(at), e.Verb, e.RequestUri, e.GetUser().GetName())
	mark := binary.BigEndian.Uint64(sum[:])
	if r.seen.known[mark] > 0 {
		return false
	}
	seen := r.seen
	page := seen.add(mark)
	if !seen.changed[page] {
		seen.changed[page] = true
		m.change(seenRow(r.Rule, page), func() []byte { return seen.row(page) })
	}
	return true
}

// add puts a mark in the place of the oldest and returns the page that it is on.
func (s *ring) add(mark uint64) (page int) {
	const size = pageMarks * pages
	place := s.next % size
	if place < uint64(len(s.marks)) {
		s.remove(s.marks[place])
		s.marks[place] = mark
	} else {
		s.marks = append(s.marks, mark)
	}
	s.known[mark]++
	s.next++
	return int(place / pageMarks)
}

func (s *ring) remove(mark uint64) {
	if s.known[mark]--; s.known[mark] <= 0 {
		delete(s.known, mark)
	}
}
