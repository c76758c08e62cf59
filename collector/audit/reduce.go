package audit

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// Bounds of what is kept of an event that is too large without its bodies: a client chose
// the texts, and must not be able to hide a request by their length.
const (
	maxURI   = 64 << 10
	maxText  = 4 << 10
	maxItems = 64
	// cutMark is the annotation of an event that lacks something for that.
	cutMark = "seawall/cut"
)

// reduce makes an event fit that is too large.
func reduce(e *auditv1.Event) {
	e.RequestOmittedBytes += uint64(len(e.Request)) + e.RequestShortenedBytes
	e.ResponseOmittedBytes += uint64(len(e.Response)) + e.ResponseShortenedBytes
	e.Request, e.Response, e.RequestShortenedBytes, e.ResponseShortenedBytes = nil, nil, 0, 0
	if proto.Size(e) <= maxURI {
		return
	}
	shorten(maxURI, &e.RequestUri)
	shorten(maxText, &e.Verb, &e.UserAgent, &e.Reason, &e.Message)
	// Of addresses the last is the one to believe.
	e.SourceIps = slices.Clone(e.SourceIps[max(0, len(e.SourceIps)-maxItems):])
	shortenAll(e.SourceIps)
	for _, u := range []*auditv1.User{e.User, e.Impersonated} {
		if u == nil {
			continue
		}
		shorten(maxText, &u.Name, &u.Uid)
		u.Groups = u.Groups[:min(len(u.Groups), maxItems)]
		shortenAll(u.Groups)
		u.Extra = few(u.Extra, func(v *auditv1.Values) *auditv1.Values {
			v.Values = v.Values[:min(len(v.Values), maxItems/16)]
			shortenAll(v.Values)
			return v
		})
	}
	if o := e.Object; o != nil {
		shorten(maxText, &o.Resource, &o.Subresource, &o.Namespace, &o.Name, &o.Uid, &o.ApiGroup, &o.ApiVersion, &o.ResourceVersion)
	}
	if n := e.Entry; n != nil {
		shorten(maxText, &n.Container, &n.Namespace, &n.Pod)
		n.Command = n.Command[:min(len(n.Command), maxItems)]
		shortenAll(n.Command)
	}
	e.Annotations = few(e.Annotations, func(value string) string {
		shorten(maxText, &value)
		return value
	})
	if e.Annotations == nil {
		e.Annotations = map[string]string{}
	}
	e.Annotations[cutMark] = "true"
}

// shorten cuts texts at a number of bytes, between characters.
func shorten(most int, texts ...*string) {
	for _, text := range texts {
		if len(*text) > most {
			*text = strings.ToValidUTF8(strings.Clone((*text)[:most]), "")
		}
	}
}

func shortenAll(texts []string) {
	for i := range texts {
		shorten(maxText/4, &texts[i])
	}
}

// few keeps the first of a map, by their names.
func few[V any](of map[string]V, shorter func(V) V) map[string]V {
	if of == nil {
		return nil
	}
	names := make([]string, 0, len(of))
	for name := range of {
		if len(name) <= maxText/4 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	out := make(map[string]V)
	for _, name := range names[:min(len(names), maxItems/4)] {
		out[name] = shorter(of[name])
	}
	return out
}
