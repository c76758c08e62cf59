package rule

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// text is a YAML scalar that knows where each of its characters stands in the file.
type text struct {
	value string
	node  *yaml.Node
	lines []string // of the file
}

// splitLines splits where YAML counts a line.
func splitLines(data string) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(data), "\n")
}

// position finds line and column, from 1, of the byte offset in the value.
// Value and source run side by side: white space of one stands for white space
// of the other, whatever the scalar's style folded, indented or stripped.
func (t text) position(offset int) (line, column int) {
	if t.node == nil || t.node.Line < 1 || t.node.Line > len(t.lines) {
		return 0, 0
	}
	line, column = t.node.Line, t.node.Column
	source := strings.Join(t.lines[line-1:], "\n")
	at := skipRunes(source, column-1)
	switch {
	case t.node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		end := strings.IndexByte(source[at:], '\n')
		if end < 0 {
			return line, column
		}
		at += end + 1
	case t.node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		at++
	}
	at = t.align(t.value[:min(offset, len(t.value))], source, at)
	before := source[:at]
	line += strings.Count(before, "\n")
	start := strings.LastIndexByte(before, '\n') + 1
	return line, utf8.RuneCountInString(before[start:]) + 1
}

// align returns the offset in source, from at on, of what follows value there.
func (t text) align(value, source string, at int) int {
	for i := 0; i < len(value) && at < len(source); {
		_, size := utf8.DecodeRuneInString(value[i:])
		switch {
		case t.node.Style&yaml.DoubleQuotedStyle != 0 && source[at] == '\\':
			at += escapeBytes(source[at:])
			i += size
		case isSpace(value[i]):
			if isSpace(source[at]) {
				at++
			}
			i++
		case isSpace(source[at]): // indentation, or a fold
			at++
		case t.node.Style&yaml.SingleQuotedStyle != 0 && value[i] == '\'':
			at += 2
			i++
		default:
			at += size
			i += size
		}
	}
	for at < len(source) && isSpace(source[at]) {
		at++
	}
	return min(at, len(source))
}

// escapeBytes is the length of the escape of a double-quoted scalar that source
// begins with.
func escapeBytes(source string) int {
	if len(source) > 1 {
		switch source[1] {
		case 'x':
			return 4
		case 'u':
			return 6
		case 'U':
			return 10
		}
	}
	return 2
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\t' || b == '\r' }

// skipRunes returns the offset of the n-th rune of s.
func skipRunes(s string, n int) int {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return at
}
