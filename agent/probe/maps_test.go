package probe

import (
	"testing"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/rule"
)

func key(prefix string) bpf.LayoutPrefixKey {
	k := bpf.LayoutPrefixKey{Bits: uint32(8 * len(prefix))}
	for i := range len(prefix) {
		k.Text[i] = int8(prefix[i])
	}
	return k
}

// The kernel's trie answers with the longest prefix only.
func TestLongerPrefixesCarryTheOperationsOfShorterOnes(t *testing.T) {
	got := prefixKeys(map[string]rule.Op{"/etc/": rule.OpOpenRead, "/etc/sudoers.d/": rule.OpOpenWrite, "/var/": rule.OpUnlink})
	want := map[bpf.LayoutPrefixKey]uint64{
		key("/etc/"):           uint64(rule.OpOpenRead),
		key("/etc/sudoers.d/"): uint64(rule.OpOpenRead | rule.OpOpenWrite),
		key("/var/"):           uint64(rule.OpUnlink),
	}
	if len(got) != len(want) {
		t.Fatalf("%d keys, want %d", len(got), len(want))
	}
	for k, ops := range want {
		if got[k] != ops {
			t.Errorf("prefix of %d bits has operations %#x, want %#x", k.Bits, got[k], ops)
		}
	}
}

func TestKeysAreCutNotRefused(t *testing.T) {
	long := "a-name-that-is-much-longer-than-thirty-two-bytes"
	if nameKey(long) != nameKey(long[:32]) {
		t.Error("a long name's key is not its beginning")
	}
	if nameKey("shadow") == nameKey("shadow-") {
		t.Error("two names have one key")
	}
	if got := suffixKey(".php"); got != 0x7068702e {
		t.Errorf("suffix key %#x", got)
	}
}

// What every system call's number is for: a program that no call leads to is never run.
func TestEveryLowestRungHasACallOnThisArchitecture(t *testing.T) {
	for _, o := range objects() {
		for _, h := range o.hooks {
			for _, a := range h.attempts {
				if a.rung != RungSyscall {
					continue
				}
				n := 0
				for _, c := range append(a.enter, a.exit...) {
					n += len(slots(c.calls))
				}
				if n == 0 {
					t.Errorf("%s has no call on its lowest rung", h.name)
				}
			}
		}
	}
}
