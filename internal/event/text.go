package event

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape writes every byte of s that is not UTF-8 as \xNN and every backslash
// twice, so that the text can be read back whatever it was.
func Escape(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	b.Grow(len(s) + 8)
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x`)
			b.WriteByte(hex[s[0]>>4])
			b.WriteByte(hex[s[0]&15])
		case r == '\\':
			b.WriteString(`\\`)
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// Hidden reports whether a rune must not reach a reader's screen as it is: it steers the
// terminal, ends the line, turns the text's direction, or takes no place at all.
// Letters, marks, digits, punctuation, symbols and spaces of all scripts are not hidden.
func Hidden(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	// Graphic leaves out controls, formats (the bidirectional ones among them), line and
	// paragraph separators, and what is not assigned.
	return !unicode.IsGraphic(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Printable keeps text of the watched from steering the terminal it is shown on, from
// reordering what stands around it and from hiding: what is not for the eye is escaped.
func Printable(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, Hidden) < 0 {
		return s
	}
	b := make([]byte, 0, len(s)+16)
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b = fmt.Appendf(b, `\x%02x`, s[0])
		case !Hidden(r):
			b = append(b, s[:size]...)
		case r < utf8.RuneSelf:
			b = fmt.Appendf(b, `\x%02x`, r)
		case r > 0xffff:
			b = fmt.Appendf(b, `\U%08x`, r)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		s = s[size:]
	}
	return string(b)
}
