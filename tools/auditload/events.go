package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Sizes of the events that are offered.
const (
	minEvent = 1 << 10
	maxEvent = 4 << 10
)

// template is a recorded event whose id and times can be said anew.
type template struct{ parts [4]string } // id, request's time and stage's time stand between

var places = [3]string{`"auditID":"`, `"requestReceivedTimestamp":"`, `"stageTimestamp":"`}

// readTemplates reads the recorded events of the sizes that are offered.
func readTemplates(corpus string) (all []template, err error) {
	paths, err := filepath.Glob(filepath.Join(corpus, "attacks", "*", "*.gz"))
	if err != nil {
		return nil, err
	}
	for _, path := range append(paths, filepath.Join(corpus, "benign.jsonl.gz")) {
		more, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		all = append(all, more...)
	}
	if len(all) == 0 {
		return nil, errors.New("the corpus has no event of 1 to 4 KiB")
	}
	return all, nil
}

func readFile(path string) (all []template, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(plain)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if n := len(lines.Bytes()); n < minEvent || n > maxEvent {
			continue
		}
		if t, ok := parse(lines.Text()); ok {
			all = append(all, t)
		}
	}
	return all, lines.Err()
}

func parse(line string) (t template, ok bool) {
	for i, place := range places {
		before, behind, found := strings.Cut(line, place)
		_, behind, ended := strings.Cut(behind, `"`)
		if !found || !ended {
			return t, false
		}
		t.parts[i], line = before+place, `"`+behind
	}
	t.parts[3] = line
	return t, true
}

// write puts the event down under a new name, as of now.
func (t *template) write(b *bytes.Buffer, name string, at time.Time) {
	stamp := at.UTC().Format("2006-01-02T15:04:05.000000Z")
	for i, text := range [4]string{name, stamp, stamp, ""} {
		b.WriteString(t.parts[i])
		b.WriteString(text)
	}
}

// maker makes events, each once.
type maker struct {
	templates []template
	made      int
}

// name of the n-th event.
func name(n int) string { return fmt.Sprintf("load-%09d", n) }

// lines makes n events, a line each.
func (m *maker) lines(n int, at time.Time) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		var b bytes.Buffer
		m.templates[m.made%len(m.templates)].write(&b, name(m.made), at)
		m.made++
		out[i] = b.Bytes()
	}
	return out
}

// list is a webhook's body.
func list(lines [][]byte) []byte {
	var b bytes.Buffer
	b.WriteString(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	b.Write(bytes.Join(lines, []byte(",")))
	b.WriteString("]}\n")
	return b.Bytes()
}
