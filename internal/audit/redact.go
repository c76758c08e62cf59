package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/seawall-security/seawall/internal/redact"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// MaxBodyBytes bounds what is kept of a request or a response, each: with both an event
// fits into one message of the log.
const MaxBodyBytes = 384 << 10

// dropped stands where a Secret's value was: not even a hash of it is kept, for short
// values could be guessed by who has the key.
const dropped = "[dropped]"

// lastApplied is kubectl's copy of the whole object, as JSON in an annotation.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Redactor takes secrets out of events. It never changes and may be used by any goroutine.
type Redactor struct{ text *redact.Redactor }

// NewRedactor masks with the cluster's redactor, so that a secret that also stood in a
// process's arguments has the same mask.
func NewRedactor(r *redact.Redactor) *Redactor { return &Redactor{r} }

// Event takes the secrets out of an event, in place: values of Secrets are dropped, issued
// tokens and credentials elsewhere masked. Bodies above [MaxBodyBytes] lose their longest
// texts, then parts of their structure, and the event says how much of each. A body that
// cannot be read is left out as a whole, and the error says so; the event is usable. An
// event that was redacted stays as it is.
func (r *Redactor) Event(e *auditv1.Event) error {
	e.RequestUri = r.uri(e.RequestUri)
	e.UserAgent, e.Message = r.text.Text(e.UserAgent), r.text.Text(e.Message)
	for name, value := range e.Annotations {
		e.Annotations[name] = r.text.Named(name, value)
	}
	if e.Entry != nil {
		r.text.Args(e.Entry.Command)
	}
	m := open
	if o := e.GetObject(); o.GetResource() == "secrets" && o.GetApiGroup() == "" {
		m = secret
	}
	var errs [2]error
	var gone left // beside what was left out before
	if len(e.Request) > 0 {
		e.Request, gone, errs[0] = r.body("requestObject", e.Request, m)
		e.RequestOmittedBytes, e.RequestShortenedBytes = e.RequestOmittedBytes+gone.omitted, e.RequestShortenedBytes+gone.shortened
	}
	if len(e.Response) > 0 {
		e.Response, gone, errs[1] = r.body("responseObject", e.Response, m)
		e.ResponseOmittedBytes, e.ResponseShortenedBytes = e.ResponseOmittedBytes+gone.omitted, e.ResponseShortenedBytes+gone.shortened
	}
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// uri masks a path with its query. Words of a command are judged together. What nobody reads
// as a parameter stays one that nobody reads.
func (r *Redactor) uri(uri string) string {
	path, query, found := strings.Cut(uri, "?")
	path = r.text.Text(path)
	if !found {
		return path
	}
	var pairs, words []string
	var at []int // of words among pairs
	for pair := range strings.SplitSeq(query, "&") {
		name, value, ok := parameter(pair)
		switch {
		case !ok:
			if pair = strings.ReplaceAll(r.text.Text(pair), "&", ";"); pair != "" && !strings.Contains(pair, ";") {
				pair += ";"
			}
		case name == "command" || name == "cmd":
			at, words = append(at, len(pairs)), append(words, value)
			pair = url.QueryEscape(name) + "="
		default:
			pair = url.QueryEscape(name) + "=" + url.QueryEscape(r.text.Named(name, value))
		}
		pairs = append(pairs, pair)
	}
	r.text.Args(words)
	for i, word := range words {
		pairs[at[i]] += url.QueryEscape(word)
	}
	return path + "?" + strings.Join(pairs, "&")
}

// body masks JSON and makes it fit. Texts and parts go before anybody reads them, so what is
// read is bounded; what masks have made too long is made to fit again.
func (r *Redactor) body(name string, raw []byte, m manner) (kept []byte, gone left, err error) {
	none := left{omitted: uint64(len(raw))}
	if len(raw) > MaxBodyBytes {
		if !json.Valid(raw) {
			return nil, none, fmt.Errorf("%s is left out: it is no JSON", name)
		}
		if raw, gone = shrink(raw, MaxBodyBytes); raw == nil {
			return nil, none, nil
		}
	}
	var value any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return nil, none, fmt.Errorf("%s is left out: %w", name, err)
	}
	if kept, err = encode(r.value("", value, m)); err != nil {
		return nil, none, fmt.Errorf("%s is left out: %w", name, err)
	}
	kept, more := shrink(kept, MaxBodyBytes)
	if kept == nil {
		return nil, none, nil
	}
	gone.add(more)
	return kept, gone, nil
}

func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // < and > are frequent in commands
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// manner says how the values below a place are judged.
type manner int

const (
	open       manner = iota
	secret            // a Secret, several, or a patch to one: fields that are not known to be harmless go
	secretMeta        // a Secret's metadata: names and labels stay
	secretData        // everything goes
)

// ofSecret says how fields of a Secret, or around several, are judged; others are its data.
var ofSecret = map[string]manner{
	"kind": open, "apiVersion": open, "type": open, "immutable": open,
	"op": open, "path": open, "from": open, // of a JSON patch
	"metadata": secretMeta,
	"items":    secret, "rows": secret, "object": secret,
}

func (m manner) of(field string) manner {
	if m != secret {
		return m
	}
	if m, known := ofSecret[field]; known {
		return m
	}
	return secretData
}

// value masks what is below the key, in place where that can be.
func (r *Redactor) value(key string, v any, m manner) any {
	switch v := v.(type) {
	case map[string]any:
		return r.object(v, m)
	case []any:
		for i := range v {
			v[i] = r.value(key, v[i], m)
		}
		return v
	case string:
		return r.leaf(key, v, m)
	case json.Number, bool:
		if m == secret || m == secretData {
			return dropped
		}
	}
	return v
}

func (r *Redactor) object(object map[string]any, m manner) any {
	if kind, _ := object["kind"].(string); m == open && (kind == "Secret" || kind == "SecretList") && isCore(object) {
		m = secret
	}
	if m == open {
		r.named(object)
		r.commands(object)
	}
	path, patch := object["path"].(string)
	_, operates := object["op"].(string)
	for name, v := range object {
		switch {
		case name == "value" && patch && operates:
			object[name] = r.operation(path, v, m.of(name))
		case name == "binaryData" && m == open:
			object[name] = r.value(name, v, secretData) // a ConfigMap's, which nobody can look into
		default:
			object[name] = r.value(name, v, m.of(name))
		}
	}
	return object
}

func isCore(object map[string]any) bool {
	version, ok := object["apiVersion"].(string)
	return !ok || version == "v1"
}

// named masks values whose name stands beside them: variables of an environment.
func (r *Redactor) named(object map[string]any) {
	name, isNamed := object["name"].(string)
	if value, ok := object["value"].(string); ok && isNamed {
		object["value"] = r.text.Named(name, value)
	}
}

// commands masks what a container runs: command and args are one command line.
func (r *Redactor) commands(object map[string]any) {
	command, args := words(object["command"]), words(object["args"])
	line := append(append([]string{}, command...), args...)
	if r.text.Args(line) == 0 {
		return
	}
	for i, list := 0, [][]any{anys(object["command"], command), anys(object["args"], args)}; i < len(list); i++ {
		for j := range list[i] {
			list[i][j], line = line[0], line[1:]
		}
	}
}

// words is a list of strings; nil: it is none.
func words(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		out = append(out, s)
	}
	return out
}

// anys is the list that words were read from; nil: they were none.
func anys(v any, read []string) []any {
	if read == nil {
		return nil
	}
	list, _ := v.([]any)
	return list
}

func (r *Redactor) leaf(key, value string, m manner) string {
	switch {
	case m == secret, m == secretData, m == secretMeta && key == lastApplied:
		return dropped
	case key == lastApplied:
		return r.applied(value)
	}
	return r.text.Named(key, r.manifests(value))
}

// applied masks an object that stands in an annotation. One that cannot be read goes.
func (r *Redactor) applied(text string) string {
	kept, _, err := r.body(lastApplied, []byte(text), open)
	if err != nil || kept == nil {
		return dropped
	}
	return string(kept)
}
