package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// small is a schema in the form of the real one.
var small = map[string]string{
	"version.json":    `{"version": "9.1.0"}`,
	"categories.json": `{"attributes": {"findings": {"uid": 2}}}`,
	"dictionary.json": `{
		"attributes": {
			"activity_id": {"type": "integer_t", "enum": {"0": {}, "99": {}}},
			"class_uid": {"type": "integer_t"}, "category_uid": {"type": "integer_t"}, "type_uid": {"type": "long_t"},
			"name": {"type": "string_t"}, "uid": {"type": "string_t"}, "pid": {"type": "integer_t", "observable": 15},
			"process": {"type": "process"}, "observables": {"type": "observable", "is_array": true},
			"type_id": {"type": "integer_t", "enum": {"0": {}, "99": {}}}, "tenant": {"type": "string_t"}
		},
		"types": {"attributes": {"ip_t": {"observable": 2}, "string_t": {}}}}`,
	"events/base.json": `{"name": "base", "category": "other", "attributes": {"$include": ["profiles/tenancy.json"],
		"activity_id": {"requirement": "required"}, "class_uid": {"requirement": "required"},
		"category_uid": {"requirement": "required"}, "type_uid": {"requirement": "required"}}}`,
	"events/findings/found.json": `{"name": "found", "uid": 4, "extends": "base", "category": "findings", "attributes": {
		"activity_id": {"enum": {"1": {}, "2": {}}},
		"process": {"requirement": "recommended"}, "observables": {"requirement": "optional"}}}`,
	"objects/entity.json":     `{"name": "entity", "attributes": {"name": {"requirement": "recommended"}, "uid": {"requirement": "recommended"}}, "constraints": {"at_least_one": ["uid", "name"]}}`,
	"objects/process.json":    `{"name": "process", "extends": "entity", "attributes": {"$include": ["profiles/container.json"], "name": {"requirement": "required"}}, "constraints": {"at_least_one": ["uid", "pid"]}}`,
	"objects/observable.json": `{"name": "observable", "attributes": {"type_id": {"requirement": "required"}}}`,
	"profiles/container.json": `{"name": "container", "attributes": {"pid": {"requirement": "recommended"}}}`,
	"profiles/tenancy.json":   `{"name": "tenancy", "attributes": {"tenant": {"requirement": "required"}}}`,
}

const good = `{"version": "9.1.0", "class": "found", "profiles": ["container"], "objects": {
	"found": {"attributes": {
		"activity_id": "required integer_t 0 1 2 99", "class_uid": "required integer_t 2004", "category_uid": "required integer_t 2",
		"type_uid": "required long_t 200400 200401 200402 200499", "process": "recommended process", "observables": "optional observable[]"}},
	"process": {"at_least_one": ["pid", "uid"], "attributes": {"name": "required string_t", "pid": "recommended integer_t"}},
	"observable": {"attributes": {"type_id": "required integer_t 2 15"}}}}`

func TestTableIsComparedWithTheSchema(t *testing.T) {
	dir := t.TempDir()
	for path, text := range small {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, old, new string
		want           []string
	}{
		{name: "same"},
		{"version", `"9.1.0"`, `"9.0.0"`, []string{`version: the table has 9.0.0, the schema is 9.1.0`}},
		{"requirement", `required string_t`, `optional string_t`, []string{`process.name: the table has "optional string_t", the schema "required string_t"`}},
		{"missing", `"name": "required string_t", `, ``, []string{`process.name: the table has "", the schema "required string_t"`}},
		{"invented", `"pid": `, `"ppid": "optional integer_t", "pid": `, []string{`process.ppid: the table has "optional integer_t", the schema ""`}},
		{"numbers", `0 1 2 99`, `0 1 2 3 99`, []string{`found.activity_id: the table has "required integer_t 0 1 2 3 99", the schema "required integer_t 0 1 2 99"`}},
		{"class", `integer_t 2004`, `integer_t 2001`, []string{`found.class_uid: the table has "required integer_t 2001", the schema "required integer_t 2004"`}},
		{"array", `observable[]`, `observable`, []string{`found.observables: the table has "optional observable", the schema "optional observable[]"`}},
		{"observable", `2 15`, `2 16`, []string{`observable.type_id: the table has "required integer_t 2 16", the schema "required integer_t 2"`}},
		{"constraint", `["pid", "uid"]`, `["uid"]`, []string{`process.at_least_one: the table has "uid", the schema "pid uid"`}},
		{"profile", `["container"]`, `["container", "tenancy"]`, []string{`found.tenant: the table has "", the schema "required string_t"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "table.json")
			if err := os.WriteFile(path, []byte(strings.Replace(good, test.old, test.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			got, missing, err := run(dir, path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("differences: -want +got\n%s", diff)
			}
			if diff := cmp.Diff([]string{"process.uid is recommended and not written"}, missing); diff != "" {
				t.Errorf("recommended: -want +got\n%s", diff)
			}
		})
	}
}
