package auditrule

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/seawall-security/seawall/internal/rule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// FoldWithin is how far apart, by request time, two matches of one key may be and still be
// one alert.
const FoldWithin = time.Hour

const (
	maxAuditIDs = 64 // that a match names
	maxEach     = 64 // values of one request, which are those of a pod's containers
)

// Match is a rule's yes to a request, or to several.
type Match struct {
	Rule     *Rule
	Severity sensorv1.Severity
	// Attempt says that the request was not allowed.
	Attempt  bool
	Summary  string
	Evidence map[string]string
	// Key is what repeats have in common: the rule and what its by says. It is hexadecimal
	// and the same at all times.
	Key string
	// AuditIDs are the requests that raised it, by their time: one, but of a window all that
	// were in it since it last raised. At most 64; Omitted counts the others.
	AuditIDs []string
	Omitted  int
	// Count is how many requests there are so far: 1, but of a window all that came without
	// a pause as long as it is.
	Count uint64
	// First and Last are the times of the first and the last of them.
	First, Last time.Time
}

// Matcher evaluates a Set. It is for one goroutine, but for Stats.
type Matcher struct {
	set      *Set
	limits   Limits
	excepted *rule.Excepted
	counts   counters

	request request
	found   []uint64 // rules that the request may match, as bits
	runs    []*run   // by place in the set's rules
	matches []Match
	key     []string // of the request and the rule at hand
	// changed are the rows that are to be stored, by what writes them; nil: forgotten.
	changed map[string]func() []byte
	serial  uint64 // of what was remembered last
}

// run is a rule and what is remembered for it.
type run struct {
	*Rule
	excepted []*atomic.Uint64
	counts   *ruleCounters
	seen     *ring
	windows  *windows // nil: the rule has no window
	firsts   *firsts  // nil: the rule's window is not of that kind
}

// NewMatcher makes a Matcher of the set, which counts what exceptions take out. excepted
// may be nil.
func NewMatcher(set *Set, limits Limits, excepted *rule.Excepted) *Matcher {
	m := &Matcher{limits: limits.withDefaults(), excepted: excepted, changed: make(map[string]func() []byte)}
	m.Use(set)
	return m
}

// Use goes on with other rules. What is remembered for a rule stays if its window is the
// same.
func (m *Matcher) Use(set *Set) {
	old := make(map[string]*run, len(m.runs))
	for _, r := range m.runs {
		old[r.ID] = r
	}
	m.set, m.runs = set, nil
	m.request = request{language: set.language, adapter: set.language.adapter, values: make([]ref.Val, len(set.language.variables))}
	m.found = make([]uint64, (len(set.rules)+63)/64)
	for _, made := range set.rules {
		r := &run{Rule: made, counts: m.counts.of(made.ID)}
		for _, e := range made.Exceptions {
			r.excepted = append(r.excepted, m.excepted.Counter(made.ID, e.Name))
		}
		before := old[made.ID]
		if before != nil && before.signature == made.signature {
			r.seen, r.windows, r.firsts = before.seen, before.windows, before.firsts
			delete(old, made.ID)
		} else {
			r.seen = newRing()
			switch {
			case made.Window == nil:
			case made.Window.Measure == rule.MeasureFirst:
				r.firsts = newFirsts()
			default:
				r.windows = newWindows()
			}
		}
		m.runs = append(m.runs, r)
	}
	for _, r := range old {
		m.forget(r)
	}
}

// Match returns what the rules have to say of a request, in the order of their files; it is
// valid until the next call. now is the time of the log, which never goes back: by it what
// is old is forgotten. The event is not kept.
func (m *Matcher) Match(e *auditv1.Event, now time.Time) []Match {
	clear(m.matches)
	m.matches = m.matches[:0]
	outcome := outcomeOf(e)
	if outcome == 0 || !m.collect(e, outcome) {
		return nil
	}
	m.request.begin(e)
	for word, rules := range m.found {
		for ; rules != 0; rules &= rules - 1 {
			m.try(m.runs[word*64+bits.TrailingZeros64(rules)], e, outcome, now)
		}
	}
	m.request.forget()
	return m.matches
}

// outcomeOf is how a request ended; 0: it has not, or nobody can tell.
func outcomeOf(e *auditv1.Event) rule.Outcomes {
	switch {
	case e.Stage == auditv1.Stage_STAGE_RECEIVED || e.Stage == auditv1.Stage_STAGE_UNSPECIFIED || e.Code == 0:
		return 0
	case isAllowed(e.Code):
		return rule.OutcomeAllowed
	case isDenied(e.Code):
		return rule.OutcomeDenied
	}
	return rule.OutcomeFailed
}

// collect finds the rules that are about the request, and reports whether there are any.
func (m *Matcher) collect(e *auditv1.Event, outcome rule.Outcomes) bool {
	clear(m.found)
	some := false
	add := func(i int) {
		r := m.runs[i]
		if r.Outcomes&outcome != 0 && (len(r.Verbs) == 0 || slices.Contains(r.Verbs, e.Verb)) {
			m.found[i/64] |= 1 << (i % 64)
			some = true
		}
	}
	o := e.GetObject()
	if o.GetResource() == "" {
		path := pathOf(e.RequestUri)
		for _, p := range m.set.paths {
			if coversPath(p.pattern.Path, path) {
				add(p.rule)
			}
		}
		return some
	}
	for _, places := range [...][]place{m.set.index[o.Resource], m.set.any} {
		for _, p := range places {
			if covers(p.pattern, o.ApiGroup, o.Subresource) {
				add(p.rule)
			}
		}
	}
	return some
}

// try evaluates one rule. Whatever goes wrong in it is counted, and no match.
func (m *Matcher) try(r *run, e *auditv1.Event, outcome rule.Outcomes, now time.Time) {
	defer func() {
		if recover() != nil {
			r.counts.errors.Add(1)
		}
	}()
	if err := m.evaluate(r, e, outcome, now); err != nil {
		r.counts.errors.Add(1)
	}
}

func (m *Matcher) evaluate(r *run, e *auditv1.Event, outcome rule.Outcomes, now time.Time) error {
	m.request.count, m.request.seen, m.request.also = 0, nil, nil
	yes, err := m.holds(r.condition)
	if errors.Is(err, errRounds) { // a request is not to hide behind that many elements
		r.counts.errors.Add(1)
		yes, err = true, nil
	}
	if err != nil || !yes {
		return err
	}
	// A value that is new is so once, however often it comes.
	if r.firsts == nil && !m.see(r, e) {
		return nil
	}
	for i := range r.exceptions {
		if r.Exceptions[i].Expired() {
			continue
		}
		// One that cannot tell takes nothing out.
		if yes, err := m.holds(r.exceptions[i]); err != nil {
			r.counts.errors.Add(1)
		} else if yes {
			r.excepted[i].Add(1)
			return nil
		}
	}
	by, err := m.by(r, e)
	if err != nil {
		return err
	}
	at := e.GetRequestTime().AsTime()
	match := Match{
		Rule: r.Rule, Attempt: outcome != rule.OutcomeAllowed, Key: hash(by...), AuditIDs: []string{e.AuditId}, Count: 1, First: at, Last: at,
	}
	if r.Window != nil {
		if raised, err := m.remember(r, e, &match, now); err != nil || !raised {
			return err
		}
	}
	m.describe(r, &match)
	r.counts.matches.Add(1)
	m.matches = append(m.matches, match)
	return nil
}

// by is what a rule's repeats have in common, beginning with the rule.
func (m *Matcher) by(r *run, e *auditv1.Event) ([]string, error) {
	key := append(m.key[:0], r.ID)
	defer func() { m.key = key[:0] }()
	if len(r.by) == 0 && r.Window == nil {
		o := e.GetObject()
		key = append(key, actorOf(e).GetName(), e.Verb, o.GetApiGroup(), o.GetResource(), o.GetSubresource(), o.GetNamespace(), o.GetName())
		if o == nil {
			key = append(key, pathOf(e.RequestUri))
		}
		return key, nil
	}
	for _, p := range r.by {
		text, err := m.text(p)
		if err != nil {
			return nil, err
		}
		key = append(key, text)
	}
	return key, nil
}

// describe adds to a match what is said of it.
func (m *Matcher) describe(r *run, match *Match) {
	fail := func(err error) bool {
		if err != nil {
			r.counts.errors.Add(1)
		}
		return err != nil
	}
	match.Severity = r.Severity
	if match.Attempt && r.Attempt != nil && r.Attempt.Severity != 0 {
		match.Severity = r.Attempt.Severity
	} else {
		for _, s := range r.severities {
			if yes, err := m.holds(s.condition); !fail(err) && yes {
				match.Severity = s.severity
				break
			}
		}
	}
	summary, err := m.text(r.summary)
	if fail(err) {
		summary = r.Title
	}
	if match.Attempt && r.Attempt != nil {
		if r.attempt.program == nil {
			summary = "Refused: " + summary
		} else if text, err := m.text(r.attempt); !fail(err) {
			summary = text
		}
	}
	match.Summary = summary
	if len(r.evidence) > 0 {
		match.Evidence = make(map[string]string, len(r.evidence))
	}
	for _, e := range r.evidence {
		text, err := m.text(e.text)
		if fail(err) {
			text = fmt.Sprintf("not available: %v", err)
		}
		match.Evidence[e.name] = text
	}
}

// eval evaluates an expression for the request at hand.
func (m *Matcher) eval(p program) (ref.Val, error) {
	if p.bounded {
		value, _, err := p.program.ContextEval(stopped{}, &m.request)
		return value, err
	}
	value, _, err := p.program.Eval(&m.request)
	return value, err
}

// run is eval, of which the value is Go's.
func (m *Matcher) run(p program) (any, error) {
	value, err := m.eval(p)
	if err != nil {
		return nil, err
	}
	return value.Value(), nil
}

// stopped is a context that is done from the start. A program looks at it when its macros
// have gone over maxRounds elements.
type stopped struct{}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (stopped) Deadline() (time.Time, bool) { return time.Time{}, false }
func (stopped) Done() <-chan struct{}       { return closed }
func (stopped) Err() error                  { return errRounds }
func (stopped) Value(any) any               { return nil }

var errRounds = fmt.Errorf("more than %d elements", maxRounds)

var errType = errors.New("an expression is of another type than when it was checked")

func (m *Matcher) holds(p program) (bool, error) {
	value, err := m.run(p)
	if err != nil {
		return false, err
	}
	yes, ok := value.(bool)
	if !ok {
		return false, errType
	}
	return yes, nil
}

func (m *Matcher) text(p program) (string, error) {
	value, err := m.run(p)
	if err != nil {
		return "", err
	}
	text, ok := value.(string)
	if !ok {
		return "", errType
	}
	return cut(text, maxTextBytes), nil
}

// texts are the different ones of a list, the first of very many.
func (m *Matcher) texts(p program) ([]string, error) {
	value, err := m.eval(p)
	if err != nil {
		return nil, err
	}
	list, ok := value.(traits.Iterable)
	if !ok {
		return nil, errType
	}
	var all []string
	for it := list.Iterator(); it.HasNext() == types.True && len(all) < maxEach; {
		if text := cut(textOf(it.Next()), maxTextBytes); !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all, nil
}

func (m *Matcher) weight(p program) (int64, error) {
	value, err := m.run(p)
	if err != nil {
		return 0, err
	}
	n, ok := value.(int64)
	if !ok {
		return 0, errType
	}
	return n, nil
}

// cut bounds a text without leaving half a character at its end. The result is the text's
// own copy: what is cut from is not kept.
func cut(text string, most int) string {
	if len(text) <= most {
		return strings.Clone(text)
	}
	end := most
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// hash names what the words have in common, in hexadecimal.
func hash(words ...string) string {
	sum := digest(words...)
	return hex.EncodeToString(sum[:16])
}

func digest(words ...string) [sha256.Size]byte {
	b := make([]byte, 0, 512)
	for _, word := range words {
		b = binary.AppendUvarint(b, uint64(len(word)))
		b = append(b, word...)
	}
	return sha256.Sum256(b)
}
