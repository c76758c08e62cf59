package redact

import "strings"

// finder collects the secrets of one text.
type finder struct {
	hits []hit
	// pair is the length of the secret that belongs to an access key id found before;
	// it may stand in a later argument.
	pair int
	// cut: the end of the text is missing.
	cut bool
	// dead is, by shape, how far its long candidates were refused; made when one is.
	dead []int32
	// work counts bytes looked at: tests hold it linear.
	work int
}

func (f *finder) add(start, end int) {
	if start < end {
		f.hits = append(f.hits, hit{start: start, end: end})
	}
}

// read looks for what needs no command around it, from left to right. Most bytes cost
// one look at a table.
func (f *finder) read(s string, in form) {
	f.work += len(s)
	for i := 0; i < len(s); {
		c := s[i]
		if !is(c, worth) && f.pair == 0 {
			i++
			continue
		}
		start := i
		switch {
		case c == '=' || c == ':':
			i = f.separator(s, i, in)
		case c == '.':
			if from, to := bootstrap(s, i); from < to {
				f.add(from, to)
				i = to
			}
		case is(c, quote):
			if in == inText && sqlPassword(s, i) {
				i = f.value(s, i, sure, in)
			}
		case c == '(' || c == '>':
			if in == inText {
				i = f.code(s, i)
			}
		case i == 0 || !is(s[i-1], alnum):
			i = f.word(s, i)
		}
		if i == start {
			i++
		}
	}
}

// word looks at a word's beginning.
func (f *finder) word(s string, i int) int {
	if f.pair > 0 {
		if end := f.pairSecret(s, i); end > i {
			f.add(i, end)
			f.pair = 0
			return end
		}
	}
	if i+1 < len(s) && !begins(s[i], s[i+1]) {
		return i
	}
	from, to := f.shape(s, i)
	f.add(from, to)
	return max(i, to)
}

// separator looks at a = or : and returns where to go on.
func (f *finder) separator(s string, i int, in form) int {
	if s[i] == ':' && strings.HasPrefix(s[i:], "://") {
		return f.uri(s, i+len("://"), in)
	}
	if i+1 >= len(s) {
		return i + 1
	}
	if s[i] == ':' && s[i+1] == 'A' {
		if from, to := telegram(s, i); from < to {
			f.add(from, to)
			return to
		}
	}
	name, start, quoted := nameEndingAt(s, i)
	f.work += i - start
	if name == "" {
		return i + 1
	}
	query := start > 0 && (s[start-1] == '?' || s[start-1] == '&') && s[i] == '='
	m := judge(strings.TrimPrefix(name, "-H"))                   // curl -Hauthorization:
	if m == open && query && (name == "key" || name == "code") { // of an API, of OAuth; or of anything
		m = random
	}
	if m == open {
		return i + 1
	}
	if s[i] == ':' && start >= 2 && s[start-2:start] == "${" && strings.IndexByte("-=+?", s[i+1]) >= 0 { // ${TOKEN:-secret}
		if v := i + 2; !harmless(s[v:min(len(s), v+peekBytes)], false, m, in) {
			end := v + strings.IndexByte(s[v:]+"}", '}')
			f.add(v, end)
			return end
		}
		return i + 1
	}
	if query {
		in = inQuery
	}
	v, ok := valueStart(s, i, name, quoted, in)
	if !ok || v >= len(s) {
		return i + 1
	}
	return f.value(s, v, m, in)
}

// valueStart is where the value behind the separator at i begins.
func valueStart(s string, i int, name string, quoted bool, in form) (v int, ok bool) {
	spaced := is(s[i-1], blank)
	v = i + 1
	switch {
	case s[i] == '=' && v < len(s) && (s[v] == '=' || s[v] == '>' || s[v] == '~'): // ==, =>, =~
		v++
		spaced = true
	case s[i] == ':' && v < len(s) && s[v] == '=': // :=
		v++
		spaced = true
	case s[i] == ':' && s[v] == ':': // a scope of C++ or Perl
		return 0, false
	}
	after := v
	for v < len(s) && v < after+8 && (s[v] == ' ' || s[v] == '\t') {
		v++
	}
	if v >= len(s) {
		return 0, false
	}
	if s[i] == ':' {
		return v, v > after || quoted || isQuote(s, v) || isHeader(name) || name[0] == '-'
	}
	// NAME= value is an empty value and a command, name = value an assignment.
	if v > after && !spaced && !is(s[v], quote) || in == inArgument && !spaced {
		v = after
	}
	return v, !is(s[v], blank) || in == inArgument
}

// isQuote reports whether a quote stands at i, perhaps behind backslashes.
func isQuote(s string, i int) bool {
	for i < len(s) && s[i] == '\\' {
		i++
	}
	return i < len(s) && is(s[i], quote)
}

// value takes the value at v and returns where to go on.
func (f *finder) value(s string, v int, m manner, in form) int {
	slashes := 0
	for v+slashes < len(s) && s[v+slashes] == '\\' && slashes < 8 {
		slashes++
	}
	q := v + slashes
	if q < len(s) && is(s[q], quote) && in != inQuery {
		if s[q] == '`' && in != inArgument { // a command
			return q + 1
		}
		v = q + 1
		if v >= len(s) || is(s[v], blank|closer) && in == inText { // it ends a quotation
			return v
		}
		peek := s[v:min(len(s), v+peekBytes)]
		end := quotedEnd(peek, 0, s[q], slashes)
		if harmless(peek[:end], end < len(peek) || v+end == len(s), m, inArgument) {
			return v
		}
		end = quotedEnd(s, v, s[q], slashes)
		if in == inArgument && slashes == 0 && end+1 < len(s) { // the quote is part of it
			end = valueEnd(s, end, len(s), in)
		}
		f.work += end - v
		return f.take(s, v, end, m, inArgument)
	}
	limit := min(len(s), v+peekBytes)
	end := valueEnd(s, v, limit, in)
	if end > v && pattern(s[v:end], inArgument) { // sed s/password=.*/password=secret/
		return v + 1
	}
	if harmless(s[v:end], end < limit || end == len(s), m, in) || called(s, v, end, in) {
		return max(v, end-1)
	}
	switch {
	case (m == authorization || m == cookie) && in == inText:
		end = len(s) // take finds it
	case m == authorization || m == cookie:
		end = lineEnd(s, v)
	case end == limit:
		end = valueEnd(s, end, len(s), in)
	}
	return f.take(s, v, end, m, in)
}

// called reports whether the value is code that fetches it: getpass(), environ["X"].
func called(s string, v, end int, in form) bool {
	if in != inText || end >= len(s) {
		return false
	}
	if s[end] == '(' {
		return allName(s[v:end])
	}
	return is(s[end], quote) && s[end-1] == '[' && allName(s[v:end-1])
}

// take adds the secret of a value between v and end, and returns where to go on.
func (f *finder) take(s string, v, end int, m manner, in form) int {
	switch m {
	case authorization:
		scheme := v
		for scheme < end && (is(s[scheme], alnum) || s[scheme] == '-') {
			scheme++
		}
		switch {
		case scheme < end && s[scheme] == ' ':
			v = scheme + 1
		case strings.HasPrefix(s[scheme:end], "%20"):
			v = scheme + len("%20")
		}
		if in == inText {
			end = valueEnd(s, v, end, inText)
		}
		if harmless(s[v:end], true, sure, in) {
			return end
		}
	case cookie:
		if in == inText {
			end = cookiesEnd(s, v)
		}
	}
	f.work += end - v
	f.add(v, end)
	return end
}

// cookiesEnd is the end of a=b; c=d in text: the first word without a semicolon is the last.
func cookiesEnd(s string, i int) int {
	for {
		for i < len(s) && !is(s[i], blank|quote) {
			i++
		}
		if i+1 >= len(s) || s[i] != ' ' || s[i-1] != ';' {
			return i
		}
		i++
	}
}

// lineEnd is where a header ends that is an argument of its own.
func lineEnd(s string, i int) int {
	if end := strings.IndexAny(s[i:], "\r\n"); end >= 0 {
		return i + end
	}
	return len(s)
}

// uriUser bounds how far user information with a slash in it is looked for.
const uriUser = 256

// uri looks at what follows ://, and returns where to go on.
func (f *finder) uri(s string, i int, in form) int {
	at, end := -1, i
	for ; end < len(s); end++ {
		c := s[end]
		if c == '/' || c == '?' || c == '#' || is(c, blank|quote) || c == '<' || c == '>' {
			break
		}
		if c == '[' {
			if m := maskAt(s, end); m > end {
				end = m - 1
				continue
			}
		}
		if c == '@' {
			at = end
		}
	}
	f.work += end - i
	if at < 0 && in != inPath && end < len(s) {
		at = f.lateAt(s, i, end)
	}
	if at < 0 {
		return i
	}
	if maskAt(s, i) == at {
		return at
	}
	user := maskAt(s, i)
	colon := strings.IndexByte(s[user:at], ':')
	if colon < 0 { // a token instead of a user; a long name is one too
		if at-i >= 20 && looksRandom(s[i:at]) {
			f.add(i, at)
			return at
		}
		return i
	}
	v := user + colon + 1
	if harmless(s[v:at], true, sure, inArgument) {
		return i
	}
	f.add(v, at)
	return at
}

// lateAt finds the @ of a password that has a slash in it, which is against the
// standard and yet common: what stands before the slash is no host and port then.
func (f *finder) lateAt(s string, i, end int) int {
	colon := strings.IndexByte(s[i:end], ':')
	if colon < 0 || s[end] != '/' || allDigits(s[i+colon+1:end]) || s[i] == '[' {
		return -1
	}
	stop := min(len(s), end+uriUser)
	f.work += stop - end
	for k := end; k < stop && !is(s[k], blank|quote); k++ {
		if s[k] == '@' {
			return k
		}
	}
	return -1
}
