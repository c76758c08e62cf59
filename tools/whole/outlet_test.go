package whole

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// told names one revision.
type told struct {
	id       string
	revision uint32
}

// outlet is one way out, by the file that its reader wrote: a line has an alert, or an
// array of them.
type outlet struct {
	name, path string
	read       int64

	order    []told // as they came for the first time
	times    map[told]int
	latest   map[string]uint32            // the newest revision of each alert
	marks    map[string]map[string]string // by mark and alert: detections told of it
	gaps     []*sensorv1.Gap              // of all alerts
	repeated int
	problems []string
	// repeats judges one that came again; nil: none may. The index counts all that came.
	repeats func(index int, again told, last told) bool
	came    int
	last    told
}

func newOutlet(name, path string) *outlet {
	return &outlet{name: name, path: path, times: map[told]int{}, latest: map[string]uint32{}, marks: map[string]map[string]string{}}
}

// catchUp takes in the lines that are whole.
func (o *outlet) catchUp() error {
	f, err := os.Open(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	text := make([]byte, max(0, info.Size()-o.read))
	n, _ := f.ReadAt(text, o.read) // it may have been cut
	for line := range bytes.Lines(text[:n]) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		o.read += int64(len(line))
		documents := []json.RawMessage{json.RawMessage(line)}
		if line[0] == '[' {
			if err := json.Unmarshal(line, &documents); err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
		}
		for _, document := range documents {
			a := &alertv1.Alert{}
			if err := protojson.Unmarshal(document, a); err != nil {
				return fmt.Errorf("%s: %w in %.200s", o.name, err, document)
			}
			o.take(a)
		}
	}
	return nil
}

func (o *outlet) take(a *alertv1.Alert) {
	this := told{a.Id, a.Revision}
	index := o.came
	o.came++
	o.times[this]++
	if o.times[this] > 1 {
		o.repeated++
		if o.repeats == nil || !o.repeats(index, this, o.last) {
			o.problems = append(o.problems, fmt.Sprintf("%s: revision %d of %s came again, as number %d", o.name, a.Revision, a.Id, index))
		}
		o.last = this
		return
	}
	o.last = this
	o.order = append(o.order, this)
	if a.Revision != o.latest[a.Id]+1 {
		o.problems = append(o.problems, fmt.Sprintf("%s: revision %d of %s follows %d", o.name, a.Revision, a.Id, o.latest[a.Id]))
	}
	o.latest[a.Id] = a.Revision
	o.gaps = append(o.gaps, a.Gaps...)
	for _, e := range a.Evidence {
		if mark, ok := markOf(e); ok {
			if o.marks[mark] == nil {
				o.marks[mark] = map[string]string{}
			}
			if before, known := o.marks[mark][a.Id]; known && before != e.DetectionId {
				o.problems = append(o.problems, fmt.Sprintf("%s: %s is told twice in %s", o.name, mark, a.Id))
			}
			o.marks[mark][a.Id] = e.DetectionId
		}
	}
	if a.EvidenceOmitted > 0 && len(a.Evidence) > 0 {
		if mark, ok := markOf(a.Evidence[0]); ok {
			o.problems = append(o.problems, fmt.Sprintf("%s: %s counts %d repeats of what was done once", o.name, mark, a.EvidenceOmitted))
		}
	}
}

// markOf is the mark whose detection a fact is.
func markOf(e *alertv1.Evidence) (string, bool) {
	mark, _, _ := strings.Cut(e.Text, " ")
	return mark, (e.Rule == markRule || e.Rule == canaryRule) && strings.HasPrefix(mark, markPrefix)
}
