package auditrule

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// Bounds of a JSON patch: what is beyond them is not put together.
const (
	maxOperations  = 1000
	maxPatchDepth  = 32
	maxPatchedList = 1000
	maxCopied      = 100_000 // parts that are copied from one place to another
)

// parse reads a body; nil: there is none.
func parse(body []byte) any {
	if len(body) == 0 {
		return nil
	}
	var value any
	if json.Unmarshal(body, &value) != nil {
		return nil
	}
	return value
}

// manifestOf is the object as the request leaves it, as far as the record says.
func manifestOf(e *auditv1.Event, request, response any) any {
	switch e.Verb {
	case "create", "update", "patch", "get", "delete":
	default:
		return nil
	}
	if isAsked(e.GetObject(), response) {
		return response
	}
	if e.Verb == "get" || e.Verb == "delete" { // what is sent are options
		return nil
	}
	if _, ok := request.([]any); ok {
		operations, _ := parse(e.Request).([]any) // of its own: what is put together is changed
		return patched(operations)
	}
	return request
}

// isAsked reports whether an answer is the object that was asked for. A client can have its
// metadata, or a table, in its place.
func isAsked(o *auditv1.Object, answer any) bool {
	kind, _ := below(answer, "kind").(string)
	version, _ := below(answer, "apiVersion").(string)
	switch {
	case kind == "" || kind == "Status":
		return false
	case pluralOf(kind) == o.GetResource():
		return true
	}
	// A resource may go by any plural. What is answered instead is of a group of its own.
	group, _, ok := strings.Cut(version, "/")
	if !ok {
		group = ""
	}
	return version != "" && group == o.GetApiGroup()
}

// pluralOf is what a kind's resource is called, if nobody chose another name.
func pluralOf(kind string) string {
	name := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(name, "s"):
		return name + "es"
	case strings.HasSuffix(name, "y"):
		return strings.TrimSuffix(name, "y") + "ies"
	}
	return name + "s"
}

// podOf is the pod that a manifest describes: of a Pod, a workload's template, a CronJob's
// jobs, or of what a patch says of them.
func podOf(e *auditv1.Event, manifest any) any {
	for _, path := range [][]string{
		{"spec", "jobTemplate", "spec", "template", "spec"}, {"spec", "template", "spec"}, {"template", "spec"},
	} {
		if spec, ok := below(manifest, path...).(map[string]any); ok {
			return spec
		}
	}
	if o := e.GetObject(); o.GetResource() == "pods" && o.GetApiGroup() == "" || below(manifest, "kind") == "Pod" {
		return below(manifest, "spec")
	}
	return nil
}

// containersOf are all containers of a pod, without those that a patch deletes.
func containersOf(pod any) []any {
	var all []any
	for _, field := range []string{"containers", "initContainers", "ephemeralContainers"} {
		containers, _ := below(pod, field).([]any)
		for _, c := range containers {
			if _, ok := c.(map[string]any); ok && below(c, "$patch") != "delete" {
				all = append(all, c)
			}
		}
	}
	return all
}

// below is what stands at a path; nil: nothing.
func below(value any, path ...string) any {
	for _, name := range path {
		o, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = o[name]
	}
	return value
}

// patched is what the operations of a JSON patch put where, of an object that is not known.
func patched(operations []any) any {
	var made any
	copied := 0
	for _, operation := range operations[:min(len(operations), maxOperations)] {
		to, ok := pointer(below(operation, "path"))
		if !ok {
			continue
		}
		value := below(operation, "value")
		switch below(operation, "op") {
		case "add", "replace":
		case "copy", "move": // of what was put before: the rest is not known
			from, ok := pointer(below(operation, "from"))
			if !ok || copied > maxCopied {
				continue
			}
			var size int
			value, size = copyOf(at(made, from))
			if copied += size; value == nil || copied > maxCopied {
				continue
			}
		default:
			continue
		}
		made = put(made, to, value)
	}
	return settled(made)
}

// pointer is the parts of one into JSON.
func pointer(written any) ([]string, bool) {
	path, ok := written.(string)
	if path == "" {
		return nil, ok
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, part := range parts {
		parts[i] = unescapePointer.Replace(part)
	}
	return parts, len(parts) <= maxPatchDepth
}

var unescapePointer = strings.NewReplacer("~1", "/", "~0", "~")

// at is what stands at a path of what was put together; nil: nothing.
func at(there any, path []string) any {
	for _, step := range path {
		switch in := there.(type) {
		case map[string]any:
			there = in[step]
		case *sparse:
			there = in.elements[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(in) {
				return nil
			}
			there = in[i]
		default:
			return nil
		}
	}
	return there
}

// copyOf is a value that can be changed apart from the first, and of how many parts it is.
func copyOf(value any) (made any, size int) {
	size = 1
	add := func(part any) any {
		of, n := copyOf(part)
		size += n
		return of
	}
	switch v := value.(type) {
	case *sparse:
		elements := make([]any, 0, len(v.elements))
		for _, at := range sortedKeys(v.elements) {
			elements = append(elements, add(v.elements[at]))
		}
		return elements, size
	case map[string]any:
		fields := make(map[string]any, len(v))
		for name, field := range v {
			fields[name] = add(field)
		}
		return fields, size
	case []any:
		elements := make([]any, len(v))
		for i := range v {
			elements[i] = add(v[i])
		}
		return elements, size
	default:
		return v, size
	}
}

// sparse is a list of which only some elements are known.
type sparse struct {
	elements map[string]any
	added    int
}

// put places a value at a path below what is there, and returns what is there then.
func put(there any, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	step := path[0]
	switch at := there.(type) {
	case map[string]any:
		at[step] = put(at[step], path[1:], value)
		return at
	case *sparse:
		if len(at.elements) >= maxPatchedList {
			return at
		}
		if step == "-" {
			at.added++
			step = "-" + strconv.Itoa(at.added)
		}
		at.elements[step] = put(at.elements[step], path[1:], value)
		return at
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(at) {
			at[i] = put(at[i], path[1:], value)
		} else if len(at) < maxPatchedList {
			at = append(at, put(nil, path[1:], value))
		}
		return at
	}
	if isIndex(step) {
		return put(&sparse{elements: make(map[string]any)}, path, value)
	}
	return put(make(map[string]any), path, value)
}

func isIndex(step string) bool {
	return step == "-" || (step != "" && strings.Trim(step, "0123456789") == "")
}

// settled makes lists of the sparse ones.
func settled(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			v[name] = settled(field)
		}
	case []any:
		for i := range v {
			v[i] = settled(v[i])
		}
	case *sparse:
		elements := make([]any, 0, len(v.elements))
		for _, at := range sortedKeys(v.elements) {
			elements = append(elements, settled(v.elements[at]))
		}
		return elements
	}
	return value
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
