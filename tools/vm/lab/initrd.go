package lab

import (
	"bufio"
	"context"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

//go:embed guest/init.sh guest/run.sh
var guest embed.FS

// File is a file or a folder of the host that the guest shall have.
type File struct {
	Source string
	// Target is its absolute path in the guest. A program needs to be static
	// unless its interpreter comes along, too, or the guest has a Root.
	Target string
}

// ParseFile reads SRC:DST; without DST the file lands in the guest's /root.
func ParseFile(text string) (File, error) {
	source, target, found := strings.Cut(text, ":")
	if source == "" {
		return File{}, fmt.Errorf("file %q: want SRC:DST", text)
	}
	if !found {
		target = "/root/" + filepath.Base(source)
	}
	return File{source, target}, nil
}

// usualModules are loaded where the kernel has them as modules: the devices of
// the machine, then what containers need.
func (m *Machine) usualModules() []string {
	names := []string{"virtio_pci", "virtio_console"}
	if m.Root != "" || len(m.Disks) > 0 {
		names = append(names, "virtio_blk", "ext4")
	}
	return append(names, "overlay", "veth", "bridge", "dummy")
}

// initrd makes the initramfs: busybox, the guest's two scripts, the modules in
// the order of loading, the command and the caller's files.
type initrd struct {
	archive *archive
	// needs are interpreters of dynamic programs, by program.
	needs map[string]string
	has   map[string]bool
	// under is where the caller's files go: the root, or a folder that is copied
	// onto the disk.
	under string
}

func (m *Machine) writeInitrd(ctx context.Context, to io.Writer, argv []string) error {
	out := bufio.NewWriterSize(to, 1<<20)
	i := &initrd{archive: newArchive(out), needs: map[string]string{}, has: map[string]bool{}, under: "/"}
	if m.Root != "" {
		i.under = "/files"
	}
	if err := i.write(ctx, m, argv); err != nil {
		return err
	}
	return out.Flush()
}

func (i *initrd) write(ctx context.Context, m *Machine, argv []string) error {
	busybox, err := findBusybox()
	if err != nil {
		return err
	}
	if err := i.file(busybox, "/lab/busybox"); err != nil {
		return err
	}
	for target, source := range map[string]string{"init": "guest/init.sh", "lab/run.sh": "guest/run.sh"} {
		text, err := guest.ReadFile(source)
		if err != nil {
			return err
		}
		if err := i.archive.text(target, 0o755, string(text)); err != nil {
			return err
		}
	}
	if err := i.archive.text("lab/command", 0o644, "exec "+quote(argv)+"\n"); err != nil {
		return err
	}
	for marker, wanted := range map[string]bool{"lab/disk": m.Root != "", "lab/collect": m.Out != ""} {
		if wanted {
			if err := i.archive.text(marker, 0o644, ""); err != nil {
				return err
			}
		}
	}
	for _, d := range []string{"dev", "proc", "sys", "tmp", "run", "out", "root", "newroot", "files", "lab/modules"} {
		if err := i.archive.directory(d, 0o755); err != nil {
			return err
		}
	}
	if err := i.modules(ctx, m, busybox); err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := i.tree(f); err != nil {
			return fmt.Errorf("give %s to the guest: %w", f.Source, err)
		}
	}
	if m.Root == "" {
		for program, interpreter := range i.needs {
			if !i.has[interpreter] {
				return fmt.Errorf("give %s to the guest: it is dynamically linked and the guest has no %s: build it static (CGO_ENABLED=0)", program, interpreter)
			}
		}
	}
	return i.archive.close()
}

func (i *initrd) modules(ctx context.Context, m *Machine, busybox string) error {
	l, err := newLoader(m.Kernel, busybox)
	if err != nil {
		return err
	}
	for _, name := range append(m.usualModules(), m.Modules...) {
		if err := l.add(ctx, name); err != nil {
			return fmt.Errorf("kernel %s: %w", m.Kernel.Release, err)
		}
	}
	for n, mod := range l.order {
		if err := i.archive.text(fmt.Sprintf("lab/modules/%03d-%s.ko", n, mod.name), 0o644, string(mod.data)); err != nil {
			return err
		}
	}
	return nil
}

// tree adds a file, or a folder with all that is in it. Special files are left out.
func (i *initrd) tree(f File) error {
	top, _, _ := strings.Cut(strings.TrimPrefix(path.Clean(f.Target), "/"), "/")
	switch top {
	case "dev", "proc", "sys", "tmp", "run", "out", "lab":
		return fmt.Errorf("%s would be hidden: /%s is mounted over", f.Target, top)
	}
	source, err := filepath.EvalSymlinks(f.Source)
	if err != nil {
		return err
	}
	return filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		target := path.Join(f.Target, filepath.ToSlash(relative))
		switch {
		case d.IsDir():
			info, err := d.Info()
			if err != nil {
				return err
			}
			return i.archive.directory(path.Join(i.under, target), uint32(info.Mode().Perm()))
		case d.Type() == fs.ModeSymlink:
			link, err := os.Readlink(name)
			if err != nil {
				return err
			}
			i.has[target] = true
			return i.archive.symlink(path.Join(i.under, target), link)
		case d.Type().IsRegular():
			return i.file(name, target)
		}
		return nil
	})
}

func (i *initrd) file(source, target string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	i.has[target] = true
	if program, err := elf.NewFile(f); err == nil { // else a script or data
		if interpreter := interpreterOf(program); interpreter != "" {
			i.needs[target] = interpreter
		}
	}
	under := i.under
	if strings.HasPrefix(target, "/lab/") {
		under = "/"
	}
	return i.archive.file(path.Join(under, target), uint32(info.Mode().Perm()), info.Size(), f)
}

// interpreterOf is the dynamic linker that a program asks for; empty: none.
func interpreterOf(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			if err == nil {
				return strings.TrimRight(string(name), "\x00")
			}
		}
	}
	return ""
}

func findBusybox() (string, error) {
	name, err := exec.LookPath("busybox")
	if err != nil {
		return "", errors.New("find busybox: install the package busybox-static")
	}
	f, err := elf.Open(name)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return "", fmt.Errorf("%s is a program for %v: guests are x86-64", name, f.Machine)
	}
	if interpreterOf(f) != "" {
		return "", fmt.Errorf("%s is dynamically linked: install the package busybox-static", name)
	}
	return name, nil
}

// quote writes words so that a shell reads them as they are.
func quote(words []string) string {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	return strings.Join(quoted, " ")
}
