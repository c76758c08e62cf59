package redact

// args masks the secrets of a program's arguments in place. cut says that the end of
// the last one is missing.
func (w *walk) args(args []string, cut bool) {
	c := command{in: inArgument}
	pair, before, evaluated := 0, "", false
	for i, raw := range args {
		arg := w.plain(raw)
		f := finder{pair: pair, cut: cut && i == len(args)-1}
		in := inText
		if !evaluated && wholeValue(arg, before, &c) {
			in = inArgument
		}
		f.read(arg, in)
		from, to := c.word(arg)
		f.add(from, to)
		if i > 0 && in == inText && hasBlank(arg) {
			f.commands(arg, 0, 0)
		}
		pair, w.work = f.pair, w.work+f.work
		if masked, ok := w.mask(arg, before, f.hits); ok {
			args[i] = w.escape(masked, raw)
		}
		evaluated = evaluates(arg, &c)
		before = arg
	}
}

// wholeValue reports whether an argument is one named value, whatever blanks are in it:
// --password=x y, -H "X-Api-Key: x y", and of programs that take assignments NAME=x y.
// Other text with blanks is read as such: VAR=value cmd.
func wholeValue(arg, before string, c *command) bool {
	i := 0
	for i < len(arg) && is(arg[i], named) {
		i++
	}
	if i == 0 || i >= len(arg) || arg[i] != '=' && arg[i] != ':' {
		return false
	}
	switch {
	case arg[i] == ':':
		return isHeader(arg[:i])
	case arg[0] == '-' || !hasBlank(arg):
		return true
	}
	return len(before) > 1 && before[0] == '-' || before == "env" || c.program != nil && c.program == programsByName["env"]
}

// evaluates reports whether the argument behind arg is text for an interpreter: sh -c,
// bash -lc, php -r, perl -e.
func evaluates(arg string, c *command) bool {
	if len(arg) < 2 || arg[0] != '-' {
		return false
	}
	if arg[1] == '-' {
		return arg == "--command" || arg == "--eval" || arg == "--exec" || arg == "--run" || arg == "--print"
	}
	switch arg[len(arg)-1] {
	case 'c':
		return allLetters(arg[1:]) && len(arg) <= 6
	case 'e', 'r':
		return c.program != nil && c.program.evaluates
	}
	return false
}
