package auditrule_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// said is what matches say, in a word each.
func said(matches []auditrule.Match) string {
	var words []string
	for _, m := range matches {
		words = append(words, fmt.Sprintf("%s×%d[%s]", m.Summary, m.Count, strings.Join(m.AuditIDs, " ")))
	}
	return strings.Join(words, " ")
}

// reading is a request for a secret, so many seconds after the test day began.
func reading(id, name string, second int) *auditv1.Event {
	e := create(id, "")
	e.Verb, e.Object.Resource, e.Object.Name = "get", "secrets", name
	e.RequestTime = at(time.Duration(second) * time.Second)
	e.StageTime = e.RequestTime
	return e
}

type step struct {
	id, name string
	second   int
}

func TestWindows(t *testing.T) {
	const by = "by: [actor.name]\nsummary: string(count) + values.join(\"\")\n"
	for name, test := range map[string]struct {
		window string
		steps  []step
		want   []string // of each step
	}{
		"count": {
			"{over: 10s, count: {above: 2}}",
			[]step{{"a", "x", 0}, {"b", "x", 5}, {"c", "x", 11}, {"d", "x", 14}, {"e", "x", 15}, {"f", "x", 16}, {"g", "x", 17}, {"h", "x", 18}},
			[]string{"", "", "", "4×4[a b c d]", "", "", "", "8×8[e f g h]"}, // a is in no window with c and d, but without a pause before them
		},
		"count, apart": {
			"{over: 10s, count: {above: 2}}",
			[]step{{"a", "x", 0}, {"b", "x", 6}, {"c", "x", 12}, {"d", "x", 18}},
			[]string{"", "", "", ""},
		},
		"count, late and in any order": {
			"{over: 10s, count: {above: 2}}",
			[]step{{"a", "x", 100}, {"b", "x", 95}, {"a", "x", 100}, {"z", "x", 500}, {"c", "x", 103}},
			[]string{"", "", "", "", "3×3[b a c]"},
		},
		"count, after a pause": {
			"{over: 10s, count: {above: 1}}",
			[]step{{"a", "x", 0}, {"b", "x", 1}, {"c", "x", 50}, {"d", "x", 51}},
			[]string{"", "2×2[a b]", "", "2×2[c d]"},
		},
		"distinct": {
			"{over: 10s, distinct: {of: object.name, above: 2}}",
			[]step{{"a", "x", 0}, {"b", "x", 1}, {"c", "x", 2}, {"d", "y", 3}, {"e", "x", 4}, {"f", "z", 5}},
			[]string{"", "", "", "", "", "6xyz×6[a d e f]"},
		},
		"distinct, late beside a value that repeats": {
			"{over: 10s, distinct: {of: object.name, above: 2}}",
			[]step{{"a", "x", 0}, {"b", "x", 8}, {"c", "x", 16}, {"d", "y", 5}, {"e", "z", 15}},
			[]string{"", "", "", "", "5xyz×5[a d b e c]"},
		},
		"distinct, apart": {
			"{over: 10s, distinct: {of: object.name, above: 2}}",
			[]step{{"a", "x", 0}, {"d", "y", 3}, {"f", "z", 11}, {"g", "y", 12}},
			[]string{"", "", "", ""},
		},
		"score": {
			"{over: 10s, score: {of: object.name, weight: 'object.name == \"x\" ? 5 : 2', above: 6}}",
			[]step{{"a", "x", 0}, {"b", "x", 1}, {"c", "y", 2}},
			[]string{"", "", "7xy×3[a b c]"},
		},
		"score, never": {
			"{over: 10s, score: {of: object.name, weight: 'object.name == \"x\" ? 5 : -3', above: 6}}",
			[]step{{"a", "x", 0}, {"b", "x", 1}, {"c", "y", 2}, {"d", "z", 2}},
			[]string{"", "", "", ""},
		},
		"first": {
			"{first: {of: object.name, learn: 1m, remember: 1h}}",
			[]step{{"a", "x", 0}, {"b", "y", 59}, {"c", "z", 60}, {"d", "z", 61}, {"e", "x", 3000}, {"f", "x", 6000}, {"g", "x", 9601}, {"h", "y", 9602}},
			[]string{"", "", "1z×1[c]", "", "", "", "1x×1[g]", "1y×1[h]"},
		},
		"first, without learning": {
			"{first: {of: object.name, learn: 0s, remember: 1h}}",
			[]step{{"a", "x", 0}, {"b", "x", 1}, {"c", "y", 2}},
			[]string{"1x×1[a]", "", "1y×1[c]"},
		},
		"first, each of several": {
			`{first: {each: 'object.name == "xy" ? ["x", "y", "x"] : [object.name]', learn: 0s, remember: 1h}}`,
			[]step{{"a", "x", 0}, {"b", "xy", 1}, {"c", "y", 2}, {"d", "z", 3}},
			[]string{"1x×1[a]", "1y×1[b]", "", "1z×1[d]"},
		},
		"first, and some always": {
			`{first: {of: object.name, learn: 0s, remember: 1h, always: object.name == "x"}}`,
			[]step{{"a", "x", 0}, {"a", "x", 0}, {"b", "x", 1}, {"c", "y", 2}, {"d", "y", 3}},
			[]string{"1x×1[a]", "", "1x×1[b]", "1y×1[c]", ""},
		},
		"first, late": {
			"{first: {of: object.name, learn: 1m, remember: 1h}}",
			[]step{{"a", "x", 100}, {"b", "y", 20}, {"c", "z", 100}},
			[]string{"", "", "1z×1[c]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := matcher(t, oneRule(by+"window: "+test.window))
			now := day
			for i, s := range test.steps {
				e := reading(s.id, s.name, s.second)
				if at := e.RequestTime.AsTime(); at.After(now) {
					now = at
				}
				if got := said(m.Match(e, now)); got != test.want[i] {
					t.Errorf("step %d, %s: %q, want %q", i, s.id, got, test.want[i])
				}
				bob := proto.CloneOf(e) // has a key of his own
				bob.User.Name = "bob" + s.id
				bob.AuditId += "bob"
				if !strings.Contains(test.window, "learn: 0s") && len(m.Match(bob, now)) > 0 {
					t.Errorf("step %d: another key raises", i)
				}
			}
			for _, s := range m.Stats() {
				if s.Errors > 0 {
					t.Errorf("%d errors", s.Errors)
				}
			}
		})
	}
}

// What is told along with the values is that of all requests, and tells none apart.
func TestAlso(t *testing.T) {
	m := matcher(t, oneRule(`by: []
summary: values.join("") + " " + also.join("")
window: {over: 10s, distinct: {of: object.name, also: user_agent, above: 1}}
severities: [{if: size(also) > 1, severity: high}]`))
	var got []string
	for i, s := range []struct{ name, agent string }{{"x", "k"}, {"x", "l"}, {"x", "k"}, {"y", "k"}} {
		e := reading(fmt.Sprint(i), s.name, i)
		e.UserAgent = s.agent
		for _, match := range m.Match(e, e.RequestTime.AsTime()) {
			got = append(got, fmt.Sprint(match.Summary, " ", match.Severity))
		}
	}
	if fmt.Sprint(got) != "[xy kl SEVERITY_HIGH]" {
		t.Errorf("told %v", got)
	}
}

// windowRules have every sort of window.
const windowRules = `source: audit
rules:
  - {id: counts, title: T, severity: low, condition: 'true', by: [actor.name], summary: '"counts " + actor.name',
     window: {over: 30s, count: {above: 5}}}
  - {id: distincts, title: T, severity: low, condition: 'true', by: [actor.name], summary: '"distincts " + actor.name',
     window: {over: 30s, distinct: {of: object.name, above: 3}}}
  - {id: scores, title: T, severity: low, condition: 'true', by: [actor.name], summary: '"scores " + actor.name',
     window: {over: 30s, score: {of: object.name, weight: 'size(object.name)', above: 9}}}
  - {id: firsts, title: T, severity: low, condition: 'true', by: [actor.name], summary: '"firsts " + actor.name',
     window: {first: {of: object.name, learn: 100s, remember: 160s}}}
  - {id: singles, title: T, severity: low, condition: 'object.name == "ccc"', summary: '"singles " + actor.name'}
`

// moreRules have what windows can have besides.
const moreRules = `source: audit
rules:
  - {id: alsos, title: T, severity: low, condition: 'true', by: [actor.name], summary: '"alsos " + actor.name + text(size(also))',
     window: {over: 30s, distinct: {of: object.name, also: audit_id, above: 3}}}
  - {id: eachs, title: T, severity: low, condition: 'true', by: [actor.name], summary: '"eachs " + actor.name',
     window: {first: {each: '[object.name, verb]', learn: 100s, remember: 160s, always: object.name == "ccc"}}}
`

// stream is some requests of a few users within ten minutes.
func stream(r *rand.Rand, n int) []*auditv1.Event {
	events := make([]*auditv1.Event, n)
	for i := range events {
		// One name is asked for more often than others.
		name := []string{"a", "bb", "ccc", "dddd", "e", "ff"}[r.IntN(6)*r.IntN(2)]
		e := reading(fmt.Sprint("id", i), name, r.IntN(600))
		e.User.Name = string(rune('p' + r.IntN(5)))
		events[i] = e
	}
	return events
}

// exceeded are the rules and users that raise, by looking at all requests at once.
func exceeded(events []*auditv1.Event) map[string]bool {
	raised := make(map[string]bool)
	for _, first := range events {
		start, user := first.RequestTime.AsTime(), first.User.Name
		values, count, score := make(map[string]bool), 0, 0
		for _, e := range events {
			after := e.RequestTime.AsTime().Sub(start)
			if e.User.Name != user || after < 0 || after > 30*time.Second {
				continue
			}
			if count++; !values[e.Object.Name] {
				values[e.Object.Name] = true
				score += len(e.Object.Name)
			}
		}
		if count > 5 {
			raised["counts "+user] = true
		}
		if len(values) > 3 {
			raised["distincts "+user] = true
		}
		if score > 9 {
			raised["scores "+user] = true
		}
	}
	return raised
}

// TestOrder is that what raises does not depend on the order in which records come, nor on
// how often.
func TestOrder(t *testing.T) {
	set := load(t, windowRules)
	raisedBy := make(map[string]int)
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		events := stream(r, 40+r.IntN(200))
		want := exceeded(events)
		arriving := slices.Concat(events, events[:r.IntN(len(events))])
		r.Shuffle(len(arriving), func(i, j int) { arriving[i], arriving[j] = arriving[j], arriving[i] })
		if seed%2 == 0 { // nearly in order, most of them
			late := make(map[*auditv1.Event]time.Duration)
			for _, e := range arriving {
				if r.IntN(5) == 0 {
					late[e] = time.Duration(r.IntN(100)) * time.Second
				}
			}
			slices.SortStableFunc(arriving, func(a, b *auditv1.Event) int {
				return a.RequestTime.AsTime().Add(late[a]).Compare(b.RequestTime.AsTime().Add(late[b]))
			})
		}
		m := auditrule.NewMatcher(set, auditrule.Limits{}, nil)
		got := make(map[string]bool)
		for _, e := range arriving {
			for _, match := range m.Match(e, day.Add(10*time.Minute)) {
				if match.Rule.Window != nil && match.Rule.ID != "firsts" {
					got[match.Summary] = true
				}
			}
		}
		for key := range want {
			if raisedBy[strings.Fields(key)[0]]++; !got[key] {
				t.Errorf("seed %d: %s does not raise", seed, key)
			}
		}
		for key := range got {
			if !want[key] {
				t.Errorf("seed %d: %s raises", seed, key)
			}
		}
	}
	for _, rule := range []string{"counts", "distincts", "scores"} {
		if n := raisedBy[rule]; n < 20 || n > 5*300-20 {
			t.Errorf("%s raises %d times of %d: the test tells nothing", rule, n, 5*300)
		}
	}
}

// TestRestore is that a matcher that was given the rows of another goes on like it.
func TestRestore(t *testing.T) {
	for _, rules := range []string{windowRules, moreRules} {
		testRestore(t, load(t, rules))
	}
}

func testRestore(t *testing.T, set *auditrule.Set) {
	t.Helper()
	limits := auditrule.Limits{Keys: 3, Entries: 60, Values: 12} // so that some are forgotten
	matched := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		events := stream(r, 600)
		slices.SortStableFunc(events, func(a, b *auditv1.Event) int {
			return a.RequestTime.AsTime().Compare(b.RequestTime.AsTime())
		})
		for i := range len(events) - 20 { // some come late, some twice
			if j := i + r.IntN(20); r.IntN(4) == 0 {
				events[i], events[j] = events[j], events[i]
			} else if r.IntN(10) == 0 {
				events[j] = events[i]
			}
		}
		whole, parts := auditrule.NewMatcher(set, limits, nil), auditrule.NewMatcher(set, limits, nil)
		rows := make(map[string][]byte)
		for i, e := range events {
			now := day.Add(time.Duration(i) * 3 * time.Second)
			a, b := said(whole.Match(e, now)), said(parts.Match(e, now))
			if a != b {
				t.Fatalf("seed %d, event %d: %q with restarts, %q without", seed, i, b, a)
			}
			if a != "" {
				matched++
			}
			if r.IntN(5) == 0 {
				for _, row := range parts.Changes() {
					if rows[row.Key] = row.Body; row.Body == nil {
						delete(rows, row.Key)
					}
				}
			}
			if r.IntN(50) == 0 {
				parts = restart(t, set, limits, parts, rows)
			}
		}
	}
	if matched < 1000 {
		t.Errorf("%d matches: the test tells nothing", matched)
	}
}

// restart stores what has changed and makes another matcher of it.
func restart(t *testing.T, set *auditrule.Set, limits auditrule.Limits, m *auditrule.Matcher, rows map[string][]byte) *auditrule.Matcher {
	t.Helper()
	for _, row := range m.Changes() {
		if rows[row.Key] = row.Body; row.Body == nil {
			delete(rows, row.Key)
		}
	}
	restored := auditrule.NewMatcher(set, limits, nil)
	for key, body := range rows {
		if err := restored.Restore(auditrule.Row{Key: key, Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	restored.Restored()
	if n := len(restored.Changes()); n != 0 {
		t.Fatalf("%d rows change by restoring them", n)
	}
	return restored
}

// TestUse is that new rules go on with what the old ones remember, where they are the same.
func TestUse(t *testing.T) {
	rules := func(over string) *auditrule.Set {
		return load(t, oneRule("by: [actor.name]\nwindow: {over: "+over+", count: {above: 1}}\nsummary: string(count)"))
	}
	m := auditrule.NewMatcher(rules("10s"), auditrule.Limits{}, nil)
	m.Match(reading("a", "x", 0), day)
	m.Use(rules("10s"))
	if got := said(m.Match(reading("b", "x", 1), day)); got != "2×2[a b]" {
		t.Errorf("after the same rules %q", got)
	}
	rows := make(map[string][]byte)
	for _, row := range m.Changes() {
		rows[row.Key] = row.Body
	}
	m.Match(reading("c", "x", 100), day)
	m.Use(rules("20s"))
	if got := said(m.Match(reading("d", "x", 101), day)); got != "" {
		t.Errorf("after other rules %q", got)
	}
	forgotten := 0
	for _, row := range m.Changes() {
		if row.Body == nil && rows[row.Key] != nil {
			forgotten++
		}
	}
	if forgotten != len(rows) || forgotten < 2 {
		t.Errorf("%d of %d rows of the old rule are forgotten", forgotten, len(rows))
	}
	// A restart with other rules forgets rows, too.
	other := auditrule.NewMatcher(rules("30s"), auditrule.Limits{}, nil)
	for key, body := range rows {
		if err := other.Restore(auditrule.Row{Key: key, Body: body}); err != nil {
			t.Error(err)
		}
	}
	if n := len(other.Changes()); n != len(rows) {
		t.Errorf("%d of %d rows are forgotten", n, len(rows))
	}
}

// TestBounds is that memory is bounded, and what is forgotten is counted.
func TestBounds(t *testing.T) {
	limits := auditrule.Limits{Keys: 10, Entries: 100, Values: 50}
	m := auditrule.NewMatcher(load(t, windowRules), limits, nil)
	rows := make(map[string]bool)
	for i := range 20000 {
		e := reading(fmt.Sprint("id", i), fmt.Sprint("name", i%7919), i%60)
		e.User.Name = fmt.Sprint("user", i%101)
		m.Match(e, day)
		if i%100 == 0 {
			for _, row := range m.Changes() {
				if rows[row.Key] = true; row.Body == nil {
					delete(rows, row.Key)
				} else if len(row.Body) > 32<<10 {
					t.Fatalf("row %s has %d bytes", row.Key, len(row.Body))
				}
			}
		}
	}
	// Three rules with keys, one with keys and values, and 32 pages of each rule.
	if n := len(rows); n > 4*10+50+5*32 {
		t.Errorf("%d rows", n)
	}
	for _, s := range m.Stats() {
		if s.Rule != "singles" && s.Evicted == 0 {
			t.Errorf("rule %s: nothing was evicted", s.Rule)
		}
	}
	// Keys that nothing comes to go with time.
	e := reading("last", "x", 100000)
	m.Match(e, day.Add(100000*time.Second))
	for _, row := range m.Changes() {
		if rows[row.Key] = true; row.Body == nil {
			delete(rows, row.Key)
		}
	}
	for key := range rows {
		if strings.HasPrefix(key, "window/") && strings.Count(key, "counts") > 0 {
			delete(rows, key)
			if rows["counted"] {
				t.Error("an old key is still there")
			}
			rows["counted"] = true
		}
	}
}

// TestRestoreBad is that rows that are damaged are errors.
func TestRestoreBad(t *testing.T) {
	m := matcher(t, windowRules)
	for i := range 20 {
		m.Match(reading(fmt.Sprint(i), "x", i), day)
	}
	for _, row := range m.Changes() {
		if row.Body == nil {
			continue
		}
		fresh := matcher(t, windowRules)
		if err := fresh.Restore(auditrule.Row{Key: row.Key, Body: row.Body[:len(row.Body)-1]}); err == nil {
			t.Errorf("row %s is restored of a part", row.Key)
		}
		kind, rest, _ := strings.Cut(row.Key, "/")
		if err := fresh.Restore(auditrule.Row{Key: "x" + kind + "/" + rest, Body: row.Body}); err == nil {
			t.Errorf("a row of kind x%s is restored", kind)
		}
	}
	if err := m.Restore(auditrule.Row{Key: "window"}); err == nil {
		t.Error("a row without a rule is restored")
	}
}
