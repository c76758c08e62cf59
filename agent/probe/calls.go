package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/seawall-security/seawall/bpf"
)

// compatCallBase is where calls of the 32-bit ABI begin: COMPAT_CALLS in bpf/maps.h.
const compatCallBase = 512

// callTable owns the lowest rung: the raw pair of system call hooks and the tables they
// tail-call through. The pair is attached when the first hook needs it.
type callTable struct {
	maps   *sharedMaps
	config bpf.LayoutLoadConfig
	host   *Host

	object *loadedObject
	enter  link.Link
	exit   link.Link
}

// placed is one entry of a call table.
type placed struct {
	table *ebpf.Map
	slot  uint32
}

// place puts the attempt's programs under the numbers of their calls in both ABIs. A
// number that another hook of this rung holds already is left to it: socketcall serves
// connect and accept with one program.
func (t *callTable) place(o *loadedObject, a attempt) (entries []placed, err error) {
	defer func() {
		if err != nil {
			for _, p := range entries {
				err = errors.Join(err, t.remove(p))
			}
			entries = nil
		}
	}()
	if len(a.enter) > 0 {
		if err := t.open(&t.enter, "sys_enter"); err != nil {
			return nil, err
		}
	}
	if len(a.exit) > 0 {
		if err := t.open(&t.exit, "sys_exit"); err != nil {
			return nil, err
		}
	}
	for _, side := range []struct {
		table *ebpf.Map
		calls []call
	}{{t.maps.enterCalls, a.enter}, {t.maps.exitCalls, a.exit}} {
		for _, c := range side.calls {
			program, err := t.pick(o, a, c.program)
			if err != nil {
				return entries, err
			}
			for _, slot := range slots(c.calls) {
				if err := side.table.Put(slot, program); err != nil {
					return entries, fmt.Errorf("place %s at call %d: %w", c.program, slot, err)
				}
				entries = append(entries, placed{side.table, slot})
			}
		}
	}
	if len(entries) == 0 {
		return nil, errors.New("this architecture has none of the calls")
	}
	return entries, nil
}

// pick loads the program, or the better one that stands in for it where the kernel can.
func (t *callTable) pick(o *loadedObject, a attempt, name string) (*ebpf.Program, error) {
	if better, ok := a.instead[name]; ok {
		if p, err := o.program(better); err == nil {
			return p, nil
		}
	}
	return o.program(name)
}

func slots(calls []string) (slots []uint32) {
	for _, name := range calls {
		if n, ok := nativeCalls[name]; ok {
			slots = append(slots, n)
		}
		if n, ok := compatCalls[name]; ok {
			slots = append(slots, compatCallBase+n)
		}
	}
	return slots
}

func (t *callTable) open(to *link.Link, name string) error {
	if *to != nil {
		return nil
	}
	if t.object == nil {
		loaded, err := loadObject(object{name: "syscall", load: bpf.LoadSyscall}, t.config, t.maps, t.host)
		if err != nil {
			return err
		}
		t.object = loaded
	}
	program, err := t.object.program(name)
	if err != nil {
		return err
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return fmt.Errorf("attach %s: %w", name, err)
	}
	*to = l
	return nil
}

func (t *callTable) remove(p placed) error {
	if err := p.table.Delete(p.slot); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("clear call %d: %w", p.slot, err)
	}
	return nil
}

func (t *callTable) close() error {
	if t == nil {
		return nil
	}
	var errs []error
	for _, l := range []link.Link{t.enter, t.exit} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	if t.object != nil {
		errs = append(errs, t.object.close())
	}
	return errors.Join(errs...)
}
