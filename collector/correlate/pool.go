package correlate

import "cmp"

// pool is memory that several parties pay for. It knows what each of them takes, and what
// of that was touched longest ago: who floods it pays for the flood.
type pool[P, K comparable, V any] struct {
	portions map[P]*portion[K, V]
	// group names what parties stand for together, of which there may be many at will.
	group func(P) string
	// compare orders parties, to tell equals apart.
	compare func(x, y P) int
}

// portion is what one party takes.
type portion[K comparable, V any] struct {
	values recency[K, V]
	bytes  int
}

func newPool[P, K comparable, V any](group func(P) string, compare func(x, y P) int) *pool[P, K, V] {
	return &pool[P, K, V]{make(map[P]*portion[K, V]), group, compare}
}

// add takes a value that is not there yet, as the one touched last.
func (p *pool[P, K, V]) add(payer P, key K, value V) {
	of := p.portions[payer]
	if of == nil {
		of = &portion[K, V]{values: newRecency[K, V]()}
		p.portions[payer] = of
	}
	of.values.add(key, value)
}

// resize books that a value which is there takes so many bytes more.
func (p *pool[P, K, V]) resize(payer P, more int) { p.portions[payer].bytes += more }

func (p *pool[P, K, V]) touch(payer P, key K) { p.portions[payer].values.touch(key) }

// remove gives a value's bytes back.
func (p *pool[P, K, V]) remove(payer P, key K, bytes int) {
	of := p.portions[payer]
	of.values.remove(key)
	if of.bytes -= bytes; of.values.len() == 0 {
		delete(p.portions, payer)
	}
}

// sort brings the values of each party into the order of their serials.
func (p *pool[P, K, V]) sort(serial func(V) uint64) {
	for _, of := range p.portions {
		of.values.sort(serial)
	}
}

// relieve has values forgotten until it is enough: of the group that takes most, of that
// the party that does, what it touched longest ago; until it takes but half. It
// reports false if nothing is left.
func (p *pool[P, K, V]) relieve(enough func() bool, forget func(V)) bool {
	for !enough() {
		of := p.fullest()
		if of == nil {
			return false
		}
		half := of.bytes / 2
		for _, value := range of.values.all() {
			forget(value)
			if enough() || of.bytes <= half {
				break
			}
		}
	}
	return true
}

// fullest is nil if there is nothing.
func (p *pool[P, K, V]) fullest() *portion[K, V] {
	groups := make(map[string]int)
	for payer, of := range p.portions {
		groups[p.group(payer)] += of.bytes
	}
	var most P
	var found *portion[K, V]
	for payer, of := range p.portions {
		if found != nil {
			mine, other := p.group(payer), p.group(most)
			if cmp.Or(cmp.Compare(groups[mine], groups[other]), -cmp.Compare(mine, other), cmp.Compare(of.bytes, found.bytes), -p.compare(payer, most)) < 0 {
				continue
			}
		}
		most, found = payer, of
	}
	return found
}

// room is how far a bound is gone below when it was passed, so that who pays is not looked
// for at each message of a flood.
func room(bound int) int { return bound - bound/32 }
