package redact

import (
	"encoding/base64"
	"strings"
)

// shapesBy are the indices into shapes by first byte.
var shapesBy = indexShapes()

func indexShapes() (index [256][]uint8) {
	for i, s := range shapes {
		index[s.prefix[0]] = append(index[s.prefix[0]], uint8(i))
	}
	return index
}

// beginnings are the first two bytes of shapes, a bit each.
var beginnings = indexBeginnings()

func indexBeginnings() (bits [256][4]uint64) {
	for _, s := range shapes {
		bits[s.prefix[0]][s.prefix[1]>>6] |= 1 << (s.prefix[1] & 63)
	}
	return bits
}

func begins(a, b byte) bool { return beginnings[a][b>>6]&(1<<(b&63)) != 0 }

// longRun is how long a refused candidate has to be to be remembered.
const longRun = 64

// token is a candidate: a prefix at start, behind it characters of the shape's set.
type token struct {
	s                string
	start, body, end int
	cut              bool // the text's end is missing
}

// open reports whether the token may have gone on behind end.
func (t token) open(end int) bool { return t.cut && end == len(t.s) }

// shape looks for a token that begins at i, where a word does.
func (f *finder) shape(s string, i int) (from, to int) {
	for _, n := range shapesBy[s[i]] {
		sh := &shapes[n]
		if !strings.HasPrefix(s[i:], sh.prefix) {
			continue
		}
		if f.dead != nil && i < int(f.dead[n]) {
			continue
		}
		t := token{s: s, start: i, body: i + len(sh.prefix), cut: f.cut}
		t.end = t.body
		if sh.set != nil {
			limit := len(s)
			if sh.max > 0 {
				limit = min(limit, t.body+sh.max+1)
			}
			t.end = sh.set.run(s[:limit], t.body)
			f.work += t.end - t.body
			size := t.end - t.body
			if (size < sh.min || sh.max > 0 && size > sh.max) && !t.open(t.end) {
				continue
			}
		}
		from, to = t.start, t.end
		if sh.check != nil {
			from, to = sh.check(t)
			f.work += max(0, to-from)
			if to <= from {
				if t.end-t.body > longRun { // looked at once, whatever begins in it again
					if f.dead == nil {
						f.dead = make([]int32, len(shapes))
					}
					f.dead[n] = int32(t.end)
				}
				continue
			}
		}
		if size, ok := pairs[sh.prefix]; ok {
			f.pair = size
		}
		return from, to
	}
	return i, i
}

// bootstrap is a kubeadm token: abcdef.0123456789abcdef, standing alone. A digit in
// the second half is asked for: two words with a dot in between are no token.
func bootstrap(s string, dot int) (from, to int) {
	const id, secret = 6, 16
	from, to = dot-id, dot+1+secret
	if from < 0 || to > len(s) ||
		from > 0 && strings.IndexByte(" \t\n\"'`=:,", s[from-1]) < 0 ||
		to < len(s) && strings.IndexByte(" \t\n\"'`,;&|)", s[to]) < 0 {
		return 0, 0
	}
	for i := from; i < to; i++ {
		if i != dot && !isLower(s[i]) && !isDigit(s[i]) {
			return 0, 0
		}
	}
	if !mixed(s[dot+1:to], false) {
		return 0, 0
	}
	return from, to
}

// telegram is a bot's token, 123456789:AA…, in an address behind the word bot.
func telegram(s string, colon int) (from, to int) {
	const shortest, longest, secret = 8, 11, 35
	from = colon
	for from > 0 && colon-from < longest && isDigit(s[from-1]) {
		from--
	}
	to = min(len(s), colon+1+secret)
	if colon-from < shortest || !strings.HasPrefix(s[colon:], ":AA") || base64url.run(s[:to], colon+1) != colon+1+secret {
		return 0, 0
	}
	return from, to
}

// pairSecret is the secret that belongs to an access key id: as long as these are, in
// both cases and with digits, which no hash or id is.
func (f *finder) pairSecret(s string, i int) (end int) {
	set := base64std
	if f.pair == 30 {
		set = base62
	}
	end = set.run(s[:min(len(s), i+f.pair+1)], i)
	if end-i != f.pair || !mixed(s[i:end], true) {
		return i
	}
	return end
}

func accessKey(t token) (from, to int) {
	if t.end < len(t.s) && base64url[t.s[t.end]] {
		return 0, 0
	}
	if !t.open(t.end) && !mixed(t.s[t.body:t.end], false) && t.s[t.start] == 'L' {
		return 0, 0
	}
	return t.start, t.end
}

func mixedCase(t token) (from, to int) {
	if !mixed(t.s[t.body:t.end], true) {
		return 0, 0
	}
	return t.start, t.end
}

// jwt takes header.payload.signature, and what is left of it when it was cut.
func jwt(t token) (from, to int) {
	if t.start > 0 && base64url[t.s[t.start-1]] {
		return 0, 0
	}
	end, dots := t.end, 0
	for dots < 4 && end < len(t.s) && t.s[end] == '.' { // four: encrypted ones
		next := base64url.run(t.s, end+1)
		if next == end+1 {
			break
		}
		end, dots = next, dots+1
	}
	header := t.s[t.start:]
	known := strings.HasPrefix(header, "eyJhbGciOi") || strings.HasPrefix(header, "eyJ0eXAiOi") ||
		strings.HasPrefix(header, "eyJraWQiOi") || strings.HasPrefix(header, "eyJlbmMiOi")
	if !known && dots < 2 && !t.open(end) {
		return 0, 0
	}
	return t.start, end
}

// sas takes the signature's whole query, for its parts may come in any order.
func sas(t token) (from, to int) {
	if !strings.Contains(t.s[t.start:t.end], "&sig=") {
		return 0, 0
	}
	return t.start, t.end
}

func k3s(t token) (from, to int) {
	if !strings.Contains(t.s[t.start:t.end], "::") {
		return 0, 0
	}
	return t.start, t.end
}

// webhook leaves the service's address readable: where a program reports to is evidence.
func webhook(t token) (from, to int) { return t.body, t.end }

// bearer is a token behind the word; an ordinary word there is none.
func bearer(t token) (from, to int) {
	if !t.open(t.end) && !mixed(t.s[t.body:t.end], false) {
		return 0, 0
	}
	return t.body, t.end
}

// netrc is what follows login and a name.
func netrc(t token) (from, to int) {
	before := strings.TrimRight(t.s[max(0, t.start-nameBytes):t.start], " ")
	user := strings.LastIndexByte(before, ' ')
	if user < 0 || !strings.HasSuffix(strings.TrimRight(before[:user], " "), "login") {
		return 0, 0
	}
	return t.body, t.end
}

// basic is base64 of user:password behind the word.
func basic(t token) (from, to int) {
	if !userPassword(t.s[t.body:t.end]) {
		return 0, 0
	}
	return t.body, t.end
}

// userPassword reports whether v is base64 of printable text with a colon in it. Only
// the beginning is looked at: user names are short.
func userPassword(v string) bool {
	if len(v) < 4 {
		return false
	}
	var in [128]byte
	n := copy(in[:], strings.TrimRight(v[:min(len(v), len(in))], "="))
	if n%4 == 1 {
		return false
	}
	var out [96]byte
	n, err := base64.RawStdEncoding.Decode(out[:], in[:n])
	if err != nil {
		return false
	}
	colon := false
	for _, c := range out[:n] {
		if c < ' ' || c == 0x7f {
			return false
		}
		colon = colon || c == ':'
	}
	return colon
}

const (
	pemTail = "PRIVATE KEY"
	// A first line is no longer: -----BEGIN ENCRYPTED PRIVATE KEY-----
	pemLine = 64
)

// pem takes the body of a private key: certificates and public keys stay readable.
func pem(t token) (from, to int) {
	line := t.s[t.start:min(len(t.s), t.start+pemLine)]
	key := strings.Index(line, pemTail)
	if key < 0 {
		return 0, 0
	}
	from = t.start + key + len(pemTail)
	for _, rest := range []string{" BLOCK", "-----"} {
		if strings.HasPrefix(t.s[from:], rest) {
			from += len(rest)
		}
	}
	for from < len(t.s) && (t.s[from] == '\n' || t.s[from] == '\r' || t.s[from] == ' ') {
		from++
	}
	to = len(t.s)
	if end := strings.Index(t.s[from:], "-----END"); end >= 0 {
		to = from + end
	}
	for to > from && (t.s[to-1] == '\n' || t.s[to-1] == '\r' || t.s[to-1] == ' ') {
		to--
	}
	return from, to
}

// pemInBase64 decodes the first line: -----BEGIN … PRIVATE KEY.
func pemInBase64(t token) (from, to int) {
	var line [48]byte
	n, err := base64.StdEncoding.Decode(line[:], []byte(t.s[t.start:t.start+min(64, (t.end-t.start)&^3)]))
	if err != nil && n == 0 || !strings.Contains(string(line[:n]), "PRIVATE") {
		return 0, 0
	}
	return t.start, t.end
}

// puttyPublic bounds the part before the private lines: an RSA key of 16384 bits.
const puttyPublic = 4096

// putty takes what follows "Private-Lines: n".
func putty(t token) (from, to int) {
	at := strings.Index(t.s[t.body:min(len(t.s), t.body+puttyPublic)], "Private-Lines:")
	if at < 0 {
		return 0, 0
	}
	from = t.body + at
	line := strings.IndexByte(t.s[from:], '\n')
	if line < 0 {
		return 0, 0
	}
	return from + line + 1, len(t.s)
}
