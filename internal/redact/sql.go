package redact

import "strings"

// sqlPassword reports whether the quote at i begins a password of SQL: IDENTIFIED BY
// 'x', IDENTIFIED WITH plugin BY 'x', USER kim PASSWORD 'x', PASSWORD('x').
func sqlPassword(s string, i int) bool {
	if i > 0 && s[i-1] == '(' {
		word, _ := wordBefore(s, i-1)
		return strings.EqualFold(word, "password")
	}
	if i == 0 || !is(s[i-1], blank) {
		return false
	}
	first, at := wordBefore(s, i)
	switch {
	case strings.EqualFold(first, "by"):
		second, at := wordBefore(s, at)
		if strings.EqualFold(second, "identified") {
			return true
		}
		third, _ := wordBefore(s, at)
		return strings.EqualFold(third, "with")
	case strings.EqualFold(first, "password"):
		second, at := wordBefore(s, at)
		if strings.EqualFold(second, "with") || strings.EqualFold(second, "encrypted") {
			return true
		}
		third, _ := wordBefore(s, at)
		return strings.EqualFold(third, "user") || strings.EqualFold(third, "role")
	}
	return false
}

// wordBefore is the word that ends before i and the blank before that, and where it begins.
func wordBefore(s string, i int) (word string, start int) {
	floor := max(0, i-nameBytes)
	for i > floor && is(s[i-1], blank) {
		i--
	}
	start = i
	for start > floor && !is(s[start-1], blank|closer) {
		start--
	}
	return s[start:i], start
}
