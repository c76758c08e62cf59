package audit

import (
	"net/url"
	"strings"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// entryOf is how the request gets into a container; nil: it does not.
func entryOf(e *auditv1.Event) *auditv1.Entry {
	path, query, _ := strings.Cut(e.RequestUri, "?")
	o := e.GetObject()
	entry := &auditv1.Entry{Namespace: o.GetNamespace(), Pod: o.GetName()}
	switch {
	case o.GetResource() == "pods" && (o.GetSubresource() == "exec" || o.GetSubresource() == "attach"):
	case o.GetResource() == "nodes" && o.GetSubresource() == "proxy":
		if !kubeletEntry(entry, path) {
			return nil
		}
	default:
		return nil
	}
	for name, value := range parameters(query) {
		switch name {
		case "command": // of the API server and of the kubelet's /exec
			entry.Command = append(entry.Command, value)
		case "cmd": // of the kubelet's /run, which splits it at blanks
			entry.Command = strings.Fields(value)
		case "container":
			entry.Container = value
		case "tty":
			entry.Tty = yes(value)
		case "stdin":
			entry.Stdin = yes(value)
		}
	}
	return entry
}

// kubeletEntry reads the kubelet's own paths behind a node's proxy:
// …/proxy/{run,exec,attach}/NAMESPACE/POD[/UID]/CONTAINER.
func kubeletEntry(entry *auditv1.Entry, path string) bool {
	_, tail, ok := strings.Cut(path, "/proxy/")
	if !ok {
		return false
	}
	parts := strings.Split(strings.Trim(tail, "/"), "/")
	if len(parts) != 4 && len(parts) != 5 {
		return false
	}
	switch parts[0] {
	case "run", "exec", "attach":
	default:
		return false
	}
	entry.Namespace, entry.Pod, entry.Container = unescape(parts[1]), unescape(parts[2]), unescape(parts[len(parts)-1])
	return true
}

// parameters yields a query's names and values in their order. What is escaped wrongly
// stays as it is: it is shown, not believed.
func parameters(query string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name != "" && !yield(unescapeQuery(name), unescapeQuery(value)) {
				return
			}
		}
	}
}

func unescapeQuery(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return strings.ToValidUTF8(plain, "\uFFFD")
	}
	return s
}

func unescape(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return strings.ToValidUTF8(plain, "\uFFFD")
	}
	return s
}

// yes reads a boolean as the API server does.
func yes(value string) bool { return value == "" || value == "true" || value == "1" }
