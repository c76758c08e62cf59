package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// definition is a file of the schema: an object, an event class or a profile.
type definition struct {
	Name, Extends, Category string
	UID                     int
	Attributes              map[string]json.RawMessage
	Constraints             *struct {
		AtLeastOne []string `json:"at_least_one"`
	}
	Observable int
}

// attribute is one of the dictionary, of an object, or both in one.
type attribute struct {
	Type        string
	IsArray     bool `json:"is_array"`
	Requirement string
	Enum        map[string]json.RawMessage
	Observable  int
}

type checkout struct {
	dir         string
	version     string
	profiles    []string
	dictionary  map[string]attribute
	categories  map[string]struct{ UID int }
	files       map[string]string // by the name within
	observables map[int]bool
}

func open(dir string, profiles []string) (*checkout, error) {
	c := &checkout{dir: dir, profiles: profiles, files: map[string]string{}, observables: map[int]bool{0: true, 99: true}}
	var version struct{ Version string }
	var dictionary struct {
		Attributes map[string]attribute
		Types      struct{ Attributes map[string]attribute }
	}
	var categories struct{ Attributes map[string]struct{ UID int } }
	err := errors.Join(read(filepath.Join(dir, "version.json"), &version),
		read(filepath.Join(dir, "dictionary.json"), &dictionary), read(filepath.Join(dir, "categories.json"), &categories))
	if err != nil {
		return nil, err
	}
	c.version, c.dictionary, c.categories = version.Version, dictionary.Attributes, categories.Attributes
	for _, a := range slices.Concat(slices.Collect(maps.Values(dictionary.Attributes)), slices.Collect(maps.Values(dictionary.Types.Attributes))) {
		c.observables[a.Observable] = true
	}
	for _, folder := range []string{"objects", "events"} {
		if err := filepath.WalkDir(filepath.Join(dir, folder), c.index); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// index notes which file has which definition.
func (c *checkout) index(path string, entry fs.DirEntry, err error) error {
	if err != nil || entry.IsDir() || filepath.Ext(path) != ".json" {
		return err
	}
	var d definition
	if err := read(path, &d); err != nil {
		return err
	}
	c.files[d.Name] = path
	c.observables[d.Observable] = true
	return nil
}

// object is a definition with all that it extends and includes.
type object struct {
	attributes map[string]attribute
	atLeastOne []string
	category   string
	observable map[int]bool // set for observable: its type_id has all there are
}

func (c *checkout) object(name string, class bool) (*object, error) {
	var d definition
	path, known := c.files[name]
	if !known {
		return nil, fmt.Errorf("the schema has no %s", name)
	}
	if err := read(path, &d); err != nil {
		return nil, err
	}
	o := &object{attributes: map[string]attribute{}}
	if d.Extends != "" && c.files[d.Extends] != "" {
		base, err := c.object(d.Extends, false)
		if err != nil {
			return nil, err
		}
		o.attributes, o.atLeastOne, o.category = base.attributes, base.atLeastOne, base.category
	}
	if d.Constraints != nil { // an empty one takes the base's away
		o.atLeastOne = d.Constraints.AtLeastOne
		slices.Sort(o.atLeastOne)
	}
	if d.Category != "" {
		o.category = d.Category
	}
	if err := c.merge(o, d.Attributes); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for name, a := range o.attributes {
		o.attributes[name] = c.complete(name, a)
	}
	if name == "observable" {
		o.observable = c.observables
	}
	if class {
		o.number(c.categories[o.category].UID, d.UID)
	}
	return o, nil
}

// merge lays attributes over those that are there.
func (c *checkout) merge(o *object, attributes map[string]json.RawMessage) error {
	if include, there := attributes["$include"]; there {
		var paths []string
		if err := json.Unmarshal(include, &paths); err != nil {
			return err
		}
		for _, path := range paths {
			if !slices.Contains(c.profiles, strings.TrimSuffix(filepath.Base(path), ".json")) {
				continue
			}
			var profile definition
			if err := read(filepath.Join(c.dir, path), &profile); err != nil {
				return err
			}
			if err := c.merge(o, profile.Attributes); err != nil {
				return err
			}
		}
	}
	for name, text := range attributes {
		if name == "$include" {
			continue
		}
		a := o.attributes[name]
		a.Enum = maps.Clone(a.Enum) // decoding adds to it
		if err := json.Unmarshal(text, &a); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		o.attributes[name] = a
	}
	return nil
}

// complete adds what the dictionary says.
func (c *checkout) complete(name string, a attribute) attribute {
	general := c.dictionary[name]
	if a.Type == "" {
		a.Type = general.Type
	}
	a.IsArray = a.IsArray || general.IsArray
	enum := maps.Clone(general.Enum)
	if enum == nil {
		enum = a.Enum
	}
	maps.Copy(enum, a.Enum)
	a.Enum = enum
	return a
}

// number sets what a class's numbers follow from.
func (o *object) number(category, class int) {
	set := func(name string, numbers ...int) {
		a := o.attributes[name]
		a.Enum = map[string]json.RawMessage{}
		for _, n := range numbers {
			a.Enum[strconv.Itoa(n)] = nil
		}
		o.attributes[name] = a
	}
	uid := category*1000 + class
	set("category_uid", category)
	set("class_uid", uid)
	var types []int
	for id := range o.attributes["activity_id"].Enum {
		if n, err := strconv.Atoi(id); err == nil {
			types = append(types, uid*100+n)
		}
	}
	set("type_uid", types...)
}

// spec is an attribute in the table's form; own is how the table has it: of an
// observable's many types it names those that it uses.
func (o *object) spec(name, own string) string {
	a, known := o.attributes[name]
	if !known {
		return ""
	}
	words := []string{a.Requirement, a.Type}
	if a.IsArray {
		words[1] += "[]"
	}
	var numbers []int
	for id := range a.Enum {
		if n, err := strconv.Atoi(id); err == nil {
			numbers = append(numbers, n)
		}
	}
	if name == "type_id" && o.observable != nil {
		numbers = nil
		for _, word := range strings.Fields(own) {
			if n, err := strconv.Atoi(word); err == nil && o.observable[n] {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, " ")
}
