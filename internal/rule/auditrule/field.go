package auditrule

import (
	"cel.dev/cel-go/common/types"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// fields is the schema's types, of which the fields that rules ask for most are read without
// reflection. A message that is absent reads as an empty one.
type fields struct{ types.Provider }

// FindStructFieldType implements types.Provider.
func (f fields) FindStructFieldType(message, name string) (*types.FieldType, bool) {
	field, ok := f.Provider.FindStructFieldType(message, name)
	if !ok {
		return nil, false
	}
	if read := readers[message+"."+name]; read != nil {
		direct := *field
		direct.GetFrom = func(target any) (any, error) {
			if value, ok := read(target); ok {
				return value, nil
			}
			return field.GetFrom(target)
		}
		return &direct, true
	}
	return field, true
}

var (
	nobody   = &auditv1.User{}
	noObject = &auditv1.Object{}
	noEntry  = &auditv1.Entry{}
)

// readers are by the full name of a field. One says no to what it does not know.
var readers = map[string]func(target any) (value any, ok bool){
	"seawall.audit.v1.Event.verb":        reader(func(e *auditv1.Event) any { return e.GetVerb() }),
	"seawall.audit.v1.Event.request_uri": reader(func(e *auditv1.Event) any { return e.GetRequestUri() }),
	"seawall.audit.v1.Event.user_agent":  reader(func(e *auditv1.Event) any { return e.GetUserAgent() }),
	"seawall.audit.v1.Event.source_ips":  reader(func(e *auditv1.Event) any { return e.GetSourceIps() }),
	"seawall.audit.v1.Event.code":        reader(func(e *auditv1.Event) any { return e.GetCode() }),
	"seawall.audit.v1.Event.message":     reader(func(e *auditv1.Event) any { return e.GetMessage() }),
	"seawall.audit.v1.Event.annotations": reader(func(e *auditv1.Event) any { return e.GetAnnotations() }),
	"seawall.audit.v1.Event.user": reader(func(e *auditv1.Event) any {
		if e.GetUser() == nil {
			return nobody
		}
		return e.GetUser()
	}),
	"seawall.audit.v1.Event.impersonated": reader(func(e *auditv1.Event) any {
		if e.GetImpersonated() == nil {
			return nobody
		}
		return e.GetImpersonated()
	}),
	"seawall.audit.v1.Event.entry": reader(func(e *auditv1.Event) any {
		if e.GetEntry() == nil {
			return noEntry
		}
		return e.GetEntry()
	}),
	"seawall.audit.v1.Event.object": reader(func(e *auditv1.Event) any {
		if e.GetObject() == nil {
			return noObject
		}
		return e.GetObject()
	}),
	"seawall.audit.v1.User.name":          reader(func(u *auditv1.User) any { return u.GetName() }),
	"seawall.audit.v1.User.groups":        reader(func(u *auditv1.User) any { return u.GetGroups() }),
	"seawall.audit.v1.User.extra":         reader(func(u *auditv1.User) any { return u.GetExtra() }),
	"seawall.audit.v1.Object.resource":    reader(func(o *auditv1.Object) any { return o.GetResource() }),
	"seawall.audit.v1.Object.subresource": reader(func(o *auditv1.Object) any { return o.GetSubresource() }),
	"seawall.audit.v1.Object.namespace":   reader(func(o *auditv1.Object) any { return o.GetNamespace() }),
	"seawall.audit.v1.Object.name":        reader(func(o *auditv1.Object) any { return o.GetName() }),
	"seawall.audit.v1.Object.api_group":   reader(func(o *auditv1.Object) any { return o.GetApiGroup() }),
}

func reader[M any](read func(M) any) func(any) (any, bool) {
	return func(target any) (any, bool) {
		message, ok := target.(M)
		if !ok {
			return nil, false
		}
		return read(message), true
	}
}
