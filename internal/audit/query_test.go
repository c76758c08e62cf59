package audit

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuery(t *testing.T) {
	for uri, want := range map[string]url.Values{
		"/x":                     {},
		"/x?":                    {},
		"/x?a=1&b=2&a=3":         {"a": {"1", "3"}, "b": {"2"}},
		"/x?a&b=&&=c":            {"a": {""}, "b": {""}, "": {"c"}},
		"/x?a=1;b=2&c=3":         {"c": {"3"}},
		"/x?a=%zz&a=1&%zz=2":     {"a": {"1"}},
		"/x?a=b%26c+d%3D?e=f":    {"a": {"b&c d=?e=f"}},
		"/x?a=%ff%00":            {"a": {"\uFFFD\x00"}},
		"/x?dry%52un=All&A=1":    {"dryRun": {"All"}, "A": {"1"}},
		"https://x/y?z=1#w&v=%%": {"z": {"1#w"}},
	} {
		if diff := cmp.Diff(want, Query(uri)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", uri, diff)
		}
	}
}

// The values are those that Kubernetes' runtime.Convert_Slice_string_To_bool tells apart.
func TestIsTrue(t *testing.T) {
	for _, test := range []struct {
		values []string
		want   bool
	}{
		{nil, false}, {[]string{}, false},
		{[]string{""}, true}, {[]string{"1"}, true}, {[]string{"true"}, true}, {[]string{"TRUE"}, true}, {[]string{"yes"}, true},
		{[]string{"no"}, true}, {[]string{"off"}, true}, {[]string{"00"}, true}, {[]string{" false"}, true}, {[]string{"f"}, true}, {[]string{"\uFFFD"}, true},
		{[]string{"0"}, false}, {[]string{"false"}, false}, {[]string{"False"}, false}, {[]string{"fAlSe"}, false}, {[]string{"FALSE"}, false},
		{[]string{"false", "true"}, false}, {[]string{"true", "false"}, true}, {[]string{"", "0"}, true},
	} {
		if IsTrue(test.values) != test.want {
			t.Errorf("%q is %v", test.values, !test.want)
		}
	}
}

// What API servers read of a path is the same before and behind the masks, but for these.
func FuzzQuery(f *testing.F) {
	for _, uri := range []string{"/x?a=1&a=2&container=%zz&tty", "/x?a;b=1&command=sh&command=-c&command=id%3B", "?password=%zz&=&&;", "/x?%3b=%26&a=%ff"} {
		f.Add(uri)
	}
	redactor := testRedactor(f)
	f.Fuzz(func(t *testing.T, uri string) {
		masked := redactor.uri(uri)
		before, after := Query(uri), Query(masked)
		for name, values := range after {
			if len(before[name]) != len(values) {
				t.Fatalf("%q became %q: of %q %d values", uri, masked, name, len(values))
			}
		}
		if len(before) != len(after) {
			t.Fatalf("%q became %q", uri, masked)
		}
		if again := redactor.uri(masked); again != masked {
			t.Fatalf("%q, then %q", masked, again)
		}
	})
}
