package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/seawall-security/seawall/bpf"
)

// loadedObject is one concern's spec with the host's choices made, and the programs of
// it that were asked for. Programs are loaded one by one, so that a refused one leaves
// the others.
type loadedObject struct {
	name     string
	spec     *ebpf.CollectionSpec
	shared   map[string]*ebpf.Map
	own      map[string]*ebpf.Map // maps only this object has: scratch, transitions
	programs map[string]*ebpf.Collection
}

func loadObject(o object, config bpf.LayoutLoadConfig, maps *sharedMaps, host *Host) (*loadedObject, error) {
	spec, err := o.load()
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", o.name, err)
	}
	if err := spec.Variables[bpf.ProcessVarConfig].Set(config); err != nil {
		return nil, fmt.Errorf("configure object %s: %w", o.name, err)
	}
	loaded := &loadedObject{name: o.name, spec: spec, shared: maps.byName(), own: map[string]*ebpf.Map{},
		programs: map[string]*ebpf.Collection{}}
	for name, m := range spec.Maps {
		if shared, ok := loaded.shared[name]; ok {
			// Ring sizes and the like are decided at load: the spec must say what the map is.
			m.MaxEntries = shared.MaxEntries()
			continue
		}
		if m.Type == ebpf.Array && m.Contents != nil { // .rodata: every collection makes its own
			continue
		}
		own, err := ebpf.NewMap(m)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make map %s of object %s: %w", name, o.name, err), loaded.close())
		}
		loaded.own[name] = own
	}
	if !host.AtomicFetch {
		for _, p := range spec.Programs {
			plainAdds(p.Instructions)
		}
	}
	return loaded, nil
}

// plainAdds turns atomic adds that return the old value, unknown before 5.12 even in
// dead code, into plain atomic adds. The programs read the value back (see fetch_add in
// bpf/emit.h).
func plainAdds(instructions asm.Instructions) {
	for i := range instructions {
		ins := &instructions[i]
		if ins.OpCode.Class() == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode && ins.OpCode.AtomicOp() == asm.FetchAdd {
			ins.OpCode = ins.OpCode.SetAtomicOp(asm.AddAtomic)
			ins.Constant = 0 // which is what is encoded (see haveAtomicFetch)
		}
	}
}

// program loads one program, or finds it loaded.
func (o *loadedObject) program(name string) (*ebpf.Program, error) {
	if c, ok := o.programs[name]; ok {
		return c.Programs[name], nil
	}
	spec := o.spec.Copy()
	program, ok := spec.Programs[name]
	if !ok {
		return nil, fmt.Errorf("object %s has no program %s", o.name, name)
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{name: program}
	replacements := map[string]*ebpf.Map{}
	for mapName := range spec.Maps {
		if m, ok := o.shared[mapName]; ok {
			replacements[mapName] = m
		} else if m, ok := o.own[mapName]; ok {
			replacements[mapName] = m
		}
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", name, err)
	}
	o.programs[name] = c
	return c.Programs[name], nil
}

func (o *loadedObject) close() error {
	for _, c := range o.programs {
		c.Close()
	}
	var errs []error
	for _, m := range o.own {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
