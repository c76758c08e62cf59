package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/rule"
)

func load(t *testing.T, text string) *rule.Set {
	t.Helper()
	set, err := rule.Load([]rule.Source{{Name: "test.yaml", Data: []byte(text)}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// switchTo puts rules in force as another goroutine does, while this one is the reader.
func (s *scene) switchTo(t *testing.T, set *rule.Set) {
	t.Helper()
	done := make(chan error)
	go func() { done <- s.Switch(t.Context(), set) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			s.Idle()
		}
	}
}

func TestOtherRulesComeIntoForceBetweenRecords(t *testing.T) {
	s := newScene(t, 100)
	fired := func(path string) int {
		before := len(s.sink.detections)
		s.Record(openRecord(1, 0, path))
		return len(s.sink.detections) - before
	}
	if fired("/srv/wanted") != 1 || fired("/srv/other") != 0 {
		t.Fatal("the first rules are not in force")
	}
	s.switchTo(t, load(t, strings.Replace(rules, `"wanted"`, `"other"`, 1)))
	if fired("/srv/wanted") != 0 || fired("/srv/other") != 1 {
		t.Error("the second rules are not in force")
	}
	s.switchTo(t, load(t, rules+`
exceptions:
  - {rule: test-rule, name: ours, condition: open.file.path.startsWith("/srv/ours/"), author: a, reason: b, expires: 2999-01-01}
`))
	if fired("/srv/ours/wanted") != 0 || fired("/srv/wanted") != 1 {
		t.Error("the exception is not in force")
	}
	s.switchTo(t, load(t, rules))
	want := []rule.ExceptedCount{{Rule: "test-rule", Exception: "ours", Count: 1}}
	if diff := cmp.Diff(want, s.Excepted()); diff != "" {
		t.Error(diff)
	}
	s.balanced(t)
}

// A reader that has ended takes no rules, and who waits for it is let go.
func TestSwitchThatNobodyTakes(t *testing.T) {
	s := newScene(t, 100)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("the agent ends")
	cancel(ended)
	set := load(t, strings.Replace(rules, `"wanted"`, `"other"`, 1))
	if err := s.Switch(ctx, set); !errors.Is(err, ended) {
		t.Errorf("got %v", err)
	}
	s.Idle()
	s.Record(openRecord(1, 0, "/srv/other"))
	if len(s.sink.detections) != 0 {
		t.Error("rules came into force that were said not to be")
	}
	s.switchTo(t, set)
}
