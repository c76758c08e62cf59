package redact

import "strings"

// command reads the words of one command and tells what of each is a secret. It
// sees words as the program would: without their quotes.
type command struct {
	program *program
	in      form // inArgument or inShell
	// expect is the secret part of the next word.
	expect part
	// meant: the option that expects it is one of the program's own; else only its name
	// says so, and a word that looks like an option is none.
	meant  bool
	option bool // the word before was an option
	begun  bool // there was a word
	gated  bool // the program's gate was passed
	paired bool // and the one before bare names
	// operand is the one that the words now stand for, skip how many are still none.
	operand *operand
	skip    int
}

// word returns the part of w that is a secret, an empty span if none is.
func (c *command) word(w string) (from, to int) {
	option := c.option
	c.option = false
	first := !c.begun
	c.begun = true
	if expect := c.expect; expect != none {
		c.expect = none
		if c.meant && w != "--" || !optionLike(w) {
			return expect.of(w, c.in)
		}
	}
	if len(w) > 1 && (w[0] == '-' || w[0] == '/' && c.slashed(w)) {
		c.option = w != "--"
		return c.optionWord(w)
	}
	if p := c.program; first || p == nil && !option || p != nil && (p.runs || p.launches && !option) {
		if c.start(w) {
			return 0, 0
		}
	}
	return c.plain(w, option)
}

// start makes w the program if it is a known one.
func (c *command) start(w string) bool {
	name := strings.TrimPrefix(w[strings.LastIndexByte(w, '/')+1:], "-")
	p := programsByName[strings.TrimPrefix(strings.TrimSuffix(name, ".py"), "impacket-")]
	if p == nil || p == c.program {
		return false
	}
	c.program, c.gated, c.paired, c.operand = p, p.gate == "", false, nil
	c.await("")
	return true
}

// await sets the operand that follows the word.
func (c *command) await(word string) {
	for i := range c.program.operands {
		if o := &c.program.operands[i]; o.after == word || word != "" && strings.EqualFold(o.after, word) {
			c.operand, c.skip = o, o.skip
			return
		}
	}
}

func (c *command) plain(w string, option bool) (from, to int) {
	p := c.program
	if p == nil {
		return 0, 0
	}
	if o := c.operand; o != nil {
		switch {
		case c.skip > 0:
			c.skip--
		case option && !o.rest: // more likely the option's value
		default:
			if !o.rest {
				c.operand = nil
			}
			return o.part.of(w, c.in)
		}
		return 0, 0
	}
	if w == p.gate {
		c.gated = true
	}
	c.await(w)
	if c.paired && judge(tail(w)) != open {
		c.expect, c.meant = whole, false
	}
	for _, gate := range p.pairs {
		c.paired = c.paired || strings.EqualFold(w, gate) // redis-cli takes any case
	}
	return 0, 0
}

// slashed reports whether w begins like one of the program's own options with a slash.
func (c *command) slashed(w string) bool {
	if c.program == nil {
		return false
	}
	for _, o := range c.program.options {
		if o.name[0] == '/' && strings.HasPrefix(w, o.name) {
			return true
		}
	}
	return false
}

func (c *command) optionWord(w string) (from, to int) {
	if p := c.program; p != nil && c.gated {
		for i := range p.options {
			o := &p.options[i]
			if w == o.name {
				if o.take&next != 0 {
					c.expect, c.meant = o.part, true
				}
				return 0, 0
			}
			long := len(o.name) > 2 && o.name[0] == '-' && o.name[1] == '-'
			if o.take&attached != 0 && strings.HasPrefix(w, o.name) && w != "-password" {
				at := len(o.name)
				if long {
					if w[at] != '=' {
						continue
					}
					at++
				}
				from, to = o.part.of(w[at:], c.in)
				return from + at, to + at
			}
			if p.bundles && !long && o.take&next != 0 && len(o.name) == 2 && w[1] != '-' && w[len(w)-1] == o.name[1] && allLetters(w[1:]) {
				c.expect, c.meant = o.part, true
				return 0, 0
			}
		}
	}
	if eq := strings.IndexByte(w, '='); eq >= 0 { // --exec=mysql -psecret
		if c.program == nil || c.program.runs {
			c.start(w[eq+1:])
		}
		return 0, 0
	}
	if c.program != nil {
		for _, name := range c.program.plain {
			if w == name {
				return 0, 0
			}
		}
	}
	if !allName(w) {
		return 0, 0
	}
	switch judge(w) {
	case sure:
		c.expect, c.meant = whole, false
	case tolerant:
		c.expect, c.meant = keyValue, false
	}
	return 0, 0
}

// optionLike reports whether w is rather an option than a value.
func optionLike(w string) bool {
	if len(w) < 2 || w[0] != '-' {
		return false
	}
	return w[1] == '-' || len(w) == 2 || allLetters(w[1:])
}

func allLetters(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; !isLower(c) && s[i] != '-' {
			return false
		}
	}
	return true
}

// tail is the name at the end of a word: //registry/:_authToken.
func tail(w string) string {
	i := len(w)
	for i > 0 && is(w[i-1], named) {
		i--
	}
	return w[i:]
}

// of returns where the part of w is.
func (p part) of(w string, in form) (from, to int) {
	if w == "" {
		return 0, 0
	}
	to = len(w)
	m := sure
	switch p {
	case none:
		return 0, 0
	case afterColon:
		from = strings.IndexByte(w, ':') + 1
	case afterPercent:
		from = strings.IndexByte(w, '%') + 1
	case afterComma:
		from = strings.IndexByte(w, ',') + 1
	case afterEquals:
		from = strings.IndexByte(w, '=') + 1
	case afterSlash:
		if w[:1] == "@" || w[:1] == "/" { // a script, or the system's own login
			return 0, 0
		}
		from = strings.IndexByte(w, '/') + 1
		if at := strings.LastIndexByte(w, '@'); at > from {
			to = at
		}
	case afterPass:
		if !strings.HasPrefix(w, "pass:") {
			return 0, 0
		}
		from = len("pass:")
	case userinfo:
		if to = strings.LastIndexByte(w, '@'); to < 0 || strings.Contains(w, "://") {
			return 0, 0
		}
		from = strings.IndexByte(w[:to], ':') + 1
	case pairList:
		if strings.IndexByte(w, '=') < 0 {
			return 0, 0
		}
	case keyValue:
		m = tolerant
	}
	switch p {
	case whole, pairList, keyValue:
	default:
		if from == 0 {
			return 0, 0
		}
	}
	for to-from >= 2 && is(w[from], quote) && w[to-1] == w[from] {
		from, to = from+1, to-1
	}
	if from >= to || harmless(w[from:to], true, m, in) {
		return 0, 0
	}
	return from, to
}
