package correlate

import (
	"cmp"
	"container/list"
	"iter"
	"slices"
)

// recency is a map that knows which of its values was touched longest ago.
type recency[K comparable, V any] struct {
	places map[K]*list.Element
	line   *list.List // of entry, the longest ago first
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newRecency[K comparable, V any]() recency[K, V] {
	return recency[K, V]{places: make(map[K]*list.Element), line: list.New()}
}

// get returns the zero V where there is none.
func (r *recency[K, V]) get(key K) (value V) {
	if place := r.places[key]; place != nil {
		value = place.Value.(entry[K, V]).value
	}
	return value
}

// add takes a value that is not there yet, as the one touched last.
func (r *recency[K, V]) add(key K, value V) { r.places[key] = r.line.PushBack(entry[K, V]{key, value}) }

func (r *recency[K, V]) touch(key K) {
	if place := r.places[key]; place != nil {
		r.line.MoveToBack(place)
	}
}

// keep has a value there, as the one touched last, or not there.
func (r *recency[K, V]) keep(key K, value V, here bool) {
	switch {
	case !here:
		r.remove(key)
	case r.places[key] == nil:
		r.add(key, value)
	default:
		r.touch(key)
	}
}

func (r *recency[K, V]) remove(key K) {
	if place := r.places[key]; place != nil {
		r.line.Remove(place)
		delete(r.places, key)
	}
}

// recent goes from the one touched last.
func (r *recency[K, V]) recent() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for place := r.line.Back(); place != nil; place = place.Prev() {
			if e := place.Value.(entry[K, V]); !yield(e.key, e.value) {
				return
			}
		}
	}
}

// sort brings the values into the order of their serials.
func (r *recency[K, V]) sort(serial func(V) uint64) {
	var entries []entry[K, V]
	for key, value := range r.all() {
		entries = append(entries, entry[K, V]{key, value})
	}
	slices.SortFunc(entries, func(x, y entry[K, V]) int { return cmp.Compare(serial(x.value), serial(y.value)) })
	for _, e := range entries {
		r.touch(e.key)
	}
}

func (r *recency[K, V]) len() int { return len(r.places) }

// all goes from the one touched longest ago; the one it gives may be removed meanwhile.
func (r *recency[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for place := r.line.Front(); place != nil; {
			next := place.Next()
			if e := place.Value.(entry[K, V]); !yield(e.key, e.value) {
				return
			}
			place = next
		}
	}
}
