package probe

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/testpriv"
)

func TestMarkSaysWhyNot(t *testing.T) {
	testpriv.Root(t)
	spec, err := bpf.LoadLayout()
	if err != nil {
		t.Fatal(err)
	}
	small := spec.Maps[bpf.LayoutMapTree]
	small.MaxEntries = 2
	tree, err := ebpf.NewMap(small)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()

	for _, step := range []struct {
		name    string
		key     event.Key
		reasons event.Tree
		refusal error
		want    uint32 // the reasons of the number's entry afterwards
	}{
		{"first", event.Key{TGID: 1, Start: 10}, event.TreeRule, nil, uint32(event.TreeRule)},
		{"another reason", event.Key{TGID: 1, Start: 10}, event.TreeWeb, nil, uint32(event.TreeRule | event.TreeWeb)},
		{"number used again", event.Key{TGID: 1, Start: 20}, event.TreeWeb, nil, uint32(event.TreeWeb)},
		{"the one before is gone", event.Key{TGID: 1, Start: 10}, event.TreeRule, unix.ESRCH, uint32(event.TreeWeb)},
		{"second", event.Key{TGID: 2, Start: 10}, event.TreeRule, nil, uint32(event.TreeRule)},
		{"full", event.Key{TGID: 3, Start: 10}, event.TreeRule, unix.E2BIG, 0},
	} {
		if err := mark(tree, step.key, step.reasons); !errors.Is(err, step.refusal) {
			t.Errorf("%s: %v, want %v", step.name, err, step.refusal)
		}
		var entry bpf.LayoutTreeEntry
		if err := tree.Lookup(step.key.TGID, &entry); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			t.Fatal(err)
		}
		if entry.Reasons != step.want {
			t.Errorf("%s: reasons are %b, want %b", step.name, entry.Reasons, step.want)
		}
	}
}
