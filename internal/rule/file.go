package rule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Of which events the rules of a file are.
const (
	sourceRuntime = "runtime" // the agents'; what a file is of that says nothing
	sourceAudit   = "audit"   // the Kubernetes audit log's
)

// Bounds of a rule file, far above what people write: a bundle may come from afar.
const (
	maxFileBytes = 1 << 20
	maxRules     = 1024 // of all files
	maxListWords = 1 << 16
	// Exceptions of all files, counted once for each of their rules, as each is a metric.
	maxExceptions         = 1024
	maxExceptionNameBytes = 128
)

// Source is one rule file.
type Source struct {
	Name   string
	Data   []byte
	Origin Origin
}

// Origin says whose a rule file is, and with that what it may do to the rules of others.
type Origin uint8

const (
	// OriginBuiltin is what the program brings.
	OriginBuiltin Origin = iota
	// OriginLocal are files of this host. What they say is the floor: nothing from afar
	// replaces a rule of theirs or makes an exception to it.
	OriginLocal
	// OriginBundle came from afar. Its rules replace built-in ones of the same id.
	OriginBundle
)

// ReadFS reads all files of fsys that end in .yaml, in the order of their paths.
func ReadFS(fsys fs.FS) ([]Source, error) {
	var sources []Source
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".yaml" {
			return err
		}
		data, err := readFile(fsys, name)
		sources = append(sources, Source{Name: name, Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read rule files: %w", err)
	}
	return sources, nil
}

// readFile reads a file, but of one that is too large or never ends no more than the
// byte that parseFile refuses it by.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileBytes+1))
}

// file is a rule file as written.
type file struct {
	name   string
	origin Origin
	// source is of which events the rules are; where that is not what is loaded, no more
	// of them is read than the ids.
	source     string
	lines      []string
	lists      []listSpec
	marks      []markSpec
	functions  []functionSpec
	rules      []ruleSpec
	exceptions []exceptionSpec // to rules of any file
}

type listSpec struct {
	name  string
	node  *yaml.Node
	words []string
}

type markSpec struct {
	tree event.Tree
	list string
	node *yaml.Node
}

type ruleSpec struct {
	node *yaml.Node
	// label names the rule in problems: its id, or its ordinal.
	label      string
	id         string
	rule       Rule
	kinds      []event.Kind
	condition  text
	summary    text
	exceptions []exceptionSpec
	evidence   []evidenceSpec
	audit      auditSpec // of rules of that source
}

type exceptionSpec struct {
	Exception
	node      *yaml.Node
	condition text
	// rules are the ids that an exception outside a rule is to.
	rules []*yaml.Node
}

type evidenceSpec struct {
	name string
	expr text
}

// reader reads one file; what is wrong goes to problems and the rest is read on.
type reader struct {
	file     *file
	label    string
	problems *Problems
}

// parseFile reads the YAML of one file, for the rules of one source, without looking into
// its CEL.
func parseFile(source Source, wanted string, problems *Problems) *file {
	f := &file{name: source.Name, origin: source.Origin, source: sourceRuntime}
	p := &reader{file: f, problems: problems}
	if len(source.Data) > maxFileBytes {
		p.report(nil, "file has %d bytes, more than %d", len(source.Data), maxFileBytes)
		return f
	}
	f.lines = splitLines(string(source.Data))
	decoder := yaml.NewDecoder(bytes.NewReader(source.Data))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			p.report(nil, "file is empty")
		} else {
			p.report(nil, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		return f
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		p.report(nil, "file has more than one document")
	}
	if len(document.Content) != 1 {
		p.report(nil, "file is empty")
		return f
	}
	if said := lookup(document.Content[0], "source"); said != nil {
		f.source = p.source(said)
	}
	read := p.rule
	switch {
	case f.source != wanted:
		read = p.foreignRule
	case f.source == sourceAudit:
		read = p.auditRule
	}
	p.mapping(document.Content[0], "the file", keys{
		"source":    func(*yaml.Node) {},
		"lists":     p.lists,
		"marks":     p.marks,
		"functions": p.functions,
		"rules": func(n *yaml.Node) {
			p.sequence(n, "rules", read)
		},
		"exceptions": func(n *yaml.Node) {
			p.sequence(n, "exceptions", func(_ int, n *yaml.Node) { p.exceptionToRules(n) })
		},
	})
	return f
}

func (p *reader) report(n *yaml.Node, format string, args ...any) {
	problem := Problem{File: p.file.name, Rule: p.label, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		// What is missing at the end of a file counts as the line after it.
		problem.Line, problem.Column = min(n.Line, max(len(p.file.lines), 1)), n.Column
	}
	*p.problems = append(*p.problems, problem)
}

func (p *reader) lists(n *yaml.Node) {
	p.pairs(n, "lists", func(key, value *yaml.Node) {
		list := listSpec{name: key.Value, node: key, words: p.words(value, "list "+key.Value)}
		if !isName(list.name, '_') {
			p.report(key, "list name %q is not lower case letters, digits and underscores", key.Value)
			return
		}
		if len(list.words) > maxListWords {
			p.report(value, "list %s has %d words, more than %d", list.name, len(list.words), maxListWords)
			return
		}
		p.file.lists = append(p.file.lists, list)
	})
}

// marks reads which executables mark their tree; the reasons a file may give
// are those the kernel marks by name.
func (p *reader) marks(n *yaml.Node) {
	reasons := map[string]event.Tree{"web-server": event.TreeWebServer, "download": event.TreeDownload, "web": event.TreeWeb}
	p.pairs(n, "marks", func(key, value *yaml.Node) {
		reason, ok := reasons[key.Value]
		if !ok {
			p.report(key, "mark %q is not one of web-server, web, download", key.Value)
			return
		}
		p.sequence(value, "mark "+key.Value, func(_ int, list *yaml.Node) {
			p.file.marks = append(p.file.marks, markSpec{tree: reason, list: p.scalar(list, "mark "+key.Value), node: list})
		})
	})
}

// source reads of which events the rules of a file are.
func (p *reader) source(n *yaml.Node) string {
	switch name := p.scalar(n, "source"); name {
	case sourceRuntime, sourceAudit:
		return name
	default:
		p.report(n, "source %q is not one of runtime, audit", name)
		return sourceRuntime
	}
}

func (p *reader) rule(index int, n *yaml.Node) {
	spec := ruleSpec{node: n}
	p.label = label(index, n)
	defer func() { p.label = "" }()

	r := &spec.rule
	known := p.about(&spec, &r.About)
	known["kinds"] = func(n *yaml.Node) { spec.kinds = p.kinds(n) }
	known["scope"] = func(n *yaml.Node) { r.Scope = p.scope(n) }
	known["expensive"] = func(n *yaml.Node) { r.Expensive = p.boolean(n, "expensive") }
	p.mapping(n, "a rule", known)
	p.finish(&spec, &r.About, map[string]bool{"kinds": len(spec.kinds) > 0})
	if r.Scope == "" {
		r.Scope = ScopeAny
	}
	p.file.rules = append(p.file.rules, spec)
}

// foreignRule reads what others need to know of a rule of another source: its id.
func (p *reader) foreignRule(index int, n *yaml.Node) {
	spec := ruleSpec{node: n, label: label(index, n)}
	if id := lookup(n, "id"); id != nil && id.Kind == yaml.ScalarNode {
		spec.id = id.Value
	}
	p.file.rules = append(p.file.rules, spec)
}

// label names a rule in problems.
func label(index int, n *yaml.Node) string {
	if id := lookup(n, "id"); id != nil && id.Kind == yaml.ScalarNode && id.Value != "" {
		return id.Value
	}
	return fmt.Sprintf("#%d", index+1)
}

// about are the keys that rules of every source have.
func (p *reader) about(spec *ruleSpec, r *About) keys {
	return keys{
		"id":          func(n *yaml.Node) { r.ID = p.scalar(n, "id") },
		"catalogue":   func(n *yaml.Node) { r.Catalogue = p.words(n, "catalogue") },
		"title":       func(n *yaml.Node) { r.Title = p.scalar(n, "title") },
		"description": func(n *yaml.Node) { r.Description = strings.TrimSpace(p.scalar(n, "description")) },
		"severity":    func(n *yaml.Node) { r.Severity = p.severity(n) },
		"attack": func(n *yaml.Node) {
			p.mapping(n, "attack", keys{
				"tactics":    func(n *yaml.Node) { r.Tactics = p.words(n, "tactics") },
				"techniques": func(n *yaml.Node) { r.Techniques = p.words(n, "techniques") },
			})
		},
		"condition": func(n *yaml.Node) { spec.condition = p.text(n, "condition") },
		"exceptions": func(n *yaml.Node) {
			p.sequence(n, "exceptions", func(_ int, n *yaml.Node) { spec.exceptions = append(spec.exceptions, p.exception(n, nil)) })
		},
		"evidence": func(n *yaml.Node) {
			p.pairs(n, "evidence", func(key, value *yaml.Node) {
				spec.evidence = append(spec.evidence, evidenceSpec{key.Value, p.text(value, "evidence "+key.Value)})
			})
		},
		"summary": func(n *yaml.Node) { spec.summary = p.text(n, "summary") },
		"tags":    func(n *yaml.Node) { r.Tags = p.words(n, "tags") },
		"recordings": func(n *yaml.Node) {
			p.mapping(n, "recordings", keys{
				"positive": func(n *yaml.Node) { r.Recordings.Positive = p.words(n, "positive") },
				"negative": func(n *yaml.Node) { r.Recordings.Negative = p.words(n, "negative") },
			})
		},
	}
}

// finish reports what a rule lacks; more says so of the keys of its source.
func (p *reader) finish(spec *ruleSpec, r *About, more map[string]bool) {
	present := map[string]bool{
		"id": isName(r.ID, '-'), "title": r.Title != "", "severity": r.Severity != 0,
		"condition": spec.condition.value != "", "summary": spec.summary.value != "",
	}
	maps.Copy(present, more)
	p.require(spec.node, present)
	if len(r.Catalogue) == 0 {
		r.Catalogue = []string{r.ID}
	}
	spec.label, spec.id = p.label, r.ID
	r.File, r.Origin = p.file.name, p.file.origin
}

// require reports the keys that are missing or, said earlier, not usable.
func (p *reader) require(n *yaml.Node, present map[string]bool) {
	for _, key := range []string{"id", "title", "severity", "kinds", "condition", "summary", "by", "over", "above", "of", "weight",
		"remember", "if", "rule", "name", "author", "reason", "expires"} {
		if ok, wanted := present[key]; wanted && !ok {
			at := lookup(n, key)
			if at == nil {
				at = n
			}
			p.report(at, "%s is missing or not usable", key)
		}
	}
}

// exceptionToRules reads an exception that stands outside the rules it is to, and so
// names them.
func (p *reader) exceptionToRules(n *yaml.Node) {
	var rules []*yaml.Node
	defer func() { p.label = "" }()
	if named := lookup(n, "rule"); named != nil && named.Kind == yaml.ScalarNode {
		p.label = named.Value
	}
	e := p.exception(n, func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			if p.scalar(n, "rule") != "" {
				rules = append(rules, n)
			}
			return
		}
		p.sequence(n, "rule", func(_ int, n *yaml.Node) {
			if p.scalar(n, "rule") != "" {
				rules = append(rules, n)
			}
		})
	})
	e.rules = rules
	p.require(n, map[string]bool{"rule": len(rules) > 0})
	p.file.exceptions = append(p.file.exceptions, e)
}

// exception reads an exception; rule reads the key that says to what, nil: it stands in
// its rule.
func (p *reader) exception(n *yaml.Node, rule func(*yaml.Node)) exceptionSpec {
	e := exceptionSpec{node: n, Exception: Exception{File: p.file.name}}
	known := keys{
		"name": func(n *yaml.Node) {
			if e.Name = p.scalar(n, "name"); len(e.Name) > maxExceptionNameBytes {
				p.report(n, "name has %d bytes, more than %d", len(e.Name), maxExceptionNameBytes)
			}
		},
		"condition": func(n *yaml.Node) { e.condition = p.text(n, "condition") },
		"author":    func(n *yaml.Node) { e.Author = p.scalar(n, "author") },
		"reason":    func(n *yaml.Node) { e.Reason = p.scalar(n, "reason") },
		"expires": func(n *yaml.Node) {
			day, err := time.Parse(time.DateOnly, p.scalar(n, "expires"))
			if err != nil {
				p.report(n, "expires %q is not a day such as 2027-03-31", n.Value)
				return
			}
			e.Expires = day
		},
	}
	if rule != nil {
		known["rule"] = rule
	}
	p.mapping(n, "an exception", known)
	p.require(n, map[string]bool{
		"name": e.Name != "", "condition": e.condition.value != "", "author": e.Author != "", "reason": e.Reason != "",
		"expires": !e.Expires.IsZero(),
	})
	return e
}

func (p *reader) severity(n *yaml.Node) sensorv1.Severity {
	names := []string{"info", "low", "medium", "high", "critical"}
	i := slices.Index(names, p.scalar(n, "severity"))
	if i < 0 {
		p.report(n, "severity %q is not one of %s", n.Value, strings.Join(names, ", "))
	}
	return sensorv1.Severity(i + 1)
}

func (p *reader) scope(n *yaml.Node) Scope {
	scope := Scope(p.scalar(n, "scope"))
	switch scope {
	case ScopeContainer, ScopeHost, ScopeAny:
	default:
		p.report(n, "scope %q is not one of container, host, any", n.Value)
	}
	return scope
}

func (p *reader) kinds(n *yaml.Node) []event.Kind {
	var kinds []event.Kind
	p.sequence(n, "kinds", func(_ int, n *yaml.Node) {
		kind, ok := event.ParseKind(p.scalar(n, "kind"))
		switch {
		case !ok:
			p.report(n, "%q is no kind of event", n.Value)
		case slices.Contains(kinds, kind):
			p.report(n, "kind %s is given twice", kind)
		default:
			kinds = append(kinds, kind)
		}
	})
	return kinds
}

// isName reports whether s is lower case letters and digits in words joined by
// the separator, and begins with a letter.
func isName(s string, separator byte) bool {
	if s == "" || len(s) > 128 || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == separator {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != separator {
			return false
		}
	}
	return true
}
