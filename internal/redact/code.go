package redact

// code looks at a ( or > of program text: a call whose argument is a secret, an element
// of XML that one names. It returns where to go on.
func (f *finder) code(s string, i int) int {
	name, start, _ := nameEndingAt(s, i)
	if s[i] == '>' {
		if start == 0 || s[start-1] != '<' || judge(name) != sure || i+1 >= len(s) {
			return i + 1
		}
		end := i + 1
		for end < len(s) && s[end] != '<' {
			end++
		}
		f.work += end - i
		if !harmless(s[i+1:end], true, sure, inText) {
			f.add(i+1, end)
		}
		return end
	}
	if name == "" && i > 0 && s[i-1] == '=' { // auth=('kim', 'secret')
		name, _, _ = nameEndingAt(s, i-1)
	}
	for k := range name { // db.auth
		if name[k] == '.' && calls[name[k+1:]] > 0 {
			name = name[k+1:]
			break
		}
	}
	number := calls[name]
	if number == 0 {
		return i + 1
	}
	return f.argument(s, i+1, name, number)
}

// callBytes bounds how far the arguments of a call are read.
const callBytes = 128

// argument takes the argument of that number, if it is text in quotes.
func (f *finder) argument(s string, i int, name string, number int) int {
	begin, limit := i, min(len(s), i+callBytes)
	for n := 1; i < limit; n++ {
		for i < limit && is(s[i], blank) {
			i++
		}
		if n == number {
			if i < limit && is(s[i], quote) {
				return f.value(s, i, sure, inText)
			}
			break
		}
		first := i
		for i < limit && s[i] != ',' && s[i] != ')' {
			if is(s[i], quote) {
				i = min(limit, quotedEnd(s[:limit], i+1, s[i], 0))
			}
			i++
		}
		if i >= limit || s[i] == ')' {
			break
		}
		if name == "define" || name == "setenv" || name == "putenv" {
			if named, _, _ := nameEndingAt(s, i); judge(named) == open || first == i {
				break
			}
		}
		i++
	}
	f.work += min(i, limit) - begin
	return begin
}
