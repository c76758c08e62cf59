package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// MaxFileBytes is far above any honest file: a whole schema fits in 2 KiB.
const MaxFileBytes = 1 << 20

// Lines says where in a file a setting stands.
type Lines map[string]int

// ReadFile overlays the struct that into points to with the file's settings. Errors
// name file:line.
func ReadFile(path string, into any) (Lines, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > MaxFileBytes {
		return nil, fmt.Errorf("read configuration: %s is larger than %d bytes", path, MaxFileBytes)
	}
	return Decode(path, text, into)
}

// Decode overlays the struct that into points to with settings in YAML, of the file
// that path names in errors. What the text does not name stays. Unknown and repeated
// names and a second document are errors.
func Decode(path string, text []byte, into any) (Lines, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); errors.Is(err, io.EOF) {
		return Lines{}, nil // empty, or comments only
	} else if err != nil {
		return nil, place(path, err, into)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, place(path, errors.New("yaml: more than one document"), into)
	}
	return locate(text), nil
}

// locate finds the line of every name in a text that Decode took.
func locate(text []byte) Lines {
	found := Lines{}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil || len(document.Content) == 0 {
		return found
	}
	var walk func(prefix string, node *yaml.Node)
	walk = func(prefix string, node *yaml.Node) {
		for i := 0; node.Kind == yaml.SequenceNode && i < len(node.Content); i++ { // sinks[0].name
			name := fmt.Sprintf("%s[%d]", strings.TrimSuffix(prefix, "."), i)
			found[name] = node.Content[i].Line
			walk(name+".", node.Content[i])
		}
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

// expectations says in words what settings of the Go types below t take.
func expectations(t reflect.Type, found map[string]string) map[string]string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		found[t.String()] = "a duration such as 30s"
	case t.Kind() == reflect.Bool:
		found[t.String()] = "true or false"
	case t.Kind() == reflect.String:
		found[t.String()] = "text"
	case t.Kind() == reflect.Slice:
		found[t.String()] = "a list"
		expectations(t.Elem(), found)
	case t.Kind() == reflect.Struct:
		found[t.String()] = "a section with settings"
		for i := range t.NumField() {
			expectations(t.Field(i).Type, found)
		}
	default:
		found[t.String()] = "a whole number"
	}
	return found
}

// place turns the YAML library's error into one error per problem, each with
// the file, and the line where the library tells it.
func place(path string, err error, into any) error {
	expected := expectations(reflect.TypeOf(into).Elem(), map[string]string{})
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
		placed = append(placed, fmt.Errorf("%s: %s", at, inWords(message[len(found[0]):], expected)))
	}
	return errors.Join(placed...)
}

func inWords(message string, expected map[string]string) string {
	if found := unknownField.FindStringSubmatch(message); found != nil {
		return fmt.Sprintf("unknown setting %q", found[1])
	}
	if found := wrongType.FindStringSubmatch(message); found != nil {
		got := "a " + found[1] // seq, map
		if found[2] != "" {
			got = strconv.Quote(found[2])
		}
		return fmt.Sprintf("%s is not %s", got, expected[found[3]])
	}
	return message
}

// Attribute adds to the errors of a Validate where the setting was made: the file's
// line, unless a flag (named in flags by setting) overrode it.
func Attribute(err error, path string, at Lines, flags map[string]string) error {
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
