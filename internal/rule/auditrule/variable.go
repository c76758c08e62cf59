package auditrule

import (
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/seawall-security/seawall/internal/audit"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// eventVariable is the event as a whole. Its fields are variables of their own names.
const eventVariable = "event"

// Variables of what is evaluated once a rule has matched.
const (
	countVariable  = "count"
	valuesVariable = "values"
	alsoVariable   = "also"
)

// variable is a name that conditions can use; the value of one is made once for a request,
// when it is first asked for.
type variable struct {
	name  string
	kind  *cel.Type
	value func(*request) ref.Val
}

var userType = cel.ObjectType("seawall.audit.v1.User")

// ownVariables are those that are no fields of the event, or read otherwise than these.
func ownVariables() []variable {
	return []variable{
		{eventVariable, cel.ObjectType("seawall.audit.v1.Event"), func(r *request) ref.Val { return r.adapter.NativeToValue(r.event) }},
		{"request", cel.DynType, func(r *request) ref.Val { return wrap(parse(r.event.Request)) }},
		{"response", cel.DynType, func(r *request) ref.Val { return wrap(parse(r.event.Response)) }},
		{"manifest", cel.DynType, func(r *request) ref.Val {
			return wrap(manifestOf(r.event, unwrap(r.of("request")), unwrap(r.of("response"))))
		}},
		{"as_became", cel.BoolType, func(r *request) ref.Val { return types.Bool(isAsked(r.event.GetObject(), unwrap(r.of("response")))) }},
		{"pod", cel.DynType, func(r *request) ref.Val { return wrap(podOf(r.event, unwrap(r.of("manifest")))) }},
		{"containers", cel.DynType, func(r *request) ref.Val { return &jsonList{elements: containersOf(unwrap(r.of("pod")))} }},
		{"actor", userType, func(r *request) ref.Val { return r.adapter.NativeToValue(actorOf(r.event)) }},
		{"source_ip", cel.StringType, func(r *request) ref.Val { return types.String(sourceIP(r.event)) }},
		{"command_line", cel.StringType, func(r *request) ref.Val { return types.String(commandLine(r.event.GetEntry().GetCommand())) }},
		{"path", cel.StringType, func(r *request) ref.Val { return types.String(pathOf(r.event.RequestUri)) }},
		{"query", cel.DynType, func(r *request) ref.Val { return &jsonObject{fields: queryOf(r.event.RequestUri)} }},
		{"allowed", cel.BoolType, func(r *request) ref.Val { return types.Bool(isAllowed(r.event.Code)) }},
		{"denied", cel.BoolType, func(r *request) ref.Val { return types.Bool(isDenied(r.event.Code)) }},
	}
}

// request is an event while it is matched: what cel-go sees of it.
type request struct {
	language *language
	adapter  types.Adapter
	event    *auditv1.Event
	values   []ref.Val // by place in language.variables; nil: not asked for yet
	count    int64
	seen     []string
	also     []string
}

func (r *request) begin(e *auditv1.Event) {
	clear(r.values)
	r.event = e
}

// forget drops what the request holds of an event.
func (r *request) forget() {
	clear(r.values)
	r.event, r.count, r.seen, r.also = nil, 0, nil, nil
}

// of is the value of a variable.
func (r *request) of(name string) ref.Val {
	i := r.language.places[name]
	if r.values[i] == nil {
		r.values[i] = r.language.variables[i].value(r)
	}
	return r.values[i]
}

// ResolveName implements cel.Activation.
func (r *request) ResolveName(name string) (any, bool) {
	if _, ok := r.language.places[name]; ok {
		return r.of(name), true
	}
	if words, ok := r.language.lists[name]; ok {
		return words, true
	}
	switch name {
	case countVariable:
		return types.Int(r.count), true
	case valuesVariable:
		return r.adapter.NativeToValue(r.seen), true
	case alsoVariable:
		return r.adapter.NativeToValue(r.also), true
	}
	return nil, false
}

// Parent implements cel.Activation.
func (r *request) Parent() cel.Activation { return nil }

// actorOf is whom the request was carried out as.
func actorOf(e *auditv1.Event) *auditv1.User {
	switch {
	case e.Impersonated != nil:
		return e.Impersonated
	case e.User != nil:
		return e.User
	}
	return nobody
}

// sourceIP is the peer of the API server's connection: those before it are claims.
func sourceIP(e *auditv1.Event) string {
	if len(e.SourceIps) == 0 {
		return ""
	}
	return e.SourceIps[len(e.SourceIps)-1]
}

// commandLine joins the words of a command as a shell would read them.
func commandLine(words []string) string {
	var b strings.Builder
	for i, word := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if word != "" && strings.Trim(word, plainLetters) == "" {
			b.WriteString(word)
		} else {
			b.WriteString("'" + strings.ReplaceAll(word, "'", `'\''`) + "'")
		}
	}
	return b.String()
}

const plainLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,@%+"

func pathOf(uri string) string {
	path, _, _ := strings.Cut(uri, "?")
	return path
}

// queryOf are the parameters of a URI as API servers read them; of one given twice the first.
func queryOf(uri string) map[string]any {
	parameters := make(map[string]any)
	for name, values := range audit.Query(uri) {
		parameters[name] = values[0]
	}
	return parameters
}

func isAllowed(code uint32) bool { return code >= 100 && code < 400 }
func isDenied(code uint32) bool  { return code == 401 || code == 403 }
