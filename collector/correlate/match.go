package correlate

// tangle is requests and sessions that may belong together, by their places: a set of
// sessions for each request. Each request began exactly one of its sessions; sessions need
// not have a request.
type tangle struct {
	edges    [][]int // sessions of each request
	sessions int
	// unsure requests may have begun a session that is not here.
	unsure []bool
	effort int // steps taken
}

// maxTangle bounds the requests that [tangle.prove] tries all ways of: its time grows with
// the third power. What is tangled more is not told apart.
const maxTangle = 96

// none is a place of nothing.
const none = -1

// prove returns for each session the request that must have begun it: the two are together
// in every way of giving each request a session of its own. ok is false if there is no such
// way: then something that is assumed does not hold, and nothing is proved.
//
// Nothing else is assumed: not that requests are served in order, and not that all of them
// are here. A record that is missing leaves a session over, which makes ways more, and
// proofs fewer.
func (t *tangle) prove() (owner []int, ok bool) {
	owner = make([]int, t.sessions)
	for s := range owner {
		owner[s] = none
	}
	askedBy := make([][]int, t.sessions)
	degree := make([]int, len(t.edges))
	var single []int
	for r, edges := range t.edges {
		for _, s := range edges {
			askedBy[s] = append(askedBy[s], r)
		}
		if degree[r] = len(edges); degree[r] == 1 && !t.unsure[r] {
			single = append(single, r)
		}
	}
	// What has but one way takes that away from the others; most are found so, in linear time.
	settled := make([]bool, len(t.edges))
	for len(single) > 0 {
		r := single[len(single)-1]
		single = single[:len(single)-1]
		if settled[r] {
			continue
		}
		mine := none
		for _, s := range t.edges[r] {
			if owner[s] == none {
				mine = s
			}
		}
		if mine == none {
			return nil, false
		}
		settled[r], owner[mine] = true, r
		for _, other := range askedBy[mine] {
			if degree[other]--; degree[other] == 1 && !settled[other] && !t.unsure[other] {
				single = append(single, other)
			}
		}
	}
	return owner, t.rest(owner, settled)
}

// rest proves what is left when none has but one way.
func (t *tangle) rest(owner []int, settled []bool) bool {
	m := matching{tangle: t, of: make([]int, t.sessions), with: make([]int, len(t.edges)), seen: make([]bool, t.sessions)}
	for s := range m.of {
		m.of[s] = none
		if owner[s] != none {
			m.of[s] = taken
		}
	}
	var left []int
	for r := range t.edges {
		m.with[r] = none
		if !settled[r] && !t.unsure[r] && len(t.edges[r]) > 0 {
			left = append(left, r)
		}
	}
	if len(left) > maxTangle {
		return true // nothing more is proved
	}
	for _, r := range left {
		clear(m.seen)
		if !m.augment(r, none) {
			return false
		}
	}
	for _, r := range left {
		s := m.with[r]
		// Could the request have begun another one?
		m.of[s], m.with[r] = none, none
		clear(m.seen)
		if !m.augment(r, s) {
			m.of[s], m.with[r] = r, s
			owner[s] = r
		}
	}
	return true
}

// taken is a session's, in a matching, whose request is proved.
const taken = -2

// matching is one way of giving requests sessions.
type matching struct {
	*tangle
	of   []int // request of each session
	with []int // session of each request
	seen []bool
}

// augment finds a session for a request, moving others if need be; not is one it may not have.
func (m *matching) augment(r, not int) bool {
	for _, s := range m.edges[r] {
		m.effort++
		if s == not || m.seen[s] || m.of[s] == taken {
			continue
		}
		m.seen[s] = true
		if m.of[s] == none || m.augment(m.of[s], none) {
			m.of[s], m.with[r] = r, s
			return true
		}
	}
	return false
}
