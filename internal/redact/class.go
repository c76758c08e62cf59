package redact

// Classes of bytes, so that a pass looks each up once.
const (
	alnum  = 1 << iota // A-Z a-z 0-9
	named              // may be in a name: alnum _ - .
	blank              // space and line ends
	quote              // ' " `
	closer             // ends an unquoted value in text, besides blanks and quotes
	worth              // the text pass has to look: separators, dots, quotes, first bytes of shapes
)

var classes = classify()

func classify() (t [256]uint8) {
	for c := range t {
		b := byte(c)
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
			t[c] = alnum | named
		case b == '_', b == '-', b == '.':
			t[c] = named
		case b == ' ', b >= '\t' && b <= '\r':
			t[c] = blank
		case b == '\'', b == '"', b == '`':
			t[c] = quote | worth // SQL
		case b == ';', b == '&', b == '|', b == '(', b == ')', b == '<', b == '>':
			t[c] = closer
		}
	}
	for _, s := range shapes {
		t[s.prefix[0]] |= worth
	}
	t['='] |= worth
	t[':'] |= worth
	t['.'] |= worth
	t['('] |= worth
	t['>'] |= worth
	return t
}

func is(c byte, class uint8) bool { return classes[c]&class != 0 }
func isDigit(c byte) bool         { return c >= '0' && c <= '9' }
func isLower(c byte) bool         { return c >= 'a' && c <= 'z' }
func isUpper(c byte) bool         { return c >= 'A' && c <= 'Z' }

// charset is a set of ASCII bytes.
type charset [256]bool

func chars(s string) *charset {
	var set charset
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i+1] == '-' {
			for c := s[i]; c <= s[i+2]; c++ {
				set[c] = true
			}
			i += 2
			continue
		}
		set[s[i]] = true
	}
	return &set
}

// run is the end of the bytes of the set from i on.
func (set *charset) run(s string, i int) int {
	for i < len(s) && set[s[i]] {
		i++
	}
	return i
}

// mixed reports whether v has letters and digits, in both cases if both says so.
func mixed(v string, both bool) bool {
	var digit, upper, lower bool
	for i := range len(v) {
		digit = digit || isDigit(v[i])
		upper = upper || isUpper(v[i])
		lower = lower || isLower(v[i])
	}
	return digit && (upper && lower || !both && (upper || lower))
}
