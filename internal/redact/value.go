package redact

import "strings"

// form is what kind of text is read, which decides where a value ends.
type form uint8

const (
	// inText: words between blanks; shell, code, a sentence.
	inText form = iota
	// inPath: a path; a value ends at the next slash.
	inPath
	// inArgument: one argument that is a named value: the value is all the rest.
	inArgument
	// inShell: a word of shell text, with or without quotes.
	inShell
	// inQuery: a query parameter, in whichever text.
	inQuery
)

// peekBytes bounds how far a value is looked at to see whether it is a secret at all.
const peekBytes = 96

// valueEnd is the end of an unquoted value that begins at i, at most limit.
func valueEnd(s string, i, limit int, in form) int {
	for ; i < limit; i++ {
		c := s[i]
		if c == '[' {
			if end := maskAt(s, i); end > i {
				i = end - 1
				continue
			}
		}
		if in == inArgument {
			if (c == ',' || c == ';' || c == '&') && namedNext(s, i+1) || c == '\n' {
				return i
			}
			continue
		}
		if is(c, blank|quote) {
			return i
		}
		switch in {
		case inPath:
			if c == '/' {
				return i
			}
		case inQuery:
			if c == '&' || c == '#' || c == '<' || c == '>' || c == '|' || c == ')' {
				return i
			}
		default:
			if is(c, closer) || c == '\\' && i+1 < len(s) && is(s[i+1], quote) || c == ',' && (namedNext(s, i+1) || lastAt(s, i)) ||
				(c == '}' || c == ']') && lastAt(s, i) {
				return i
			}
		}
	}
	return min(i, limit)
}

// namedNext reports whether name= stands at i.
func namedNext(s string, i int) bool {
	start := i
	for i < len(s) && i < start+nameBytes && is(s[i], named) {
		i++
	}
	return i > start && i < len(s) && s[i] == '='
}

// lastAt reports whether what stands at i is the end of a list or of the text.
func lastAt(s string, i int) bool {
	return i+1 >= len(s) || is(s[i+1], blank|quote|closer) || s[i+1] == ',' || s[i+1] == '}' || s[i+1] == ']'
}

// quotedEnd is the end of a value that begins at i, behind a quote q which had so many
// backslashes before it: in {\"password\":\"x\"} the value ends at the next \".
func quotedEnd(s string, i int, q byte, slashes int) int {
	for ; i < len(s); i++ {
		switch {
		case s[i] == q:
			for slashes > 0 && i > 0 && s[i-1] == '\\' {
				i--
				slashes--
			}
			return i
		case s[i] == '\\' && slashes == 0 && q != '\'':
			i++
		}
	}
	return len(s)
}

// harmless reports whether a value is visibly no secret, from its beginning v; whole
// says that v is all of it. Text of shell and code knows variables in lower case too;
// an argument that a program was given is no variable any more, unless by its looks.
func harmless(v string, whole bool, m manner, in form) bool {
	if v == "" {
		return whole
	}
	if whole && (maskAt(v, 0) == len(v) || placeholder(v)) {
		return true
	}
	switch v[0] {
	case '$':
		return variable(v, whole, in)
	case '<': // <password>
		return whole && v[len(v)-1] == '>'
	case '{': // {{ .Values.x }}, an object
		return strings.HasPrefix(v, "{{") || in == inText && whole && (v == "{" || v[len(v)-1] == ':')
	case '%': // %s, %(password)s, %PASSWORD%
		return whole && len(v) > 1 && (len(v) == 2 || v[1] == '(' || v[len(v)-1] == '%' && allName(v[1:len(v)-1]))
	case '@': // a file, in the way of curl and httpie
		return len(v) > 1 && (v[1] == '/' || v[1] == '.' || v[1] == '-')
	}
	if pattern(v, in) {
		return true
	}
	if place(v, m) {
		return true
	}
	switch m {
	case tolerant:
		return whole && (len(v) <= 4 && allDigits(v) || keyFile(v))
	case random:
		return !looksRandom(v) && !userPassword(v)
	}
	return false
}

// pattern: an expression that looks for secrets; in text also the beginning of code.
func pattern(v string, in form) bool {
	for _, p := range patterns {
		if strings.HasPrefix(v, p) {
			return true
		}
	}
	return in == inText && (v[0] == '(' || v == "[" || v == `\`)
}

var patterns = []string{".*", ".+", "[^", "[[:", `\S`, `\w`, `\d`, `\(`, `\1`}

// placeholder: words and marks that stand where a secret would.
func placeholder(v string) bool {
	if strings.Trim(v, "*") == "" || strings.Trim(v, "xX") == "" && len(v) > 2 || strings.Trim(v, ".") == "" || v == "…" || v == "-" {
		return true
	}
	if len(v) > len("REDACTED")+2 {
		return false
	}
	var buf [16]byte
	n := 0
	for i := range len(v) {
		if c := v[i] | 0x20; isLower(c) {
			buf[n] = c
			n++
		} else if v[i] != '[' && v[i] != ']' && v[i] != '<' && v[i] != '>' && v[i] != '(' && v[i] != ')' {
			return false
		}
	}
	switch string(buf[:n]) {
	case "true", "false", "yes", "no", "on", "off", "none", "null", "nil", "undefined", "stdin", "prompt", "ask", "redacted", "masked", "hidden", "required", "optional":
		return true
	}
	return false
}

// variable: $NAME, ${NAME}, $(command); in text also $name and $name['x'].
func variable(v string, whole bool, in form) bool {
	if len(v) < 2 {
		return whole
	}
	if v[1] == '{' || v[1] == '(' {
		return true
	}
	i := 1
	for i < len(v) && (isUpper(v[i]) || isDigit(v[i]) || v[i] == '_' || in != inArgument && isLower(v[i])) {
		i++
	}
	if i == 1 {
		return whole && len(v) == 2 && strings.IndexByte("@*#?!", v[1]) >= 0
	}
	if isDigit(v[1]) && i > 2 {
		return false
	}
	return i == len(v) && whole || i < len(v) && in != inArgument && (v[i] == '[' || strings.HasPrefix(v[i:], "->") || v[i] == '.' || v[i] == '}')
}

// places are where a secret can be read, not the secret.
var places = []string{"/run/", "/var/", "/etc/", "/home/", "/root/", "/tmp/", "/mnt/", "/opt/", "/usr/", "/proc/", "/dev/", "/secrets/", "/vault/",
	"./", "../", "~/", "file:", "env:", "fd:", "arn:aws:", "op://", "id=", "type=", "vault:"}

func place(v string, m manner) bool {
	if m == tolerant && (v[0] == '/' && !looksSecretPath(v) || v[0] == '~' || v[0] == '\\' || len(v) > 2 && v[1] == ':' && v[2] == '\\') {
		return true
	}
	for _, p := range places {
		if strings.HasPrefix(v, p) {
			return true
		}
	}
	return false
}

// looksSecretPath: base64 may begin with a slash; paths have no + and =, and their
// names are rarely that mixed.
func looksSecretPath(v string) bool {
	return len(v) >= 32 && base64std.run(v, 0) == len(v) && mixed(v, true)
}

func keyFile(v string) bool {
	dot := strings.LastIndexByte(v, '.')
	if dot < 0 {
		return false
	}
	switch v[dot+1:] {
	case "pem", "key", "crt", "cer", "der", "pub", "json", "yaml", "yml", "txt", "jks", "p12", "pfx", "gpg", "asc":
		return true
	}
	return false
}

func allName(v string) bool {
	for i := range len(v) {
		if !is(v[i], named) {
			return false
		}
	}
	return len(v) > 0
}

// looksRandom: long, of a token's characters, letters and digits mixed.
func looksRandom(v string) bool {
	if len(v) < 16 || !mixed(v, false) {
		return false
	}
	for i := range len(v) {
		if !token68[v[i]] && v[i] != '%' {
			return false
		}
	}
	return true
}
