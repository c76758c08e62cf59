package correlate

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// maskPattern is what internal/redact puts in a secret's place.
var maskPattern = regexp.MustCompile(`\[redacted:[0-9a-f]{16}\]`)

const maskHead = "[redacted:"

// maxInterpreter is how many words a kernel puts in front of a script's own name, at most:
// interpreters may be scripts themselves, four deep.
const maxInterpreter = 8

// sameCommand reports whether what was asked for can be what a session runs. Where that
// cannot be told it can: an edge too many makes an answer ambiguous, one too few wrong.
func sameCommand(r *request, s *session) bool {
	if len(s.Args) == 0 {
		return true // they could not be read
	}
	if len(r.Args) == 0 {
		return false
	}
	args, filename := s.Args, s.Filename
	if s.Escaped {
		filename = unescaped(filename)
		args = make([]string, len(s.Args))
		for i, arg := range s.Args {
			args[i] = unescaped(arg)
		}
	}
	plain := ourKey
	if s.LocalMasks {
		plain = otherKey
	}
	if sameWords(r.Args, r.Truncated, args, s.Truncated, plain) {
		return true
	}
	// The kernel runs a script's interpreter, with the script for an argument.
	for i := 1; i < min(len(args), maxInterpreter+1); i++ {
		if (filename == "" || args[i] == filename) && path.Base(args[i]) == path.Base(r.Args[0]) &&
			sameWords(r.Args[1:], r.Truncated, args[i+1:], s.Truncated, otherWords) {
			return true
		}
	}
	return false
}

// masking is how secrets in a session's words were masked, by the side of a request's.
type masking int

const (
	// ourKey: with the same key, so that equal secrets have equal masks.
	ourKey masking = iota
	// otherKey: with another one. A node that is not enrolled yet has its own.
	otherKey
	// otherWords: perhaps in other words. Words are judged by the program in front of them,
	// and that may have been another one.
	otherWords
)

// sameWords compares a command with arguments. Of what was cut the beginning counts, the
// last word not: it may be cut, and so may a secret in it.
func sameWords(asked []string, askedCut bool, got []string, gotCut bool, masks masking) bool {
	if gotCut && len(got) > 0 {
		got = got[:len(got)-1]
	}
	switch {
	case len(asked) > len(got) && !gotCut, len(got) > len(asked) && !askedCut:
		return false
	}
	for i := range min(len(asked), len(got)) {
		if asked[i] != got[i] && !masks.mayHide(asked[i], got[i]) {
			return false
		}
	}
	return true
}

// mayHide reports whether two words that differ may be the same word behind masks.
func (m masking) mayHide(asked, got string) bool {
	switch m {
	case otherKey:
		return isMasked(asked) && isMasked(got) && maskPattern.ReplaceAllLiteralString(asked, maskHead) == maskPattern.ReplaceAllLiteralString(got, maskHead)
	case otherWords:
		return maskPattern.MatchString(asked) || maskPattern.MatchString(got)
	}
	return false
}

func isMasked(word string) bool { return strings.Contains(word, maskHead) }

// unescaped undoes what an agent does to text that is not UTF-8, and then does to it what
// the audit log does.
func unescaped(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			if text[i+1] == '\\' {
				out, i = append(out, '\\'), i+1
				continue
			}
			if text[i+1] == 'x' && i+3 < len(text) {
				if b, err := strconv.ParseUint(text[i+2:i+4], 16, 8); err == nil {
					out, i = append(out, byte(b)), i+3
					continue
				}
			}
		}
		out = append(out, text[i])
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}
