package decode

import "github.com/seawall-security/seawall/internal/event"

func file(w *wireFile, path string) event.File {
	return event.File{
		Path:         path,
		Inode:        w.Inode,
		Device:       w.Device,
		Magic:        w.Filesystem,
		Mode:         w.Mode,
		UID:          w.UID,
		Links:        w.Links,
		Size:         w.SizeBytes,
		ChangeTime:   int64(w.ChangeNS),
		OverlayUpper: w.Flags&wireFileOverlayUpper != 0,
		Overlay:      w.Flags&wireFileOverlay != 0,
		Memfd:        w.Flags&wireFileMemfd != 0,
		Deleted:      w.Flags&wireFileDeleted != 0,
	}
}

func (d *Decoder) decodeOpen(record []byte) (event.Payload, *Error) {
	w := &d.wire.open
	t, err := fixedPart(w, record, d.event.Kind)
	if err != nil {
		return nil, err
	}
	d.result(w.Result)
	d.open = event.Open{
		File:     file(&w.File, t.text("path", w.Path)),
		Flags:    w.Flags,
		Write:    w.Seen&wireOpenWrite != 0,
		Read:     w.Seen&wireOpenRead != 0,
		Created:  w.Seen&wireOpenCreated != 0,
		Truncate: w.Seen&wireOpenTruncate != 0,
		Failed:   w.Seen&wireOpenFailed != 0,
	}
	return &d.open, t.err
}

func (d *Decoder) decodeRename(record []byte) (event.Payload, *Error) {
	w := &d.wire.rename
	t, err := fixedPart(w, record, d.event.Kind)
	if err != nil {
		return nil, err
	}
	d.result(w.Result)
	d.rename = event.Rename{
		File:    file(&w.File, t.text("path", w.Path)),
		NewPath: t.text("new_path", w.NewPath),
	}
	return &d.rename, t.err
}

func (d *Decoder) decodeUnlink(record []byte) (event.Payload, *Error) {
	w := &d.wire.unlink
	t, err := fixedPart(w, record, d.event.Kind)
	if err != nil {
		return nil, err
	}
	d.result(w.Result)
	d.unlink = event.Unlink{File: file(&w.File, t.text("path", w.Path))}
	return &d.unlink, t.err
}

func (d *Decoder) decodeChmod(record []byte) (event.Payload, *Error) {
	w := &d.wire.chmod
	t, err := fixedPart(w, record, d.event.Kind)
	if err != nil {
		return nil, err
	}
	d.result(w.Result)
	d.chmod = event.Chmod{File: file(&w.File, t.text("path", w.Path)), Mode: w.Mode}
	return &d.chmod, t.err
}
