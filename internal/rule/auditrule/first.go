package auditrule

import (
	"container/list"
	"strings"
	"time"
)

// firsts are the keys of a rule that asks for values not seen before, and the values that
// were, the one that was remembered last in front.
type firsts struct {
	keys     map[string]*list.Element // of *firstKey
	keyOrder *list.List
	values   map[string]*list.Element // of *firstValue, by digest of key and value
	order    *list.List
}

func newFirsts() *firsts {
	return &firsts{keys: make(map[string]*list.Element), keyOrder: list.New(), values: make(map[string]*list.Element), order: list.New()}
}

// firstKey is a key and the time, ns, of its first request.
type firstKey struct {
	Key    string `json:"k"`
	Serial uint64 `json:"s"`
	First  int64  `json:"f"`
}

// firstValue is a value of some key and about when it was there last, ns.
type firstValue struct {
	ID     string `json:"i"`
	Serial uint64 `json:"s"`
	Seen   int64  `json:"t"`
}

// steps is in how many a value's time of memory is kept: not every request has it written.
const steps = 16

// first notes the value of a request and reports whether it is new for its key. The match
// is then of this value.
func (m *Matcher) first(r *run, e entry, match *Match, now time.Time) bool {
	isOld := m.learn(r, match.Key, e.At)
	id := hash(match.Key, e.Value)
	step := int64(r.Window.Remember / steps)
	f := r.firsts
	for back := f.order.Back(); back != nil; back = f.order.Back() {
		v := back.Value.(*firstValue)
		if v.ID == id || now.UnixNano()-v.Seen <= int64(r.Window.Remember+lateness) {
			break
		}
		m.dropValue(r, back)
	}
	at := f.values[id]
	isNew := at == nil || e.At-at.Value.(*firstValue).Seen > int64(r.Window.Remember)
	if at == nil {
		if f.order.Len() >= m.limits.Values {
			r.counts.evicted.Add(1)
			m.dropValue(r, f.order.Back())
		}
		at = f.order.PushFront(&firstValue{ID: id, Seen: e.At})
		f.values[id] = at
	} else if e.At-at.Value.(*firstValue).Seen < step {
		return false
	}
	v := at.Value.(*firstValue)
	m.serial++
	v.Serial, v.Seen = m.serial, e.At
	f.order.MoveToFront(at)
	m.change(valueRow(r.Rule, id), v.row)
	if !isNew || !isOld {
		return false
	}
	match.Key = id
	m.request.count, m.request.seen = 1, []string{cut(e.Value, maxValueBytes)}
	return true
}

// learn reports whether a key is old enough for values to count as new.
func (m *Matcher) learn(r *run, key string, now int64) bool {
	f := r.firsts
	at := f.keys[key]
	if at == nil {
		if f.keyOrder.Len() >= m.limits.Keys {
			r.counts.evicted.Add(1)
			m.dropFirstKey(r, f.keyOrder.Back())
		}
		m.serial++
		k := &firstKey{Key: strings.Clone(key), Serial: m.serial, First: now}
		at = f.keyOrder.PushFront(k)
		f.keys[key] = at
		m.change(firstRow(r.Rule, key), k.row)
	}
	k := at.Value.(*firstKey)
	if now < k.First { // late
		k.First = now
		m.change(firstRow(r.Rule, key), k.row)
	}
	return now-k.First >= int64(r.Window.Learn)
}

func (m *Matcher) dropValue(r *run, at *list.Element) {
	v := at.Value.(*firstValue)
	r.firsts.order.Remove(at)
	delete(r.firsts.values, v.ID)
	m.change(valueRow(r.Rule, v.ID), nil)
}

func (m *Matcher) dropFirstKey(r *run, at *list.Element) {
	k := at.Value.(*firstKey)
	r.firsts.keyOrder.Remove(at)
	delete(r.firsts.keys, k.Key)
	m.change(firstRow(r.Rule, k.Key), nil)
}
