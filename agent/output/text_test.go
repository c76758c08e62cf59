package output

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/seawall-security/seawall/internal/event"
)

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain",
		"Größe 文件 Ελλάδα עברית عربي हिन्दी é́ →": "Größe 文件 Ελλάδα עברית عربي हिन्दी é́ →",
		"a\nb\x1b[2J\x7f\u0085":        `a\x0ab\x1b[2J\x7f\u0085`,
		"exe\u202etxt.sh":              `exe\u202etxt.sh`,
		"\u2066a\u2069":                `\u2066a\u2069`,
		"a\u2028b\u2029":               `a\u2028b\u2029`,
		"s\u200bh\u200f\ufeff":         `s\u200bh\u200f\ufeff`,
		"\u3164\u034f\ufe0f\U000e0041": `\u3164\u034f\ufe0f\U000e0041`,
		"\xff":                         `\xff`,
		"\ufffd":                       "\ufffd",
	} {
		if got := event.Printable(text); got != want {
			t.Errorf("%q is shown as %s, not as %s", text, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("sh\u202e\u2066\u2028\u200b\ufeff\x1b[0m\n\xff\U000e0001")
	f.Add("Größe 文件")
	f.Fuzz(func(t *testing.T, text string) {
		shown := event.Printable(text)
		if !utf8.ValidString(shown) {
			t.Fatalf("%q is no text", shown)
		}
		for _, r := range shown {
			if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || !unicode.IsGraphic(r) {
				t.Fatalf("%q lets %U through", shown, r)
			}
		}
		// What is for the eye stays as it was.
		for _, r := range text {
			if (unicode.IsLetter(r) || unicode.IsDigit(r)) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) &&
				!strings.ContainsRune(shown, r) {
				t.Fatalf("%q has lost %U", shown, r)
			}
		}
	})
}
