package audit

import (
	"regexp"
	"slices"
	"strings"
)

// aboutSecret finds manifests of Secrets in text, as JSON or YAML, in quotes of any depth.
var aboutSecret = regexp.MustCompile(`\bkind\\*["']?\s*:\s*\\*["']?Secret(List)?\b`)

// manifests masks text that is, or holds, the manifest of a Secret: JSON as what it is, of
// other text the YAML document that the Secret is.
func (r *Redactor) manifests(text string) string {
	if !strings.Contains(text, "Secret") || !aboutSecret.MatchString(text) {
		return text
	}
	if first := strings.TrimSpace(text); strings.HasPrefix(first, "{") || strings.HasPrefix(first, "[") {
		if kept, _, err := r.body("manifest", []byte(text), open); err == nil && kept != nil {
			return string(kept)
		}
	}
	documents := strings.Split(text, "\n---")
	for i, document := range documents {
		if aboutSecret.MatchString(document) {
			documents[i] = "\n" + dropped
		}
	}
	return strings.TrimPrefix(strings.Join(documents, "\n---"), "\n")
}

// operation masks what an operation of a JSON patch puts at its path, which names it: the
// last step like a field, a variable's value for sure, for its name is not there.
func (r *Redactor) operation(path string, value any, m manner) any {
	steps := strings.Split(path, "/")
	for i := range steps {
		steps[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(steps[i])
	}
	if m == open && slices.Contains(steps, "binaryData") {
		m = secretData
	}
	last := len(steps) - 1
	if text, ok := value.(string); ok && m == open && last >= 2 && steps[last] == "value" && steps[last-2] == "env" {
		return r.text.Named("password", text)
	}
	return r.value(steps[last], value, m)
}
