package auditrule

import (
	"container/list"
	"strings"
	"time"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
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

// isFirst notes the values of a request and reports whether one is new for its key, or the
// rule raises always. The match is then of the new ones, else of all, as one key.
func (m *Matcher) isFirst(r *run, e *auditv1.Event, match *Match, now time.Time) (bool, error) {
	var values []string
	var err error
	if r.window.each.program != nil {
		values, err = m.texts(r.window.each)
	} else {
		values = make([]string, 1)
		values[0], err = m.text(r.window.of)
	}
	if err != nil {
		return false, err
	}
	raises := false
	if r.window.always.program != nil {
		if raises, err = m.holds(r.window.always); err != nil {
			return false, err
		}
		raises = raises && m.see(r, e)
	}
	at := match.First.UnixNano()
	var added []string
	for _, value := range values {
		if m.note(r, match.Key, value, at, now) {
			added = append(added, value)
		}
	}
	if len(added) == 0 && !raises {
		return false, nil
	}
	if len(added) == 0 {
		added = values
	}
	match.Key = hash(append([]string{match.Key}, added...)...)
	m.request.count = 1
	for _, value := range added {
		m.request.seen = withValue(m.request.seen, cut(value, maxValueBytes))
	}
	return true, nil
}

// note notes a value and reports whether it is new for its key.
func (m *Matcher) note(r *run, key, value string, at int64, now time.Time) bool {
	isOld := m.learn(r, key, at)
	id := hash(key, value)
	step := int64(r.Window.Remember / steps)
	f := r.firsts
	for back := f.order.Back(); back != nil; back = f.order.Back() {
		v := back.Value.(*firstValue)
		if v.ID == id || now.UnixNano()-v.Seen <= int64(r.Window.Remember+lateness) {
			break
		}
		m.dropValue(r, back)
	}
	held := f.values[id]
	isNew := held == nil || at-held.Value.(*firstValue).Seen > int64(r.Window.Remember)
	if held == nil {
		if f.order.Len() >= m.limits.Values {
			r.counts.evicted.Add(1)
			m.dropValue(r, f.order.Back())
		}
		held = f.order.PushFront(&firstValue{ID: id, Seen: at})
		f.values[id] = held
	} else if at-held.Value.(*firstValue).Seen < step {
		return false
	}
	v := held.Value.(*firstValue)
	m.serial++
	v.Serial, v.Seen = m.serial, at
	f.order.MoveToFront(held)
	m.change(valueRow(r.Rule, id), v.row)
	return isNew && isOld
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
