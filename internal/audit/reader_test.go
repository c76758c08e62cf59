package audit

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func eventLine(id string) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":%q,"stage":"ResponseComplete",`+
		`"verb":"get","requestReceivedTimestamp":"2026-11-21T18:00:00Z","stageTimestamp":"2026-11-21T18:00:00Z"}`, id)
}

// readAll is what a reader says of a file, a word for each event.
func readAll(file io.Reader) []string {
	r, err := NewReader(file)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	var said []string
	for {
		e, err := r.Next()
		var line *LineError
		switch {
		case errors.Is(err, io.EOF):
			return said
		case errors.As(err, &line):
			said = append(said, fmt.Sprintf("bad line %d", line.Line))
		case err != nil:
			return append(said, "error")
		default:
			said = append(said, e.AuditId)
		}
	}
}

func TestReader(t *testing.T) {
	list := func(ids ...string) string {
		var items []string
		for _, id := range ids {
			items = append(items, eventLine(id))
		}
		return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + strings.Join(items, ",") + `]}`
	}
	packed := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	lines := eventLine("a") + "\n\n" + eventLine("b") + "\r\n" + eventLine("c")
	for name, test := range map[string]struct{ file, want string }{
		"empty":               {"", ""},
		"lines":               {lines, "a b c"},
		"packed":              {packed(lines), "a b c"},
		"packed in two parts": {packed(eventLine("a")+"\n") + packed(eventLine("b")+"\n"), "a b"},
		"packed and cut":      {packed(lines)[:40], "error"},
		"bad lines":           {"x\n" + eventLine("a") + "\n{}\n" + eventLine("b") + "\n{\"audit", "bad line 1 a bad line 3 b bad line 5"},
		"list":                {list("a", "b"), "a b"},
		"lists, a line each":  {list("a", "b") + "\n" + list("c") + "\n", "a b c"},
		"event of a list":     {strings.Replace(eventLine("a"), "{", `{"responseObject":{"kind":"EventList","apiVersion":"v1"},`, 1), "a"},
		"list with a bad one": {strings.Replace(list("a", "b"), `"auditID":"a"`, `"auditID":7`, 1), "b bad line 1"},
		"printed list":        {strings.Replace(list("a", "b"), "{", "{\n  ", 1), "a b"},
		"printed events":      {strings.Replace(eventLine("a"), "{", "{\n", 1) + "\n" + strings.Replace(eventLine("b"), "{", "{\n", 1), "a b"},
		"printed and cut":     {"{\n\"kind\":", "error"},
		"long line":           {strings.Repeat("x", maxListBytes+100<<10) + "\n" + eventLine("a"), "bad line 1 a"},
		"long value":          {"{\n\"x\":\"" + strings.Repeat("x", maxListBytes) + "\"}", "error"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(readAll(strings.NewReader(test.file)), " "); got != test.want {
				t.Errorf("read %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(eventLine("a") + "\n{\n" + eventLine("b")))
	f.Add([]byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{},7]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		if said := readAll(bytes.NewReader(file)); len(said) > len(file)+1 {
			t.Errorf("%d bytes are %d events", len(file), len(said))
		}
	})
}
