package redact

import "strings"

// nameBytes bounds what is looked at of a name: its end tells.
const nameBytes = 64

// nameEndingAt returns the name whose last byte is before i in s, its start, and
// whether it stood in quotes. Between the name and i there may be blanks, brackets and
// quotes: password = , "password": , data['password']= , user[password]=.
func nameEndingAt(s string, i int) (name string, start int, quoted bool) {
	floor := max(0, i-nameBytes)
	for i > floor && (s[i-1] == ' ' || s[i-1] == '\t') {
		i--
	}
	for i > floor && (is(s[i-1], quote) || s[i-1] == ']' || s[i-1] == '\\') {
		quoted = quoted || is(s[i-1], quote)
		i--
	}
	start = i
	for start > floor && is(s[start-1], named) {
		start--
	}
	return s[start:i], start, quoted
}

// judge says how the value of that name is judged. It allocates nothing.
func judge(name string) manner {
	if len(name) > nameBytes {
		name = name[len(name)-nameBytes:]
	}
	for len(name) > 0 && !is(name[0], alnum) {
		name = name[1:]
	}
	if len(name) < 2 {
		return open
	}
	var buf [2 * nameBytes]byte
	n := normal(name, &buf)
	words := buf[:n]
	if namePrefixes[string(words[:wordEnd(words)])] {
		return open
	}
	last := lastWord(words)
	for len(last) < len(words) && (nameTails[string(last)] || allDigits(string(last))) {
		words = words[:len(words)-len(last)-1]
		last = lastWord(words)
	}
	for len(last) > 1 && isDigit(last[len(last)-1]) {
		last = last[:len(last)-1]
	}
	before := words[:max(0, len(words)-len(lastWord(words))-1)]
	switch m := names[string(last)]; {
	case m != open:
		if m == sure && (namePrefixes[string(lastWord(before))]) {
			return open
		}
		return m
	case string(last) == "key" && keyWords[string(lastWord(before))]:
		return tolerant
	case string(last) == "id" && string(before) == "secret": // Vault; the same is a name elsewhere
		return random
	case string(last) == "data" && string(before) == "client-key": // kubeconfig
		return sure
	}
	for _, end := range nameEnds {
		if len(last) > len(end) && string(last[len(last)-len(end):]) == end {
			return sure
		}
	}
	return open
}

// normal writes a name in lower case, its words with dashes between: AWSSecretKey and
// aws_secret.key are aws-secret-key.
func normal(name string, buf *[2 * nameBytes]byte) (n int) {
	for i := range len(name) {
		c := name[i]
		switch {
		case !is(c, alnum):
			c = '-'
			if n == 0 || buf[n-1] == '-' {
				continue
			}
		case isUpper(c):
			follows := i > 0 && (isLower(name[i-1]) || isDigit(name[i-1])) ||
				i > 0 && isUpper(name[i-1]) && i+1 < len(name) && isLower(name[i+1])
			if follows && n > 0 && buf[n-1] != '-' {
				buf[n] = '-'
				n++
			}
			c |= 0x20
		}
		buf[n] = c
		n++
	}
	if n > 0 && buf[n-1] == '-' {
		n--
	}
	return n
}

func lastWord(words []byte) []byte {
	for i := len(words); i > 0; i-- {
		if words[i-1] == '-' {
			return words[i:]
		}
	}
	return words
}

func wordEnd(words []byte) int {
	for i, c := range words {
		if c == '-' {
			return i
		}
	}
	return 0 // a single word is no prefix of another
}

func allDigits(word string) bool {
	for i := range len(word) {
		if !isDigit(word[i]) {
			return false
		}
	}
	return true
}

// isHeader reports whether a name is a header's whose value may follow at once.
func isHeader(name string) bool {
	name = strings.TrimPrefix(name, "-H") // curl -HX-Api-Key:
	if len(name) > nameBytes {
		return false
	}
	var buf [2 * nameBytes]byte
	words := buf[:normal(name, &buf)]
	return headers[string(words)] || len(words) > 2 && words[0] == 'x' && words[1] == '-'
}
