package decode

import "github.com/seawall-security/seawall/internal/event"

// PROT_GROWSDOWN and the like may come with them.
const protections = event.ProtRead | event.ProtWrite | event.ProtExec

func (d *Decoder) decodeMemory(record []byte) (event.Payload, *Error) {
	w := &d.wire.memory
	t, err := fixedPart(w, record, d.event.Kind)
	if err != nil {
		return nil, err
	}
	d.result(w.Result)
	d.memory = event.Memory{
		Address:  w.Address,
		Length:   w.LengthBytes,
		After:    event.Protection(w.After) & protections,
		Region:   region(w.Region),
		MapFlags: w.MapFlags,
		File:     file(&w.File, t.text("path", w.Path)),
	}
	if w.Before&wireMemoryBeforeUnknown != 0 {
		d.memory.BeforeUnknown = true
	} else {
		d.memory.Before = event.Protection(w.Before) & protections
	}
	return &d.memory, t.err
}

func region(n uint32) event.Region {
	if n > uint32(event.RegionHeap) {
		return event.RegionUnknown
	}
	return event.Region(n)
}
