package auditrule

import (
	"container/list"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/rule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// Bounds of what windows remember.
const (
	// lateness is how much later than others of its key a record may come and still be
	// counted with those of its time.
	lateness = 15 * time.Minute
	// maxEntries bounds the requests of one key: some of what a window can ask for, above
	// which it raises anyway.
	maxEntries    = 1024
	maxValueBytes = 128
	// maxValues bounds what summaries are told of the values.
	maxValues = 16
)

// Limits bound what a matcher remembers. Zero fields have defaults.
type Limits struct {
	// Keys are those of one rule with a window: 4,096. The one that was longest without a
	// request goes.
	Keys int
	// Entries are the requests that the keys of one rule are made of: 16,384.
	Entries int
	// Values are those that a rule knows as seen before: 65,536.
	Values int
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		limit  *int
		number int
	}{{&l.Keys, 4096}, {&l.Entries, 16384}, {&l.Values, 65536}} {
		if *d.limit <= 0 {
			*d.limit = d.number
		}
	}
	return l
}

// windows are the keys of a rule that counts, distinguishes or scores, the one that was
// touched last in front.
type windows struct {
	byKey   map[string]*list.Element // of *window
	order   *list.List
	entries int
}

func newWindows() *windows { return &windows{byKey: make(map[string]*list.Element), order: list.New()} }

// window is what is remembered of one key. Before it raises these are its requests; then
// it only counts, until there was none for as long as the rule's window is.
type window struct {
	Key     string  `json:"k"`
	Serial  uint64  `json:"s"`
	Touched int64   `json:"t"` // by the log's time, ns
	Entries []entry `json:"e,omitempty"`
	Raised  *raised `json:"r,omitempty"`

	changed bool // its row is among the matcher's changes
}

// entry is one request. Times are ns.
type entry struct {
	At     int64  `json:"t"`
	ID     string `json:"i"`
	Value  string `json:"v,omitempty"`
	Also   string `json:"a,omitempty"` // told along with the value
	Weight int64  `json:"w,omitempty"`
	// Others are requests of the value beside it that need no entry of their own.
	Others int `json:"o,omitempty"`
}

// raised is a stretch of requests without a pause as long as the window.
type raised struct {
	First   int64    `json:"f"`
	Last    int64    `json:"l"`
	Count   uint64   `json:"c"`
	Next    uint64   `json:"n"`           // raises again at this count
	IDs     []string `json:"i,omitempty"` // since it raised last
	Omitted int      `json:"o,omitempty"`
	Values  []string `json:"v,omitempty"`
	Also    []string `json:"a,omitempty"`
	Measure int64    `json:"m"` // what the window that raised had
}

// remember adds a request to its key and reports whether that raises; match has then what
// the window knows.
func (m *Matcher) remember(r *run, e *auditv1.Event, match *Match, now time.Time) (bool, error) {
	added := entry{At: match.First.UnixNano(), ID: e.AuditId, Weight: 1}
	var err error
	if r.firsts != nil {
		return m.isFirst(r, e, match, now)
	}
	if r.window.of.program != nil {
		if added.Value, err = m.text(r.window.of); err != nil {
			return false, err
		}
	}
	if r.window.also.program != nil {
		if added.Also, err = m.text(r.window.also); err != nil {
			return false, err
		}
	}
	if r.window.weight.program != nil {
		if added.Weight, err = m.weight(r.window.weight); err != nil {
			return false, err
		}
		added.Weight = min(max(added.Weight, 0), math.MaxInt32)
	}
	added.Value, added.Also = cut(added.Value, maxValueBytes), cut(added.Also, maxValueBytes)
	w := m.windowOf(r, match.Key, now)
	before := len(w.Entries)
	isRaised := w.add(r.Window, added, r.counts)
	r.windows.entries += len(w.Entries) - before
	for r.windows.entries > m.limits.Entries && r.windows.order.Len() > 1 {
		m.evict(r, r.windows.order.Back())
	}
	if !isRaised {
		return false, nil
	}
	x := w.Raised
	match.AuditIDs, match.Omitted, match.Count = x.IDs, x.Omitted, x.Count
	match.First, match.Last = time.Unix(0, x.First).UTC(), time.Unix(0, x.Last).UTC()
	m.request.count, m.request.seen = int64(x.Count), slices.Clone(x.Values)
	m.request.also = slices.Clone(x.Also)
	if r.Window.Measure == rule.MeasureScore {
		m.request.count = x.Measure
	}
	x.IDs, x.Omitted = nil, 0
	return true, nil
}

// windowOf returns that of a key, touched.
func (m *Matcher) windowOf(r *run, key string, now time.Time) *window {
	keep := r.Window.Over + lateness
	for back := r.windows.order.Back(); back != nil; back = r.windows.order.Back() {
		w := back.Value.(*window)
		if w.Key == key || now.UnixNano()-w.Touched <= int64(keep) {
			break
		}
		m.drop(r, back)
	}
	m.serial++
	at := r.windows.byKey[key]
	if at == nil {
		if r.windows.order.Len() >= m.limits.Keys {
			m.evict(r, r.windows.order.Back())
		}
		at = r.windows.order.PushFront(&window{Key: key})
		r.windows.byKey[key] = at
	}
	w := at.Value.(*window)
	r.windows.order.MoveToFront(at)
	w.Serial, w.Touched = m.serial, now.UnixNano()
	if !w.changed {
		w.changed = true
		m.change(windowRow(r.Rule, key), w.row)
	}
	return w
}

func (m *Matcher) evict(r *run, at *list.Element) {
	r.counts.evicted.Add(1)
	m.drop(r, at)
}

func (m *Matcher) drop(r *run, at *list.Element) {
	w := at.Value.(*window)
	r.windows.entries -= len(w.Entries)
	r.windows.order.Remove(at)
	delete(r.windows.byKey, w.Key)
	m.change(windowRow(r.Rule, w.Key), nil)
}

// add counts a request in and reports whether the key raises now.
func (w *window) add(of *rule.AuditWindow, e entry, counts *ruleCounters) bool {
	if x := w.Raised; x != nil {
		switch {
		case x.reaches(e.At, of.Over):
			x.absorb(e)
			w.extend(of.Over)
			return x.isDue()
		case e.At > x.Last:
			w.Raised = nil
		}
		// Else it is of long before: it may be part of an earlier stretch.
	}
	if of.Measure != rule.MeasureCount && w.replace(e, of.Over) {
		return false
	}
	i, _ := slices.BinarySearchFunc(w.Entries, e, entry.compare)
	w.Entries = slices.Insert(w.Entries, i, e)
	newest := w.Entries[len(w.Entries)-1].At
	if w.Raised != nil {
		newest = max(newest, w.Raised.Last)
	}
	old := 0
	for old < len(w.Entries) && newest-w.Entries[old].At > int64(of.Over+lateness) {
		old++
	}
	w.Entries = slices.Delete(w.Entries, 0, old)
	if of.Measure != rule.MeasureCount {
		w.thin(e, of.Over)
	}
	if len(w.Entries) > maxEntries {
		counts.dropped.Add(uint64(len(w.Entries) - maxEntries))
		w.Entries = slices.Delete(w.Entries, 0, len(w.Entries)-maxEntries)
	}
	from, to, measured := w.exceeds(of)
	if to == 0 {
		return false
	}
	for from > 0 && w.Entries[from].At-w.Entries[from-1].At <= int64(of.Over) {
		from--
	}
	for to < len(w.Entries) && w.Entries[to].At-w.Entries[to-1].At <= int64(of.Over) {
		to++
	}
	x := w.Raised
	if x == nil {
		x = &raised{First: w.Entries[from].At, Last: w.Entries[from].At}
		w.Raised = x
	}
	for _, e := range w.Entries[from:to] {
		x.absorb(e)
	}
	x.Measure, x.Next = max(x.Measure, measured), x.Count
	w.Entries = slices.Delete(w.Entries, from, to)
	w.extend(of.Over)
	return x.isDue()
}

// same reports whether two requests say the same.
func (e entry) same(other entry) bool { return e.Value == other.Value && e.Also == other.Also }

func (e entry) compare(other entry) int {
	if e.At != other.At {
		return int(min(max(e.At-other.At, -1), 1))
	}
	return strings.Compare(e.ID, other.ID)
}

// replace puts a request in the place of the last one, if that has its value and could be
// thinned out between the one before and this: then no window has more than it had. That is
// the common case, and spares looking at all.
func (w *window) replace(e entry, over time.Duration) bool {
	n := len(w.Entries)
	if n < 2 {
		return false
	}
	before, last := &w.Entries[n-2], &w.Entries[n-1]
	if !before.same(e) || !last.same(e) || e.compare(*last) <= 0 || e.At-before.At > int64(over) ||
		e.At-w.Entries[0].At > int64(over+lateness) {
		return false
	}
	before.Others += 1 + last.Others
	*last = e
	return true
}

// thin drops a request of a value that has another of it on either side, so close together
// that there is no window without one of the two.
func (w *window) thin(like entry, over time.Duration) {
	last := [2]int{-1, -1} // places of the two before
	for i := 0; i < len(w.Entries); i++ {
		if !w.Entries[i].same(like) {
			continue
		}
		if last[0] >= 0 && w.Entries[i].At-w.Entries[last[0]].At <= int64(over) {
			w.Entries[last[0]].Others += 1 + w.Entries[last[1]].Others
			w.Entries = slices.Delete(w.Entries, last[1], last[1]+1)
			i--
			last[1] = i
			continue
		}
		last[0], last[1] = last[1], i
	}
}

// exceeds finds the first of the rule's windows that has more than it may: entries
// [from, to). to is 0 if there is none.
func (w *window) exceeds(of *rule.AuditWindow) (from, to int, measured int64) {
	if of.Measure == rule.MeasureCount {
		for from := range w.Entries {
			to := from + int(of.Above)
			if to < len(w.Entries) && w.Entries[to].At-w.Entries[from].At <= int64(of.Over) {
				to++
				return from, to, int64(to - from)
			}
		}
		return 0, 0, 0
	}
	type weighed struct {
		entries int // of the window that have the value
		weight  int64
	}
	values := make(map[string]weighed)
	sum := int64(0)
	for to := range w.Entries {
		e := w.Entries[to]
		v := values[e.Value]
		if v.entries == 0 {
			v.weight = 1
			if of.Measure == rule.MeasureScore {
				v.weight = e.Weight
			}
			sum += v.weight
		}
		v.entries++
		values[e.Value] = v
		for ; e.At-w.Entries[from].At > int64(of.Over); from++ {
			old := values[w.Entries[from].Value]
			if old.entries--; old.entries == 0 {
				sum -= old.weight
			}
			values[w.Entries[from].Value] = old
		}
		if sum > of.Above {
			return from, to + 1, sum
		}
	}
	return 0, 0, 0
}

// extend takes entries in that have come to be part of the stretch.
func (w *window) extend(over time.Duration) {
	for i := 0; i < len(w.Entries); {
		if e := w.Entries[i]; w.Raised.reaches(e.At, over) {
			w.Raised.absorb(e)
			w.Entries = slices.Delete(w.Entries, i, i+1)
			i = 0
			continue
		}
		i++
	}
}

func (x *raised) reaches(at int64, over time.Duration) bool {
	return at >= x.First-int64(over) && at <= x.Last+int64(over)
}

func (x *raised) absorb(e entry) {
	x.First, x.Last = min(x.First, e.At), max(x.Last, e.At)
	x.Count += 1 + uint64(e.Others)
	x.Omitted += e.Others
	if len(x.IDs) < maxAuditIDs {
		x.IDs = append(x.IDs, e.ID)
	} else {
		x.Omitted++
	}
	x.Values, x.Also = withValue(x.Values, e.Value), withValue(x.Also, e.Also)
}

// withValue are the values with another one, if it is, and there are few.
func withValue(values []string, value string) []string {
	if value == "" || len(values) >= maxValues || slices.Contains(values, value) {
		return values
	}
	return append(values, value)
}

// isDue reports whether the key raises at this count, and says when it does again.
func (x *raised) isDue() bool {
	if x.Count < x.Next {
		return false
	}
	x.Next = 2 * x.Count
	return true
}
