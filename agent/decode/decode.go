// Package decode turns the kernel's records into events.
//
// It owns the Go half of the wire layout in bpf/event.h. A record is one header,
// the fixed part of its kind and a tail of text; bytes are the machine's own
// order. Nothing is believed before it was checked: the size, the kind, and that
// every span lies in the tail. A record that fails is refused whole, with the
// reason. Numbers outside their enum become "unknown", never a neighbour.
//
// A [Decoder] lends what it returns: event, payload and text are valid until its
// next Decode and as long as the record's bytes stay as they are, since text is
// a view into them; [event.Event.Clone] makes an event to keep. It allocates
// only for refusals. A Decoder belongs to one goroutine.
package decode

import (
	"unsafe"

	"github.com/seawall-security/seawall/internal/event"
)

// Decoder holds one event and one payload of each kind, to be lent. The zero
// value is ready; without a Clock events carry no wall time.
type Decoder struct {
	// Clock gives events their wall time. Its owner may replace it between records.
	Clock Clock

	event     event.Event
	exec      event.Exec
	fork      event.Fork
	exit      event.Exit
	namespace event.Namespace
	open      event.Open
	rename    event.Rename
	unlink    event.Unlink
	chmod     event.Chmod
	flow      event.Flow
	memory    event.Memory
	cgroup    event.Cgroup

	// The fixed part of the record at hand. A copy, because neither iterator
	// output nor recordings keep records aligned.
	wire struct {
		header    wireHeader
		exec      wireExec
		fork      wireFork
		exit      wireExit
		namespace wireNamespace
		open      wireOpen
		rename    wireRename
		unlink    wireUnlink
		chmod     wireChmod
		flow      wireFlow
		memory    wireMemory
		cgroup    wireCgroup
	}
}

// Decode decodes one whole record. The event is lent. An error is an [*Error].
func (d *Decoder) Decode(record []byte) (*event.Event, error) {
	if !load(&d.wire.header, record) {
		return nil, refuse(event.KindNone, ReasonShort, "%d bytes are no header", len(record))
	}
	h := &d.wire.header
	kind := event.Kind(h.Kind)
	if uint64(h.Size) != uint64(len(record)) {
		return nil, refuse(kind, ReasonSize, "header claims %d bytes, record has %d", h.Size, len(record))
	}
	var (
		payload event.Payload
		err     *Error
	)
	d.header(h, record)
	switch kind {
	case event.KindProcessFork:
		payload, err = d.decodeFork(record)
	case event.KindProcessExec, event.KindProcessSeed:
		payload, err = d.decodeExec(record)
	case event.KindProcessExit:
		payload, err = d.decodeExit(record)
	case event.KindProcessNamespace:
		payload, err = d.decodeNamespace(record)
	case event.KindFileOpen:
		payload, err = d.decodeOpen(record)
	case event.KindFileRename:
		payload, err = d.decodeRename(record)
	case event.KindFileUnlink:
		payload, err = d.decodeUnlink(record)
	case event.KindFileChmod:
		payload, err = d.decodeChmod(record)
	case event.KindNetworkConnect, event.KindNetworkAccept:
		payload, err = d.decodeFlow(record)
	case event.KindMemoryProtect, event.KindMemoryMap:
		payload, err = d.decodeMemory(record)
	case event.KindCgroupCreate, event.KindCgroupRemove:
		payload, err = d.decodeCgroup(record)
	default:
		err = refuse(kind, ReasonKind, "no kind has number %d", h.Kind)
	}
	if err != nil {
		return nil, err
	}
	d.event.Payload = payload
	return &d.event, nil
}

// header fills the event but for its payload; what an earlier loan had attached is gone.
func (d *Decoder) header(h *wireHeader, record []byte) {
	at := event.Boot(h.TimeNS)
	d.event = event.Event{Header: event.Header{
		Kind:        event.Kind(h.Kind),
		Flags:       event.Flags(h.Flags) &^ event.HasResult,
		Time:        at,
		Wall:        d.Clock.Wall(at),
		CPU:         h.CPU,
		CPUSequence: h.Sequence,
		Actor:       event.Key{TGID: h.TGID, Start: event.Boot(h.StartNS)},
		Parent:      event.Key{TGID: h.ParentTGID, Start: event.Boot(h.ParentStartNS)},
		TID:         h.TID,
		UID:         h.UID,
		EUID:        h.EUID,
		GID:         h.GID,
		CgroupID:    h.CgroupID,
		MountNS:     h.MountNS,
		PIDNS:       h.PIDNS,
		Tree:        event.Tree(h.Tree),
		Comm:        comm(record),
	}}
}

// result sets the call's outcome if the hook knew it. Kinds without one never call it.
func (d *Decoder) result(value int64) {
	if event.Flags(d.wire.header.Flags).Has(event.HasResult) {
		d.event.Flags |= event.HasResult
		d.event.Result = value
	}
}

// load copies the fixed part of a record and reports whether there was enough of it.
// T is one of the wire structs: free of pointers, any bytes are a value of it.
func load[T any](fixed *T, record []byte) bool {
	size := int(unsafe.Sizeof(*fixed))
	if len(record) < size {
		return false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(fixed)), size), record)
	return true
}
