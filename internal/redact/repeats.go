package redact

// Summary and evidence repeat what the event holds: one argument, all of them joined by
// blanks, cut at some length. A secret that only its place in argv gave away (-p x) is
// found there by itself.

const (
	// knownBytes is how long a secret has to be to be masked wherever it is repeated.
	knownBytes = 6
	// contextBytes of what stood before a shorter one have to be repeated with it: the
	// letter a as a password must not mask every a.
	contextBytes = 8
)

// secret is a secret of the event: the last bytes of the text behind its context.
type secret struct {
	text    string
	context int
}

// remember keeps the secret h of s for summary and evidence. before is what a blank
// would join to s.
func (w *walk) remember(s, before string, h hit) {
	if !w.keep {
		return
	}
	if h.end-h.start >= knownBytes {
		w.known = append(w.known, secret{text: s[h.start:h.end]})
		return
	}
	from := max(0, h.start-contextBytes)
	context := s[from:h.start]
	if h.start == 0 {
		if before == "" {
			return
		}
		context = before[max(0, len(before)-contextBytes):] + " "
	}
	w.known = append(w.known, secret{text: context + s[h.start:h.end], context: len(context)})
}

// repeats finds any of many texts in one pass (Aho and Corasick, 1975): a hostile argv
// holds a thousand secrets, and the cost must not be a thousand passes.
type repeats struct {
	nodes []node
}

// node is a beginning of secrets. Children are a list: few nodes have more than one.
type node struct {
	child, sibling int32
	fail           int32 // the longest proper end of this that is a beginning too
	depth          int32
	masks          int32 // bytes to mask that end here, 0: none
	owner          int32 // a secret that begins like this, by index
	c              byte
}

func newRepeats(known []secret) *repeats {
	r := &repeats{nodes: make([]node, 1, 64)}
	for i, k := range known {
		at := int32(0)
		for _, c := range []byte(k.text) {
			next := r.next(at, c)
			if next == 0 {
				next = int32(len(r.nodes))
				r.nodes = append(r.nodes, node{c: c, sibling: r.nodes[at].child, depth: r.nodes[at].depth + 1, owner: int32(i)})
				r.nodes[at].child = next
			}
			at = next
		}
		r.nodes[at].masks = max(r.nodes[at].masks, int32(len(k.text)-k.context))
	}
	queue := make([]int32, 0, len(r.nodes))
	for c := r.nodes[0].child; c != 0; c = r.nodes[c].sibling {
		queue = append(queue, c)
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		r.nodes[at].masks = max(r.nodes[at].masks, r.nodes[r.nodes[at].fail].masks)
		for c := r.nodes[at].child; c != 0; c = r.nodes[c].sibling {
			r.nodes[c].fail = r.step(r.nodes[at].fail, r.nodes[c].c)
			queue = append(queue, c)
		}
	}
	return r
}

// next is the child of a node for c, 0 if there is none.
func (r *repeats) next(at int32, c byte) int32 {
	for n := r.nodes[at].child; n != 0; n = r.nodes[n].sibling {
		if r.nodes[n].c == c {
			return n
		}
	}
	return 0
}

// step is where the search stands after c.
func (r *repeats) step(at int32, c byte) int32 {
	for {
		if n := r.next(at, c); n != 0 {
			return n
		}
		if at == 0 {
			return 0
		}
		at = r.nodes[at].fail
	}
}

// cutBytes of a secret at the end of a text that was cut are taken for its beginning.
const cutBytes = 4

// find returns where s repeats secrets. If s was cut, its end may be the beginning of one.
func (r *repeats) find(s string, known []secret, cut bool) (hits []hit) {
	at := int32(0)
	for i := range len(s) {
		at = r.step(at, s[i])
		if n := int(r.nodes[at].masks); n > 0 {
			hits = append(hits, hit{start: i + 1 - n, end: i + 1})
		}
	}
	if n := r.nodes[at]; cut && n.masks == 0 {
		k := known[n.owner]
		if from := len(s) - int(n.depth) + k.context; at != 0 && len(s)-from >= cutBytes {
			hits = append(hits, hit{start: from, end: len(s), whole: k.text[k.context:]})
		}
	}
	return hits
}
