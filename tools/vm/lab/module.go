package lab

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is a kernel module, unpacked.
type module struct {
	name string
	data []byte
}

// loader finds modules of one kernel with what they depend on.
type loader struct {
	busybox string
	files   map[string]string // by the module's name
	builtin map[string]bool
	loaded  map[string]bool
	order   []module
}

func newLoader(k Kernel, busybox string) (*loader, error) {
	l := &loader{busybox: busybox, files: map[string]string{}, builtin: map[string]bool{}, loaded: map[string]bool{}}
	err := filepath.WalkDir(filepath.Join(k.Dir, "modules"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".ko") {
			l.files[moduleName(path)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	list, err := os.ReadFile(filepath.Join(k.Dir, "modules", "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	for path := range strings.FieldsSeq(string(list)) {
		l.builtin[moduleName(path)] = true
	}
	return l, nil
}

// moduleName is the name the kernel uses for the module in a file.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// add appends a module to the order of loading, behind what it depends on.
func (l *loader) add(ctx context.Context, name string) error {
	name = moduleName(name)
	if l.loaded[name] || l.builtin[name] {
		return nil
	}
	path, found := l.files[name]
	if !found {
		return fmt.Errorf("this kernel has no module %s", name)
	}
	l.loaded[name] = true
	data, err := l.read(ctx, path)
	if err != nil {
		return fmt.Errorf("read module %s: %w", name, err)
	}
	depends, err := dependencies(data)
	if err != nil {
		return fmt.Errorf("read module %s: %w", name, err)
	}
	for _, d := range depends {
		if err := l.add(ctx, d); err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	l.order = append(l.order, module{name, data})
	return nil
}

func (l *loader) read(ctx context.Context, path string) ([]byte, error) {
	if !strings.HasSuffix(path, ".xz") {
		return os.ReadFile(path)
	}
	out, err := output(exec.CommandContext(ctx, l.busybox, "xzcat", path))
	return []byte(out), err
}

// dependencies reads what modpost wrote into the module itself, so that no
// index made by depmod is needed.
func dependencies(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, found := strings.CutPrefix(field, "depends="); found {
			return slices.DeleteFunc(strings.Split(list, ","), func(s string) bool { return s == "" }), nil
		}
	}
	return nil, nil
}
