package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// maxFileBytes is far above any honest file: the whole schema fits in 2 KiB.
const maxFileBytes = 1 << 20

// lines says where in a file a setting stands.
type lines map[string]int

// readFile overlays c with the file's settings. Errors name file:line.
func (c *Config) readFile(path string) (lines, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("read configuration: %s is larger than %d bytes", path, maxFileBytes)
	}
	if err := c.decode(text); err != nil {
		return nil, place(path, err)
	}
	return locate(text), nil
}

// decode overlays c with settings in YAML. What the text does not name stays.
// Unknown and repeated names and a second document are errors.
func (c *Config) decode(text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); errors.Is(err, io.EOF) {
		return nil // empty, or comments only
	} else if err != nil {
		return err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("yaml: more than one document")
	}
	return nil
}

// locate finds the line of every name in a text that decode took.
func locate(text []byte) lines {
	found := lines{}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil || len(document.Content) == 0 {
		return found
	}
	var walk func(prefix string, node *yaml.Node)
	walk = func(prefix string, node *yaml.Node) {
		if node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			name := prefix + node.Content[i].Value
			found[name] = node.Content[i].Line
			walk(name+".", node.Content[i+1])
		}
	}
	walk("", document.Content[0])
	return found
}

// The shapes of the YAML library's messages: they speak of Go types, which the
// reader of a configuration does not know.
var (
	atLine       = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)
	unknownField = regexp.MustCompile(`(?s)^field (.*) not found in type \S+$`)
	wrongType    = regexp.MustCompile("(?s)^cannot unmarshal !!(\\w+)(?: `(.*)`)? into (\\S+)$")
)

// expected says in words what a setting of a Go type takes.
var expected = map[string]string{
	"bool":          "true or false",
	"int":           "a whole number",
	"string":        "text",
	"[]string":      "a list",
	"time.Duration": "a duration such as 30s",
	"config.Output": "text", "config.Enabled": "text", "config.Rung": "text",
}

// place turns the YAML library's error into one error per problem, each with
// the file, and the line where the library tells it.
func place(path string, err error) error {
	messages := []string{err.Error()}
	var mismatch *yaml.TypeError
	if errors.As(err, &mismatch) {
		messages = mismatch.Errors
	}
	placed := make([]error, 0, len(messages))
	for _, message := range messages {
		at := path
		found := atLine.FindStringSubmatch(message)
		if found[1] != "" {
			at += ":" + found[1]
		}
		placed = append(placed, fmt.Errorf("%s: %s", at, inWords(message[len(found[0]):])))
	}
	return errors.Join(placed...)
}

func inWords(message string) string {
	if found := unknownField.FindStringSubmatch(message); found != nil {
		return fmt.Sprintf("unknown setting %q", found[1])
	}
	if found := wrongType.FindStringSubmatch(message); found != nil {
		got := "a " + found[1] // seq, map
		if found[2] != "" {
			got = strconv.Quote(found[2])
		}
		want, ok := expected[found[3]]
		if !ok {
			want = "a section with settings"
		}
		return fmt.Sprintf("%s is not %s", got, want)
	}
	return message
}

// attribute adds to Validate's errors where the setting was made: the file's
// line, unless a flag (named in flags by setting) overrode it.
func attribute(err error, path string, at lines, flags map[string]string) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var attributed []error
	for _, problem := range joined.Unwrap() {
		var field *FieldError
		if errors.As(problem, &field) {
			if name, ok := flags[field.Field]; ok {
				problem = fmt.Errorf("flag --%s: %w", name, problem)
			} else if line, ok := at[field.Field]; ok {
				problem = fmt.Errorf("%s:%d: %w", path, line, problem)
			}
		}
		attributed = append(attributed, problem)
	}
	return errors.Join(attributed...)
}
