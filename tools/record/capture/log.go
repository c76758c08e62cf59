package capture

import (
	"fmt"
	"slices"

	"github.com/seawall-security/seawall/agent/decode"
	"github.com/seawall-security/seawall/agent/recording"
	"github.com/seawall-security/seawall/internal/event"
)

// Log is everything that was captured, in the order in which it came.
type Log struct {
	header  recording.Header
	entries []entry
	bytes   int
	named   map[uint64]*event.Container // the last line of each cgroup
	err     error
}

// entry is a line of a recording, with what selection asks of a record.
type entry struct {
	recording.Entry
	head event.Header
	// child is set for forks, made for cgroups that came or went.
	child event.Key
	made  uint64
}

func newLog(h recording.Header) *Log {
	return &Log{header: h, named: make(map[uint64]*event.Container)}
}

// add keeps a copy of a record, but for those of the agent's test of itself.
func (l *Log) add(ring recording.Ring, raw []byte) error {
	if l.bytes += len(raw); l.bytes > maxBytes {
		return fmt.Errorf("capture: more than %d bytes came", maxBytes)
	}
	kept := entry{Entry: recording.Entry{Ring: ring, Raw: slices.Clone(raw)}}
	decoder := decode.Decoder{}
	e, err := decoder.Decode(kept.Raw)
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	if e.Flags.Has(event.SelfTest) {
		return nil
	}
	kept.head = e.Header
	switch p := e.Payload.(type) {
	case *event.Fork:
		kept.child = p.Child
	case *event.Cgroup:
		kept.made = p.ID
	}
	l.entries = append(l.entries, kept)
	return nil
}

// name notes what a cgroup's container is known to be from now on.
func (l *Log) name(cgroup uint64, c *event.Container) {
	if l.named[cgroup] == c {
		return
	}
	l.named[cgroup] = c
	line := *c
	line.CgroupID = cgroup // of a cgroup below it: what events of that one carry
	l.entries = append(l.entries, entry{Entry: recording.Entry{Container: &line}})
}
