package rule

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"

	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// maxTextBytes bounds summary and each piece of evidence: the event itself is
// in the detection.
const maxTextBytes = 4096

// Detection writes the rule's yes to an event, which it matched.
func (r *Rule) Detection(e *event.Event, bootID string) *sensorv1.Detection {
	m := e.ProtoWithAncestors(bootID)
	d := &sensorv1.Detection{
		Id:         event.DetectionID(r.ID, bootID, e.Actor, e.Time),
		Rule:       r.ID,
		Title:      r.Title,
		Severity:   r.Severity,
		Tactics:    r.Tactics,
		Techniques: r.Techniques,
		Event:      m,
		Tags:       r.Tags,
	}
	vars := variables{r.language, m}
	summary, err := evaluate(r.summary, vars)
	if err != nil {
		summary = r.Title
	}
	d.Summary = summary
	if len(r.evidence) > 0 {
		d.Evidence = make(map[string]string, len(r.evidence))
	}
	for _, e := range r.evidence {
		text, err := evaluate(e.program, vars)
		if err != nil {
			text = fmt.Sprintf("not available: %v", err)
		}
		d.Evidence[e.name] = text
	}
	return d
}

func evaluate(program cel.Program, vars variables) (string, error) {
	value, _, err := program.Eval(vars)
	if err != nil {
		return "", fmt.Errorf("evaluate text: %w", err)
	}
	text, ok := value.Value().(string)
	if !ok {
		return "", fmt.Errorf("evaluate text: value is of type %s", value.Type().TypeName())
	}
	return cut(text), nil
}

// cut bounds a text without leaving half a character at its end.
func cut(text string) string {
	if len(text) <= maxTextBytes {
		return text
	}
	end := maxTextBytes
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end]) + "…"
}
