package redact

import (
	"strings"

	"github.com/seawall-security/seawall/internal/event"
)

// plain is the text as it was before it was escaped (see event.Escape), so that masks do
// not depend on what else is in an event and no escape is cut apart.
func (w *walk) plain(s string) string {
	if !w.escaped || strings.IndexByte(s, '\\') < 0 {
		return s
	}
	return unescape(s)
}

// escape writes masked text as the event's text is written; raw is what it was there.
func (w *walk) escape(masked, raw string) string {
	if !w.escaped || strings.IndexByte(raw, '\\') < 0 {
		return masked
	}
	return event.Escape(masked)
}

// unescape undoes event.Escape. A backslash that begins no escape, where text was cut,
// stands for itself.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			if s[i+1] == '\\' {
				i++
			} else if hi, lo := digit(s, i+2), digit(s, i+3); s[i+1] == 'x' && hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 3
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// digit is the value of the hex digit at i in s, 16 if there is none.
func digit(s string, i int) byte {
	switch {
	case i >= len(s):
	case isDigit(s[i]):
		return s[i] - '0'
	case s[i] >= 'a' && s[i] <= 'f':
		return s[i] - 'a' + 10
	}
	return 16
}
