package rule

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds of windows: what they remember is bounded by what they ask for.
const (
	maxWindow   = 24 * time.Hour
	maxAbove    = 256
	maxRemember = 90 * 24 * time.Hour
)

// auditSpec is what only audit rules say, as written.
type auditSpec struct {
	rule             AuditRule
	by               []text
	of, weight, also text
	each, always     text
	ifs              []text // of rule.Severities
	attemptSummary   text
}

func (p *reader) auditRule(index int, n *yaml.Node) {
	spec := ruleSpec{node: n}
	p.label = label(index, n)
	defer func() { p.label = "" }()

	a := &spec.audit
	r := &a.rule
	hasBy := false
	known := p.about(&spec, &r.About)
	known["verbs"] = func(n *yaml.Node) { r.Verbs = p.words(n, "verbs") }
	known["resources"] = func(n *yaml.Node) {
		p.sequence(n, "resources", func(_ int, n *yaml.Node) { r.Resources = append(r.Resources, p.resource(n)) })
	}
	known["needs"] = func(n *yaml.Node) {
		r.Needs = AuditLevel(p.oneOf(n, "needs", "metadata", "request", "response"))
	}
	known["outcomes"] = func(n *yaml.Node) {
		p.sequence(n, "outcomes", func(_ int, n *yaml.Node) {
			r.Outcomes |= 1 << p.oneOf(n, "outcome", "allowed", "denied", "failed")
		})
	}
	known["by"] = func(n *yaml.Node) {
		hasBy = true
		p.sequence(n, "by", func(_ int, n *yaml.Node) { a.by = append(a.by, p.text(n, "by")) })
	}
	known["window"] = func(n *yaml.Node) { r.Window = p.window(n, a) }
	known["severities"] = func(n *yaml.Node) {
		p.sequence(n, "severities", func(_ int, n *yaml.Node) { p.severityIf(n, a) })
	}
	known["attempt"] = func(n *yaml.Node) { r.Attempt = p.attempt(n, a) }
	p.mapping(n, "an audit rule", known)
	p.finish(&spec, &r.About, map[string]bool{"by": hasBy || r.Window == nil})
	if r.Outcomes == 0 {
		r.Outcomes = OutcomeAllowed
		if r.Attempt != nil {
			r.Outcomes |= OutcomeDenied
		}
	}
	p.file.rules = append(p.file.rules, spec)
}

// oneOf returns the place of a word among those that can stand there.
func (p *reader) oneOf(n *yaml.Node, what string, words ...string) int {
	i := slices.Index(words, p.scalar(n, what))
	if i < 0 {
		p.report(n, "%s %q is not one of %s", what, n.Value, strings.Join(words, ", "))
		return 0
	}
	return i
}

// resource reads resource[.group][/subresource], or the path of requests for none.
func (p *reader) resource(n *yaml.Node) AuditResource {
	written := p.scalar(n, "resource")
	if strings.HasPrefix(written, "/") {
		if strings.Contains(strings.TrimSuffix(written, "*"), "*") {
			p.report(n, "path %q has a * that is not its end", written)
		}
		return AuditResource{Path: written}
	}
	name, subresource, divided := strings.Cut(written, "/")
	resource, group, grouped := strings.Cut(name, ".")
	if resource == "" || (divided && subresource == "") || (grouped && group == "") || strings.Contains(subresource, "/") {
		p.report(n, "resource %q is not resource, resource.group, resource/subresource or a path", written)
	}
	return AuditResource{Resource: resource, Subresource: subresource, Group: group}
}

func (p *reader) severityIf(n *yaml.Node, a *auditSpec) {
	var s AuditSeverity
	var condition text
	p.mapping(n, "one of severities", keys{
		"if":       func(n *yaml.Node) { condition = p.text(n, "if") },
		"severity": func(n *yaml.Node) { s.Severity = p.severity(n) },
	})
	p.require(n, map[string]bool{"if": condition.value != "", "severity": s.Severity != 0})
	a.rule.Severities, a.ifs = append(a.rule.Severities, s), append(a.ifs, condition)
}

func (p *reader) attempt(n *yaml.Node, a *auditSpec) *AuditAttempt {
	attempt := new(AuditAttempt)
	p.mapping(n, "attempt", keys{
		"severity": func(n *yaml.Node) { attempt.Severity = p.severity(n) },
		"summary":  func(n *yaml.Node) { a.attemptSummary = p.text(n, "summary") },
	})
	return attempt
}

// window reads over how many requests, and how many of what.
func (p *reader) window(n *yaml.Node, a *auditSpec) *AuditWindow {
	w := new(AuditWindow)
	var measures []Measure
	measure := func(m Measure, read func(n *yaml.Node)) func(*yaml.Node) {
		return func(n *yaml.Node) {
			measures = append(measures, m)
			read(n)
		}
	}
	above := func(n *yaml.Node) { w.Above = int64(p.number(n, "above", maxAbove)) }
	of := func(n *yaml.Node) { a.of = p.text(n, "of") }
	p.mapping(n, "window", keys{
		"over": func(n *yaml.Node) { w.Over = p.duration(n, "over", maxWindow) },
		"count": measure(MeasureCount, func(n *yaml.Node) {
			p.mapping(n, "count", keys{"above": above})
		}),
		"distinct": measure(MeasureDistinct, func(n *yaml.Node) {
			p.mapping(n, "distinct", keys{"above": above, "of": of, "also": func(n *yaml.Node) { a.also = p.text(n, "also") }})
		}),
		"score": measure(MeasureScore, func(n *yaml.Node) {
			p.mapping(n, "score", keys{"above": above, "of": of, "weight": func(n *yaml.Node) { a.weight = p.text(n, "weight") }})
		}),
		"first": measure(MeasureFirst, func(n *yaml.Node) {
			p.mapping(n, "first", keys{
				"of":       of,
				"each":     func(n *yaml.Node) { a.each = p.text(n, "each") },
				"always":   func(n *yaml.Node) { a.always = p.text(n, "always") },
				"learn":    func(n *yaml.Node) { w.Learn = p.duration(n, "learn", maxRemember) },
				"remember": func(n *yaml.Node) { w.Remember = p.duration(n, "remember", maxRemember) },
			})
		}),
	})
	if len(measures) != 1 {
		p.report(n, "window needs one of count, distinct, score, first")
		return w
	}
	w.Measure = measures[0]
	isFirst := w.Measure == MeasureFirst
	p.require(n, map[string]bool{
		"over": (w.Over > 0) != isFirst, "above": isFirst || w.Above > 0, "of": w.Measure == MeasureCount || (a.of.value != "") != (a.each.value != ""),
		"weight": w.Measure != MeasureScore || a.weight.value != "", "remember": !isFirst || w.Remember > 0,
	})
	return w
}

func (p *reader) number(n *yaml.Node, what string, most int) int {
	value, err := strconv.Atoi(p.scalar(n, what))
	if err != nil || value < 1 || value > most {
		p.report(n, "%s %q is not a number from 1 to %d", what, n.Value, most)
		return 1 // so that it is not missed as well
	}
	return value
}

func (p *reader) duration(n *yaml.Node, what string, most time.Duration) time.Duration {
	value, err := time.ParseDuration(p.scalar(n, what))
	if err != nil || value < 0 || value > most {
		p.report(n, "%s %q is not a time such as 5m, at most %s", what, n.Value, most)
		return 1
	}
	return value
}
