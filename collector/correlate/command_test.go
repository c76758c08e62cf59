package correlate

import (
	"testing"
	"time"
)

// TestMasks: what was masked with another key may be the same, and is never told as an
// entry that nobody asked for. What is masked with ours is told apart.
func TestMasks(t *testing.T) {
	const a, b, c, d = "[redacted:aaaaaaaaaaaaaaaa]", "[redacted:bbbbbbbbbbbbbbbb]", "[redacted:cccccccccccccccc]", "[redacted:dddddddddddddddd]"
	for _, test := range []struct {
		name           string
		asked, entered []string
		local          bool // the key is the node's own
		want           string
	}{
		{"another-key", []string{"-p" + a}, []string{"-p" + c}, true, "s0=r0"},
		{"two-with-another-key", []string{"-p" + a, "-p" + b}, []string{"-p" + c, "-p" + d}, true, "s0=r0|r1? s1=r0|r1?"},
		{"one-of-them-not-recorded", []string{"-p" + a}, []string{"-p" + a, "-p" + b}, true, "s0=r0? s1=r0?"},
		{"other-words-around", []string{"-p" + a}, []string{"-u" + c}, true, "s0=unattributed"},
		{"not-masked", []string{"-p" + a}, []string{"-px"}, true, "s0=unattributed"},
		{"two-with-our-key", []string{"-p" + a, "-p" + b}, []string{"-p" + a, "-p" + b}, false, "s0=r0 s1=r1"},
		{"one-of-ours-not-recorded", []string{"-p" + a}, []string{"-p" + a, "-p" + b}, false, "s0=r0 s1=unattributed"},
		{"another-secret", []string{"-p" + a}, []string{"-p" + c}, false, "s0=unattributed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, late := range []time.Duration{time.Second, 5 * time.Minute} {
				s := newStory(t)
				for i, word := range test.entered {
					s.session(comeIn{id: "s" + string(rune('0'+i)), at: after(10*time.Second + time.Duration(i)*100*time.Millisecond), args: []string{"mysql", word}, localMasks: test.local})
				}
				for i, word := range test.asked {
					s.record(after(11*time.Second+late), ask{id: "r" + string(rune('0'+i)), at: after(9900*time.Millisecond + time.Duration(i)*time.Millisecond), args: []string{"mysql", word}})
				}
				s.chatter(11*time.Second, 7*time.Minute)
				m, _ := s.run(7 * time.Minute)
				if got := answersOf(m); got != test.want {
					t.Errorf("late %v: got %s", late, got)
				}
			}
		})
	}
}
