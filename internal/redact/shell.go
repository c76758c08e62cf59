package redact

import "strings"

// maxNesting bounds how deep text in quotes is read as text again: sh -c "su -c '…'".
const maxNesting = 4

// shell reads text as commands: words with their quotes, and what separates commands.
type shell struct {
	f       *finder
	command command
	nesting int
	// What an echo of the command before the pipe says, for programs that read secrets.
	echo   bool
	spoken span
	piped  span
	reads  part // the secret part of what the program reads
	here   bool // the next word is what it reads
	// A quote that is never closed is a character: an apostrophe.
	loneSingle, loneDouble bool
}

type span struct{ start, end int }

// commands looks for secrets that take a command to know. base is where s begins in
// the text that hits are counted in.
func (f *finder) commands(s string, base, nesting int) {
	f.work += len(s)
	sh := shell{f: f, nesting: nesting, command: command{in: inShell}}
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '\n' || c == ';' || c == '&' || c == '(' || c == ')' || c == '`' || c == '{' && sh.alone(s, i) || c == '}' && sh.alone(s, i):
			sh.reset(span{})
			i++
		case c == '|':
			sh.reset(sh.spoken)
			i++
		case strings.HasPrefix(s[i:], "<<<"):
			sh.here = true
			i += len("<<<")
		case is(c, blank) || c == '<' || c == '>':
			i++
		default:
			end := sh.wordEnd(s, i)
			sh.word(s, i, end, base)
			i = end
		}
	}
}

// alone reports whether the brace at i stands between blanks.
func (sh *shell) alone(s string, i int) bool {
	return i+1 >= len(s) || is(s[i+1], blank|closer)
}

func (sh *shell) reset(piped span) {
	sh.command = command{in: inShell}
	sh.echo, sh.spoken, sh.piped, sh.reads, sh.here = false, span{}, piped, none, false
}

// wordEnd is the end of the word that begins at i.
func (sh *shell) wordEnd(s string, i int) int {
	for i < len(s) {
		c := s[i]
		switch {
		case is(c, blank|closer):
			return i
		case c == '\\':
			i += 2
		case c == '\'' && !sh.loneSingle, c == '"' && !sh.loneDouble:
			end := i + 1
			for end < len(s) && s[end] != c {
				if s[end] == '\\' && c == '"' {
					end++
				}
				end++
			}
			if end >= len(s) {
				sh.f.work += len(s) - i
				sh.loneSingle = sh.loneSingle || c == '\''
				sh.loneDouble = sh.loneDouble || c == '"'
				end = i
			}
			i = end + 1
		case c == '`':
			return i
		case c == '[':
			i = max(i+1, maskAt(s, i))
		default:
			i++
		}
	}
	return len(s)
}

// word reads the word between i and end.
func (sh *shell) word(s string, i, end, base int) {
	from, to := i, end
	if to-from >= 2 && is(s[from], quote) && s[to-1] == s[from] && strings.IndexByte(s[from+1:to-1], s[from]) < 0 {
		from, to = from+1, to-1
	}
	w := s[from:to]
	if sh.here {
		sh.here = false
		sh.read(s, span{i, end}, base)
		return
	}
	first := !sh.command.begun
	if end >= len(s) || s[end] != '(' { // login(password=get()): code
		sh.assigned(w, base+from)
	}
	if first && assigns(w) { // NAME=value cmd
		return
	}
	a, b := sh.command.word(w)
	sh.f.add(base+from+a, base+from+b)
	sh.pipe(s, i, end, first, base)
	if sh.nesting < maxNesting && to-from > 2 && hasBlank(w) {
		sh.f.commands(w, base+from, sh.nesting+1)
	}
}

// assigned takes the value of a word that is a named value: quotes within it are part
// of it, which the text pass cannot know.
func (sh *shell) assigned(w string, base int) {
	eq := strings.IndexByte(w, '=')
	if eq <= 0 || eq+1 >= len(w) {
		return
	}
	name, start, _ := nameEndingAt(w, eq)
	if strings.Trim(w[:start], "-") != "" || name == "" {
		return
	}
	v, to := eq+1, len(w)
	if to-v >= 2 && is(w[v], quote) && w[to-1] == w[v] {
		v, to = v+1, to-1
	}
	m := judge(name)
	if m != sure && m != tolerant || harmless(w[v:min(to, v+peekBytes)], to-v <= peekBytes, m, inShell) {
		return
	}
	sh.f.add(base+v, base+to)
}

// pipe follows what is written to a program that reads a secret.
func (sh *shell) pipe(s string, i, end int, first bool, base int) {
	w := s[i:end]
	if first {
		name := w[strings.LastIndexByte(w, '/')+1:]
		sh.echo = name == "echo" || name == "printf"
	} else if sh.echo && w[0] != '-' {
		if sh.spoken.end == 0 {
			sh.spoken.start = i
		}
		sh.spoken.end = end
	}
	if !first && (w == "--password-stdin" || w == "--token-stdin") { // whatever program it is
		sh.reads = whole
	}
	if p := sh.command.program; p != nil {
		for _, word := range p.pipe {
			if word == "" || word == w {
				sh.reads = p.pipePart
			}
		}
	}
	if sh.piped.end > 0 && sh.reads != none {
		sh.read(s, sh.piped, base)
		sh.piped = span{}
	}
}

// read takes what a program reads.
func (sh *shell) read(s string, said span, base int) {
	from, to := said.start, said.end
	if to-from >= 2 && is(s[from], quote) && s[from] == s[to-1] {
		from, to = from+1, to-1
	}
	a, b := sh.reads.of(s[from:to], inShell)
	sh.f.add(base+from+a, base+from+b)
}

// assigns reports whether a word is NAME=value.
func assigns(w string) bool {
	eq := strings.IndexByte(w, '=')
	return eq > 0 && allName(w[:eq]) && w[0] != '-'
}

func hasBlank(s string) bool {
	return strings.IndexByte(s, ' ') >= 0 || strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\t') >= 0
}
