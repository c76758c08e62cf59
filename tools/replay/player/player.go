// Package player plays recordings: their raw records go through the stages of
// the agent (decode, file origin, process, container, rules), so that a rule can
// be judged anywhere by what a real kernel once said.
//
// What is not in the recording does not exist: nothing of the machine that plays
// is looked at, and its clock plays no part. The same recording and rules always
// give the same detections.
//
// A [Recording] never changes and may be played by several goroutines.
package player

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/agent/origin"
	"github.com/seawall-security/seawall/agent/pipeline"
	"github.com/seawall-security/seawall/agent/process"
	"github.com/seawall-security/seawall/agent/recording"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of a recording that is played: it is held in memory as a whole, since
// containers are named after their first events.
const (
	maxEntries = 1 << 20
	maxBytes   = 256 << 20
)

// noProc is a path below which there is no process, on any machine.
const noProc = "/dev/null"

// Recording is a recording in memory.
type Recording struct {
	name    string
	header  recording.Header
	entries []recording.Entry
}

// Open reads a recording from a file system.
func Open(fsys fs.FS, name string) (_ *Recording, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return Read(f, name)
}

// Read reads a recording. The name is for errors.
func Read(in io.Reader, name string) (*Recording, error) {
	lines, err := recording.NewReader(in, name)
	if err != nil {
		return nil, err
	}
	r := &Recording{name: name, header: lines.Header()}
	for size := 0; ; {
		entry, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		if size += len(entry.Raw); len(r.entries) == maxEntries || size > maxBytes {
			return nil, fmt.Errorf("%s:%d: recording has more than %d entries or %d bytes", name, lines.Line(), maxEntries, maxBytes)
		}
		r.entries = append(r.entries, entry)
	}
}

// Header is the recording's first line.
func (r *Recording) Header() recording.Header { return r.header }

// Play gives the recording's events and what the rules make of them to the sink,
// on the caller's goroutine. An error says that not every record was understood;
// the others were played.
func (r *Recording) Play(rules *rule.Set, sink pipeline.Sink) error {
	containers := newContainers(r)
	clock := decode.Clock{Offset: r.header.BootToWall}
	processes := process.New(process.Options{
		BootID: r.header.BootID, HostNamespaces: event.Namespaces(r.header.Host), Wall: clock.Wall,
		Candidate: containers.Candidate, Proc: noProc,
	})
	stages := pipeline.New(pipeline.Options{
		Log: zap.NewNop(), BootID: r.header.BootID, Processes: processes, Origins: origin.New(origin.Limits{}),
		Containers: containers, Rules: rules, Sink: sink,
		// Only a container's line and the end let events out of the pen.
		PenEvents: maxEntries, PenBytes: math.MaxInt, PenWait: time.Hour, Now: func() time.Time { return time.Time{} },
	})
	stages.SetClock(clock)
	seeding := true
	for _, entry := range r.entries {
		if seeding && entry.Container == nil && entry.Ring != recording.Seed {
			seeding = false
			processes.Seeded()
		}
		switch {
		case entry.Container != nil:
			containers.name(entry.Container)
			stages.Idle()
		case entry.Ring == recording.Seed:
			stages.Seed(entry.Raw)
		default:
			stages.Record(entry.Raw)
		}
	}
	stages.Flush()
	for reason, n := range stages.Ledger().Refused {
		if n > 0 {
			return fmt.Errorf("play %s: %d records were refused: %s", r.name, n, reason)
		}
	}
	return nil
}

// Detections plays the recording for what the rules find in it.
func (r *Recording) Detections(rules *rule.Set) ([]*sensorv1.Detection, error) {
	var found finder
	err := r.Play(rules, &found)
	return found.detections, err
}

type finder struct{ detections []*sensorv1.Detection }

func (f *finder) Event(*event.Event)              {}
func (f *finder) Detection(d *sensorv1.Detection) { f.detections = append(f.detections, d) }
