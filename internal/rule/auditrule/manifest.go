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
	if o, ok := response.(map[string]any); ok {
		switch o["kind"] {
		case "Status", "Table":
		default:
			return o
		}
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
	for _, operation := range operations[:min(len(operations), maxOperations)] {
		switch below(operation, "op") {
		case "add", "replace":
		default:
			continue
		}
		path, ok := below(operation, "path").(string)
		if !ok {
			continue
		}
		steps := strings.Split(strings.TrimPrefix(path, "/"), "/")
		if path == "" {
			steps = nil
		}
		if len(steps) <= maxPatchDepth {
			made = put(made, steps, below(operation, "value"))
		}
	}
	return settled(made)
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
	step := strings.NewReplacer("~1", "/", "~0", "~").Replace(path[0])
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
