package probe

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
)

// What rules are refused for at load is what the kernel's maps have no place for.
func TestBoundsOfInterestAreTheMapsSizes(t *testing.T) {
	spec, err := bpf.LoadLayout()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{
		bpf.LayoutMapInterestNames: rule.MaxNames, bpf.LayoutMapInterestSuffix: rule.MaxSuffixes, bpf.LayoutMapInterestPrefix: rule.MaxPrefixes,
		bpf.LayoutMapInterestPorts: rule.MaxPorts, bpf.LayoutMapMarks: rule.MaxMarks,
	} {
		if got := spec.Maps[name].MaxEntries; got != want {
			t.Errorf("map %s has place for %d, rules may ask for %d", name, got, want)
		}
	}
}

// held reads back what the kernel's maps hold.
func held(t *testing.T, s *Sensor) admission {
	t.Helper()
	a := admission{
		names:    entries[bpf.LayoutNameKey, uint64](t, s.maps.all[bpf.LayoutMapInterestNames]),
		suffixes: entries[uint64, uint64](t, s.maps.all[bpf.LayoutMapInterestSuffix]),
		prefixes: entries[bpf.LayoutPrefixKey, uint64](t, s.maps.all[bpf.LayoutMapInterestPrefix]),
		ports:    entries[uint32, uint64](t, s.maps.all[bpf.LayoutMapInterestPorts]),
		marks:    entries[bpf.LayoutNameKey, uint32](t, s.maps.all[bpf.LayoutMapMarks]),
	}
	if err := s.maps.update(func(c *bpf.LayoutRunControl) { a.any, a.hasSuffix, a.hasPrefix = c.Any, c.HasSuffix, c.HasPrefix }); err != nil {
		t.Fatal(err)
	}
	return a
}

func entries[K, V comparable](t *testing.T, m *ebpf.Map) map[K]V {
	t.Helper()
	found := map[K]V{}
	var key K
	var value V
	all := m.Iterate()
	for all.Next(&key, &value) {
		found[key] = value
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

func (s *Sensor) mustHold(t *testing.T, when string, want rule.Interest) {
	t.Helper()
	if diff := cmp.Diff(newAdmission(want), held(t, s), cmp.AllowUnexported(admission{})); diff != "" {
		t.Errorf("%s the maps differ (-want +got):\n%s", when, diff)
	}
}

func TestSwitchTurnsTheMaps(t *testing.T) {
	first := rule.Interest{
		Any: rule.OpMemoryMemfd, Names: map[string]rule.Op{"shadow": rule.OpOpenRead, "passwd": rule.OpOpenWrite},
		Suffixes: map[string]rule.Op{".php": rule.OpOpenWrite}, Prefixes: map[string]rule.Op{"/etc/": rule.OpOpenRead, "/etc/ssh/": rule.OpUnlink},
		Ports: map[uint16]rule.Op{22: rule.OpAccept}, Marks: map[string]event.Tree{"curl": event.TreeDownload},
	}
	second := rule.Interest{
		Any: rule.OpNamespace, Names: map[string]rule.Op{"shadow": rule.OpOpenWrite, "group": rule.OpOpenWrite},
		Suffixes: map[string]rule.Op{".jsp": rule.OpRename}, Prefixes: map[string]rule.Op{"/etc/ssh/keys/": rule.OpOpenWrite, "/etc/": rule.OpOpenRead},
		Ports: map[uint16]rule.Op{22: rule.OpConnectInet, 80: rule.OpAccept}, Marks: map[string]event.Tree{"curl": event.TreeWeb, "nginx": event.TreeWebServer},
	}
	// More than the map of names holds beside the others, and so refused in the middle.
	third := rule.Interest{Names: map[string]rule.Op{}, Ports: map[uint16]rule.Op{443: rule.OpAccept}, Marks: map[string]event.Tree{"wget": event.TreeDownload}}
	for i := range rule.MaxNames {
		third.Names[fmt.Sprint("n", i)] = rule.OpUnlink
	}
	s := open(t, func(o *Options) { o.Interest = first })
	s.mustHold(t, "at first", first)
	if err := s.Switch(second, func() error { s.mustHold(t, "in between", first.Union(second)); return nil }); err != nil {
		t.Fatal(err)
	}
	s.mustHold(t, "after the switch", second)

	err := s.Switch(third, func() error { t.Error("rules are switched though the kernel refused"); return nil })
	if want := "write interest in names: with the rules in force it is more than the kernel's map holds"; err == nil || err.Error()[:len(want)] != want {
		t.Errorf("a switch that does not fit says %v", err)
	}
	s.mustHold(t, "after a switch that the kernel refused", second)

	stop := errors.New("the reader has ended")
	if err := s.Switch(first, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a switch that the reader refused says %v", err)
	}
	s.mustHold(t, "after a switch that the reader refused", second)
	if err := s.Switch(rule.Interest{}, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	s.mustHold(t, "after all is gone", rule.Interest{})
	if err := s.Switch(third, func() error { return nil }); err != nil {
		t.Errorf("it does not fit alone: %v", err)
	}
}

func BenchmarkSwitch(b *testing.B) {
	one := rule.Interest{Names: map[string]rule.Op{"a": rule.OpOpenRead, "b": rule.OpOpenRead}}
	two := rule.Interest{Names: map[string]rule.Op{"a": rule.OpOpenWrite, "c": rule.OpOpenRead}}
	s := open(b, func(o *Options) { o.Interest = one })
	for b.Loop() {
		if err := s.Switch(two, func() error { return nil }); err != nil {
			b.Fatal(err)
		}
		one, two = two, one
	}
}
