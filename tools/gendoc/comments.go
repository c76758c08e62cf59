package main

import (
	"regexp"
	"strings"
)

// comments are the texts above declarations, by name without the package:
// Event, Event.sequence, Kind.KIND_FILE_OPEN.
type comments map[string]string

var (
	block = regexp.MustCompile(`^(message|enum|oneof)\s+(\w+)\s*\{$`)
	field = regexp.MustCompile(`(\w+)\s*=\s*\d+\s*;`)
)

// parseComments reads a proto file that has each declaration in one line and
// its comment in whole lines right above it.
func parseComments(source string) comments {
	found := comments{}
	var scopes []string // a oneof is no scope: its entry is empty
	var text []string
	for line := range strings.SplitSeq(source, "\n") {
		line = strings.TrimSpace(line)
		if above, ok := strings.CutPrefix(line, "//"); ok {
			text = append(text, strings.TrimSpace(above))
			continue
		}
		name := ""
		if m := block.FindStringSubmatch(line); m != nil {
			if m[1] == "oneof" {
				scopes = append(scopes, "")
			} else {
				scopes = append(scopes, m[2])
				name = qualified(scopes)
			}
		} else if line == "}" && len(scopes) > 0 {
			scopes = scopes[:len(scopes)-1]
		} else if m := field.FindStringSubmatch(line); m != nil {
			name = qualified(append(scopes, m[1]))
		}
		if name != "" {
			found[name] = strings.Join(text, " ")
		}
		text = nil
	}
	return found
}

func qualified(scopes []string) string {
	var names []string
	for _, s := range scopes {
		if s != "" {
			names = append(names, s)
		}
	}
	return strings.Join(names, ".")
}
