package audit

import (
	"net/url"
	"path"
	"strings"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// entryOf is how the request gets into a container; nil: it does not.
func entryOf(e *auditv1.Event) *auditv1.Entry {
	o := e.GetObject()
	switch {
	case o.GetResource() == "pods" && (o.GetSubresource() == "exec" || o.GetSubresource() == "attach"):
		query := Query(e.RequestUri)
		entry := &auditv1.Entry{Namespace: o.GetNamespace(), Pod: o.GetName(), Container: query.Get("container"),
			Tty: IsTrue(query["tty"]), Stdin: IsTrue(query["stdin"])}
		if o.GetSubresource() == "exec" {
			entry.Command = query["command"]
		}
		return entry
	case o.GetResource() == "nodes" && o.GetSubresource() == "proxy":
		return kubeletEntry(e.RequestUri)
	}
	return nil
}

// kubeletEntry reads the kubelet's own paths behind a node's proxy:
// …/proxy/{run,exec,attach}/NAMESPACE/POD[/UID]/CONTAINER. The API server takes escapes, dots
// and double slashes out before it passes a path on. What it is to run in run can also be in
// a form, which nobody records.
func kubeletEntry(uri string) *auditv1.Entry {
	escaped, _, _ := strings.Cut(uri, "?")
	_, tail, ok := strings.Cut(unescape(escaped), "/proxy/")
	if !ok {
		return nil
	}
	parts := strings.Split(path.Clean("/" + tail)[1:], "/")
	if len(parts) != 4 && len(parts) != 5 {
		return nil
	}
	entry, query := &auditv1.Entry{Namespace: parts[1], Pod: parts[2], Container: parts[len(parts)-1]}, Query(uri)
	switch parts[0] {
	case "run":
		if query.Has("cmd") {
			entry.Command = strings.Split(query.Get("cmd"), " ")
		}
	case "exec":
		entry.Command = query["command"]
		fallthrough
	case "attach": // its flags are 1, or nothing
		entry.Tty, entry.Stdin = query.Get("tty") == "1", query.Get("input") == "1"
	default:
		return nil
	}
	return entry
}

func unescape(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return strings.ToValidUTF8(plain, "\uFFFD")
	}
	return s
}
