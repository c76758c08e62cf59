// Command ocsf compares what we rely on of the Open Cybersecurity Schema Framework
// (collector/sink/testdata/ocsf.json) with a checkout of the schema:
//
//	git clone --branch 1.8.0 https://github.com/ocsf/ocsf-schema DIR
//	go run ./tools/ocsf -schema DIR
//
// It prints each difference and, with -recommended, each attribute that the schema
// recommends and we do not write. Exit status 1: there are differences.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	dir := flag.String("schema", "", "folder of the schema's checkout")
	path := flag.String("table", "collector/sink/testdata/ocsf.json", "what we rely on")
	recommended := flag.Bool("recommended", false, "also list recommended attributes that the table does not have")
	flag.Parse()
	differences, missing, err := run(*dir, *path)
	if *recommended {
		fmt.Print(lines(missing))
	}
	fmt.Print(lines(differences))
	if err != nil {
		fmt.Fprintln(os.Stderr, "ocsf:", err)
	}
	if err != nil || len(differences) > 0 {
		os.Exit(1)
	}
}

func lines(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, "\n") + "\n"
}

// table is what we rely on: per attribute "requirement type numbers".
type table struct {
	Version, Class string
	Profiles       []string
	Objects        map[string]struct {
		AtLeastOne []string `json:"at_least_one"`
		Attributes map[string]string
	}
}

func run(dir, path string) (differences, missing []string, err error) {
	var t table
	if err := read(path, &t); err != nil {
		return nil, nil, err
	}
	s, err := open(dir, t.Profiles)
	if err != nil {
		return nil, nil, err
	}
	if s.version != t.Version {
		differences = append(differences, fmt.Sprintf("version: the table has %s, the schema is %s", t.Version, s.version))
	}
	for name, own := range t.Objects {
		theirs, err := s.object(name, name == t.Class)
		if err != nil {
			return nil, nil, err
		}
		differ := func(what, own, theirs string) {
			if own != theirs {
				differences = append(differences, fmt.Sprintf("%s.%s: the table has %q, the schema %q", name, what, own, theirs))
			}
		}
		slices.Sort(own.AtLeastOne)
		differ("at_least_one", strings.Join(own.AtLeastOne, " "), strings.Join(theirs.atLeastOne, " "))
		for attribute, spec := range own.Attributes {
			differ(attribute, spec, theirs.spec(attribute, spec))
		}
		for attribute, a := range theirs.attributes {
			switch _, there := own.Attributes[attribute]; {
			case there:
			case a.Requirement == "required":
				differ(attribute, "", theirs.spec(attribute, ""))
			case a.Requirement == "recommended":
				missing = append(missing, fmt.Sprintf("%s.%s is recommended and not written", name, attribute))
			}
		}
	}
	slices.Sort(differences)
	slices.Sort(missing)
	return differences, missing, nil
}

func read(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return nil
}
