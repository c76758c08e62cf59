package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// schema is testdata/ocsf.json.
type schema struct {
	Version  string
	Class    string
	Profiles []string
	Objects  map[string]schemaObject
}

type schemaObject struct {
	AtLeastOne []string `json:"at_least_one"`
	Attributes map[string]string
}

func readSchema(t testing.TB) schema {
	t.Helper()
	text, err := os.ReadFile("testdata/ocsf.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// check lists what is wrong with a document.
func (s schema) check(document []byte) (problems []string) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return []string{err.Error()}
	}
	if d.More() {
		return []string{"more than one document"}
	}
	return s.object("", s.Class, value)
}

func (s schema) object(path, name string, value any) (problems []string) {
	fields, ok := value.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s: %T is no object", path, value)}
	}
	object, known := s.Objects[name]
	if !known {
		return []string{fmt.Sprintf("%s: object %s is not in the table", path, name)}
	}
	for attribute, spec := range object.Attributes {
		if v := fields[attribute]; (v == nil || v == "") && strings.HasPrefix(spec, "required ") {
			problems = append(problems, fmt.Sprintf("%s.%s is required", path, attribute))
		}
	}
	if len(object.AtLeastOne) > 0 && !slices.ContainsFunc(object.AtLeastOne, func(a string) bool { return fields[a] != nil }) {
		problems = append(problems, fmt.Sprintf("%s has none of %v", path, object.AtLeastOne))
	}
	for attribute, v := range fields {
		spec, known := object.Attributes[attribute]
		if !known {
			problems = append(problems, fmt.Sprintf("%s.%s is not in the table", path, attribute))
			continue
		}
		words := strings.Fields(spec)
		kind, array := strings.CutSuffix(words[1], "[]")
		values := []any{v}
		if array {
			if values, array = v.([]any); !array {
				problems = append(problems, fmt.Sprintf("%s.%s is no array", path, attribute))
			}
		}
		for _, v := range values {
			problems = append(problems, s.value(path+"."+attribute, kind, words[2:], v)...)
		}
	}
	return problems
}

func (s schema) value(path, kind string, numbers []string, value any) []string {
	bad := func(why string) []string { return []string{fmt.Sprintf("%s: %v is no %s: %s", path, value, kind, why)} }
	switch kind {
	case "json_t", "object":
		if _, ok := value.(map[string]any); !ok {
			return bad("no object")
		}
	case "boolean_t":
		if _, ok := value.(bool); !ok {
			return bad("no boolean")
		}
	case "integer_t", "long_t", "timestamp_t", "port_t":
		number, ok := value.(json.Number)
		if !ok {
			return bad("no number")
		}
		n, err := number.Int64()
		if err != nil || kind == "integer_t" && (n > math.MaxInt32 || n < math.MinInt32) || kind == "timestamp_t" && n < 0 || kind == "port_t" && (n < 0 || n > 65535) {
			return bad("out of range")
		}
		if len(numbers) > 0 && !slices.Contains(numbers, strconv.FormatInt(n, 10)) {
			return bad("none of " + strings.Join(numbers, " "))
		}
	default:
		if !strings.HasSuffix(kind, "_t") {
			return s.object(path, kind, value)
		}
		text, ok := value.(string)
		if !ok {
			return bad("no text")
		}
		if kind == "uuid_t" && !uuid.MatchString(text) {
			return bad("wrong form")
		}
		if _, err := netip.ParseAddr(text); kind == "ip_t" && err != nil {
			return bad("no address")
		}
	}
	return nil
}

func TestSchemaCheckFindsWhatIsWrong(t *testing.T) {
	s := readSchema(t)
	good, err := OCSF("1.0")(nil, webShell())
	if err != nil {
		t.Fatal(err)
	}
	if problems := s.check(good); problems != nil {
		t.Fatalf("%s\n%s", strings.Join(problems, "\n"), good)
	}
	for _, test := range []struct{ old, new, want string }{
		{`"class_uid":2004`, `"class_uid":2001`, ".class_uid: 2001"},
		{`"class_uid":2004,`, ``, ".class_uid is required"},
		{`"severity_id":4`, `"severity_id":7`, ".severity_id: 7"},
		{`"severity_id":4`, `"severity_id":"4"`, "no number"},
		{`"is_alert":true`, `"is_alert":1`, "no boolean"},
		{`"is_alert":true`, `"alert":true`, ".alert is not in the table"},
		{`"profiles":["container"]`, `"profiles":"container"`, "no array"},
		{`"title":"`, `"headline":"`, ".finding_info.headline is not in the table"},
		{`"tactic":{"uid":"TA0003"}`, `"tactic":{}`, "has none of [name uid]"},
		{`"type_id":1,"type":"Regular File"`, `"type":"Regular File"`, ".file.type_id is required"},
		{`"sequence":7`, `"sequence":4294967296`, "out of range"},
	} {
		if !bytes.Contains(good, []byte(test.old)) {
			t.Errorf("no %s in %s", test.old, good)
			continue
		}
		bad := bytes.Replace(good, []byte(test.old), []byte(test.new), 1)
		if problems := strings.Join(s.check(bad), "\n"); !strings.Contains(problems, test.want) {
			t.Errorf("%s: problems %q, want %q", test.new, problems, test.want)
		}
	}
}

func TestSchemaIsTheOneWeName(t *testing.T) {
	if got := readSchema(t).Version; got != OCSFVersion {
		t.Errorf("testdata/ocsf.json has %s, documents say %s", got, OCSFVersion)
	}
}
