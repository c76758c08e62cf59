package correlate

import (
	"cmp"
	"maps"
	"slices"
)

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

// relieve has values forgotten until so many bytes are free, or nothing is left. Of what
// groups take the highest are cut down to one level, and within each its parties; of those
// what they touched longest ago goes.
func (p *pool[P, K, V]) relieve(free int, forget func(V)) {
	payers := make(map[string][]P)
	taken := make(map[string]int)
	for payer, of := range p.portions {
		group := p.group(payer)
		payers[group] = append(payers[group], payer)
		taken[group] += of.bytes
	}
	level := waterline(slices.Collect(maps.Values(taken)), free)
	for _, group := range sortedKeys(taken) {
		if taken[group] <= level {
			continue
		}
		var sizes []int
		for _, payer := range payers[group] {
			sizes = append(sizes, p.portions[payer].bytes)
		}
		least := waterline(sizes, taken[group]-level)
		slices.SortFunc(payers[group], p.compare)
		for _, payer := range payers[group] {
			of := p.portions[payer]
			for _, value := range of.values.all() {
				if of.bytes <= least {
					break
				}
				forget(value)
			}
		}
	}
}

// waterline is to what all sizes that are larger have to be cut for so much to be free; 0:
// there is not so much.
func waterline(sizes []int, free int) int {
	slices.SortFunc(sizes, func(x, y int) int { return cmp.Compare(y, x) })
	above := 0
	for i, size := range sizes {
		above += size
		next := 0
		if i+1 < len(sizes) {
			next = sizes[i+1]
		}
		if above-(i+1)*next >= free {
			return (above - free) / (i + 1)
		}
	}
	return 0
}

// room is how far a bound is gone below when it was passed, so that who pays is not looked
// for at each message of a flood.
func room(bound int) int { return bound - bound/32 }
