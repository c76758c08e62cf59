package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Bounds of a sequence: generous for a test, small for a mistake.
const (
	sequenceBytes   = 1 << 20
	sequenceActions = 1000
)

func sequence(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("sequence", flag.ContinueOnError)
	keepGoing := flags.Bool("keep-going", false, "")
	if err := parse(flags, args, 1, 1); err != nil {
		return err
	}
	text, err := readSequence(flags.Arg(0))
	if err != nil {
		return err
	}
	steps, err := parseSequence(text)
	if err != nil {
		return err
	}
	for _, step := range steps {
		argv := append([]string{a.self, "-dir", a.dir}, step...)
		err := spawn(r, a.self, argv, os.Environ())
		r.count("actions")
		if err == nil {
			continue
		}
		r.count("failed")
		if !*keepGoing {
			return fmt.Errorf("%s: %w", step[0], err)
		}
	}
	if n := r.Counts["failed"]; n > 0 {
		return fmt.Errorf("%d actions failed", n)
	}
	return nil
}

func readSequence(name string) ([]byte, error) {
	in := os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, sequenceBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read sequence: %w", err)
	}
	if len(text) > sequenceBytes {
		return nil, fmt.Errorf("read sequence: more than %d bytes", sequenceBytes)
	}
	return text, nil
}

// parseSequence reads a list of actions with their arguments and checks that
// they exist, before any of them runs. A sequence in a sequence is refused: it
// could run itself.
func parseSequence(text []byte) ([][]string, error) {
	var steps [][]string
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&steps); err != nil {
		return nil, fmt.Errorf("%w: parse sequence: %w", errUsage, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: parse sequence: more behind the list", errUsage)
	}
	if len(steps) > sequenceActions {
		return nil, fmt.Errorf("%w: more than %d actions", errUsage, sequenceActions)
	}
	for i, step := range steps {
		if len(step) == 0 {
			return nil, fmt.Errorf("%w: action %d is empty", errUsage, i)
		}
		if _, found := findAction(step[0]); !found || step[0] == "sequence" {
			return nil, fmt.Errorf("%w: action %d: %q cannot be run", errUsage, i, step[0])
		}
	}
	return steps, nil
}
