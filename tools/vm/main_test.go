package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/tools/vm/lab"
)

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"walk"}, {"run"}, {"run", "-nonsense"}, {"fetch"}, {"fetch", "6.1"}} {
		if got := command(t.Context(), args); got != statusUsage {
			t.Errorf("%q: status %d", args, got)
		}
	}
	if got := command(t.Context(), []string{"run", "-kernel", "4.19", "--", "true"}); got != statusDied {
		t.Errorf("unknown kernel: status %d", got)
	}
}

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		shown  string
	}{
		{&lab.TimeoutError{Started: true, Console: "last words"}, statusTimeout, "last words\nvm: command did not end"},
		{&lab.DiedError{Console: "last words"}, statusDied, "last words\nvm: guest died"},
		{errors.New("no kernel"), statusDied, "vm: no kernel"},
	} {
		var out bytes.Buffer
		if got := explain(&out, test.err, true); got != test.status || !strings.HasPrefix(out.String(), test.shown) {
			t.Errorf("%v: status %d, %q", test.err, got, &out)
		}
	}
}
