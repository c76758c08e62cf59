package redact

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// KeyBytes is the size of a redactor's key.
const KeyBytes = 32

const (
	maskHead   = "[redacted:"
	maskDigits = 16 // hex, 64 bits: see the package's doc
	maskBytes  = len(maskHead) + maskDigits + len("]")
)

// Redactor masks secrets with one key.
type Redactor struct {
	key []byte
}

// New returns a redactor. Nodes whose masks shall be comparable share the key.
func New(key []byte) (*Redactor, error) {
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("redaction key has %d bytes, want %d", len(key), KeyBytes)
	}
	return &Redactor{key: bytes.Clone(key)}, nil
}

// Text masks the secrets of any text: a line of a log, a message.
func (r *Redactor) Text(s string) string {
	w := walk{redactor: r}
	return w.text(s, inText)
}

// Named masks the value of something that has a name: a label, a variable of an
// environment, a parameter. The name can say that the whole value is a secret.
func (r *Redactor) Named(name, value string) string {
	w := walk{redactor: r}
	return w.label(name, value)
}

// Args masks the secrets of a program's arguments in place, the program first, and
// returns how many there were.
func (r *Redactor) Args(args []string) int {
	w := walk{redactor: r}
	w.args(args, false)
	return w.masks
}

// mask writes s without its secrets, and reports whether it had any. before is the
// argument that s follows.
func (w *walk) mask(s, before string, hits []hit) (string, bool) {
	if len(hits) == 0 {
		return "", false
	}
	if hits = tidy(s, hits); len(hits) == 0 {
		return "", false
	}
	b := make([]byte, 0, len(s)+len(hits)*maskBytes)
	at := 0
	for _, h := range hits {
		secret := s[h.start:h.end]
		if h.whole != "" {
			secret = h.whole
		}
		b = w.appendMask(append(b, s[at:h.start]...), secret)
		at = h.end
		w.masks++
		w.remember(s, before, h)
	}
	return string(append(b, s[at:]...)), true
}

func (w *walk) appendMask(dst []byte, secret string) []byte {
	if w.mac == nil {
		w.mac = hmac.New(sha256.New, w.redactor.key)
	}
	w.mac.Reset()
	w.mac.Write([]byte(secret)) // a hash never fails
	sum := w.mac.Sum(make([]byte, 0, sha256.Size))
	dst = append(dst, maskHead...)
	dst = hex.AppendEncode(dst, sum[:maskDigits/2])
	return append(dst, ']')
}

// maskAt returns the end of the mask that begins at i, or i.
func maskAt(s string, i int) int {
	if len(s)-i < maskBytes || !strings.HasPrefix(s[i:], maskHead) || s[i+maskBytes-1] != ']' {
		return i
	}
	for _, c := range []byte(s[i+len(maskHead) : i+maskBytes-1]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return i
		}
	}
	return i + maskBytes
}

// hit is where a secret stands in a text.
type hit struct {
	start, end int
	whole      string // the secret, where the text was cut within it
}

// tidy puts hits in order and joins those that overlap. One that has part of a mask in
// it was found before, with other text around it: a comma behind a password, say.
func tidy(s string, hits []hit) []hit {
	if masks := masksIn(s); len(masks) > 0 {
		hits = slices.DeleteFunc(hits, func(h hit) bool {
			n, _ := slices.BinarySearch(masks, h.start-maskBytes+1) // the first that ends behind its start
			return n < len(masks) && masks[n] < h.end
		})
	}
	slices.SortFunc(hits, func(a, b hit) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	kept := hits[:0]
	for _, h := range hits {
		if n := len(kept); n > 0 && h.start < kept[n-1].end {
			if h.whole != "" && h.start == kept[n-1].start && h.end == kept[n-1].end {
				kept[n-1].whole = h.whole
			}
			kept[n-1].end = max(kept[n-1].end, h.end)
			continue
		}
		kept = append(kept, h)
	}
	return kept
}

// masksIn is where masks begin in s.
func masksIn(s string) (at []int) {
	for i := 0; ; {
		next := strings.Index(s[i:], maskHead)
		if next < 0 {
			return at
		}
		i += next
		if end := maskAt(s, i); end > i {
			at = append(at, i)
			i = end
		} else {
			i++
		}
	}
}
