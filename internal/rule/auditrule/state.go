package auditrule

import (
	"cmp"
	"container/list"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Row is a part of what a matcher remembers.
type Row struct {
	Key  string
	Body []byte // nil: forgotten
}

// Kinds of rows, which their keys begin with.
const (
	rowWindow = "window"
	rowFirst  = "first"
	rowValue  = "value"
	rowSeen   = "seen"
)

func rowKey(kind string, r *Rule, name string) string {
	return kind + "/" + r.ID + "/" + r.signature + "/" + name
}

func windowRow(r *Rule, key string) string { return rowKey(rowWindow, r, key) }
func firstRow(r *Rule, key string) string  { return rowKey(rowFirst, r, key) }
func valueRow(r *Rule, id string) string   { return rowKey(rowValue, r, id) }
func seenRow(r *Rule, page int) string     { return rowKey(rowSeen, r, strconv.Itoa(page)) }

// change notes that a row is to be stored as write has it then; nil: forgotten.
func (m *Matcher) change(key string, write func() []byte) { m.changed[key] = write }

// Changes returns the rows that differ from what was returned before, in the order of
// their keys. A matcher that is given all rows returned so far goes on like this one.
func (m *Matcher) Changes() []Row {
	rows := make([]Row, 0, len(m.changed))
	for _, key := range slices.Sorted(maps.Keys(m.changed)) {
		row := Row{Key: key}
		if write := m.changed[key]; write != nil {
			row.Body = write()
		}
		rows = append(rows, row)
	}
	clear(m.changed)
	return rows
}

// encode cannot fail: the types are ours, and have nothing that JSON lacks.
func encode(what any) []byte {
	body, err := json.Marshal(what)
	if err != nil {
		panic(fmt.Sprintf("auditrule: encode %T: %v", what, err))
	}
	return body
}

func (w *window) row() []byte {
	w.changed = false
	return encode(w)
}

func (k *firstKey) row() []byte   { return encode(k) }
func (v *firstValue) row() []byte { return encode(v) }

// row is a page: the ring's next place when it was written, then the marks.
func (s *ring) row(page int) []byte {
	s.changed[page] = false
	marks := s.marks[page*pageMarks : min((page+1)*pageMarks, len(s.marks))]
	body := binary.BigEndian.AppendUint64(nil, s.next)
	for _, mark := range marks {
		body = binary.BigEndian.AppendUint64(body, mark)
	}
	return body
}

// Restore takes one row, in any order of them, before the first Match; [Matcher.Restored]
// ends it. A row of a rule that is no more, or has another window, is forgotten.
func (m *Matcher) Restore(row Row) error {
	parts := strings.Split(row.Key, "/")
	if len(parts) != 4 {
		return fmt.Errorf("restore %q: no such row", row.Key)
	}
	for _, r := range m.runs {
		if r.ID == parts[1] && r.signature == parts[2] {
			if err := m.restore(r, parts[0], parts[3], row.Body); err != nil {
				return fmt.Errorf("restore %q: %w", row.Key, err)
			}
			return nil
		}
	}
	m.change(row.Key, nil)
	return nil
}

var errKind = errors.New("of an unknown kind")

func (m *Matcher) restore(r *run, kind, name string, body []byte) error {
	switch {
	case kind == rowSeen:
		page, err := strconv.Atoi(name)
		if err != nil || page < 0 || page >= pages {
			return errors.New("no page of the ring")
		}
		return r.seen.restore(page, body)
	case kind == rowWindow && r.windows != nil:
		w := &window{}
		if err := json.Unmarshal(body, w); err != nil {
			return err
		}
		w.Key = name
		r.windows.byKey[w.Key] = r.windows.order.PushBack(w)
		r.windows.entries += len(w.Entries)
		m.serial = max(m.serial, w.Serial)
	case kind == rowFirst && r.firsts != nil:
		k := &firstKey{}
		if err := json.Unmarshal(body, k); err != nil {
			return err
		}
		k.Key = name
		r.firsts.keys[k.Key] = r.firsts.keyOrder.PushBack(k)
		m.serial = max(m.serial, k.Serial)
	case kind == rowValue && r.firsts != nil:
		v := &firstValue{}
		if err := json.Unmarshal(body, v); err != nil {
			return err
		}
		v.ID = name
		r.firsts.values[v.ID] = r.firsts.order.PushBack(v)
		m.serial = max(m.serial, v.Serial)
	default:
		return errKind
	}
	return nil
}

// Restored puts in order what came in any.
func (m *Matcher) Restored() {
	for _, r := range m.runs {
		r.seen.restored()
		if r.windows != nil {
			sortNewest(r.windows.order, r.windows.byKey, func(w *window) (string, uint64) { return w.Key, w.Serial })
		}
		if r.firsts != nil {
			sortNewest(r.firsts.keyOrder, r.firsts.keys, func(k *firstKey) (string, uint64) { return k.Key, k.Serial })
			sortNewest(r.firsts.order, r.firsts.values, func(v *firstValue) (string, uint64) { return v.ID, v.Serial })
		}
	}
}

// sortNewest orders a list by serial, the highest in front.
func sortNewest[T any](order *list.List, at map[string]*list.Element, name func(T) (key string, serial uint64)) {
	all := make([]T, 0, order.Len())
	for e := order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(T))
	}
	slices.SortFunc(all, func(a, b T) int {
		_, x := name(a)
		_, y := name(b)
		return cmp.Compare(y, x)
	})
	order.Init()
	for _, value := range all {
		key, _ := name(value)
		at[key] = order.PushBack(value)
	}
}

// restore takes a page; marks of pages that are missing are 0, which is no request's.
func (s *ring) restore(page int, body []byte) error {
	if len(body) < 8 || len(body)%8 != 0 || len(body) > 8*(pageMarks+1) {
		return fmt.Errorf("a page of %d bytes", len(body))
	}
	s.next = max(s.next, binary.BigEndian.Uint64(body))
	start := page * pageMarks
	for i := 8; i < len(body); i += 8 {
		place := start + i/8 - 1
		for len(s.marks) <= place {
			s.marks = append(s.marks, 0)
		}
		s.marks[place] = binary.BigEndian.Uint64(body[i:])
	}
	return nil
}

func (s *ring) restored() {
	clear(s.known)
	for _, mark := range s.marks {
		s.known[mark]++
	}
}

// forget drops what is remembered for a rule that is no more.
func (m *Matcher) forget(r *run) {
	for page := range (len(r.seen.marks) + pageMarks - 1) / pageMarks {
		m.change(seenRow(r.Rule, page), nil)
	}
	if r.windows != nil {
		for key := range r.windows.byKey {
			m.change(windowRow(r.Rule, key), nil)
		}
	}
	if r.firsts != nil {
		for key := range r.firsts.keys {
			m.change(firstRow(r.Rule, key), nil)
		}
		for id := range r.firsts.values {
			m.change(valueRow(r.Rule, id), nil)
		}
	}
}
