package redact

import (
	"hash"
	"strings"
)

// ellipsis ends a text that a rule's summary or evidence cut.
const ellipsis = "…"

// walk is the redaction of one record. It masks nothing before it has found a secret,
// and allocates nothing until then.
type walk struct {
	redactor *Redactor
	mac      hash.Hash // made for the first secret
	escaped  bool
	keep     bool // remember secrets: summary and evidence repeat them
	known    []secret
	repeats  *repeats // of the secrets known, once all are
	masks    int
	work     int
}

// text masks the secrets of one text.
func (w *walk) text(raw string, in form) string {
	if raw == "" {
		return raw
	}
	s, end := w.plain(raw), ""
	if cut, ok := strings.CutSuffix(s, ellipsis); ok {
		s, end = cut, ellipsis
	}
	f := finder{cut: end != ""}
	f.read(s, in)
	if in == inText && hasBlank(s) {
		f.commands(s, 0, 0)
	}
	if w.repeats != nil {
		f.hits = append(f.hits, w.repeats.find(s, w.known, f.cut)...)
		f.work += len(s)
	}
	w.work += f.work
	masked, ok := w.mask(s, "", f.hits)
	if !ok {
		return raw
	}
	return w.escape(masked+end, raw)
}
