package origin

import "github.com/seawall-security/seawall/internal/event"

// Attach sets Origin on the files of an event. It runs before the process stage
// and allocates nothing.
func (t *Table) Attach(ev *event.Event) {
	switch p := ev.Payload.(type) {
	case *event.Exec:
		t.attach(&p.File)
	case *event.Open:
		t.attach(&p.File)
	case *event.Rename:
		t.attach(&p.File)
	case *event.Unlink:
		t.attach(&p.File)
	case *event.Chmod:
		t.attach(&p.File)
	case *event.Memory:
		t.attach(&p.File)
	}
}

func (t *Table) attach(file *event.File) { file.Origin = t.Lookup(file.Device, file.Inode) }

// Record remembers who wrote and forgets what is gone. It runs after the process
// stage, whose Process it takes for the writer; calls that failed count for
// nothing. Only an event that makes somebody a writer allocates.
func (t *Table) Record(ev *event.Event) {
	if ev.Flags.Has(event.HasResult) && ev.Result < 0 {
		return
	}
	switch p := ev.Payload.(type) {
	case *event.Exec:
		t.redirected(ev)
	case *event.Open:
		if (p.Write || p.Created) && !p.Failed {
			t.Wrote(&p.File, ev.Process, ev.Time, ev.Wall)
		}
	case *event.Rename:
		t.Renamed(&p.File, ev.Process, ev.Time, ev.Wall)
	case *event.Unlink:
		t.Removed(&p.File)
	}
}

// redirected takes a program that starts with its output or errors going to a file
// for the file's writer: bash opens the file of `curl url > file`, curl writes it.
func (t *Table) redirected(ev *event.Event) {
	if ev.Process == nil {
		return
	}
	for _, s := range ev.Process.Stdio[1:] {
		if s.Kind == event.StdioFile && s.Device != 0 {
			t.Wrote(&event.File{Device: s.Device, Inode: s.Inode}, ev.Process, ev.Time, ev.Wall)
		}
	}
}

// Type bits of a mode, as of inode(7).
const (
	modeType    = 0o170000
	modeRegular = 0o100000
)

// lasting reports whether a file keeps what is written to it under its inode.
func lasting(file *event.File) bool {
	if file.Inode == 0 || file.Mode&modeType != modeRegular && file.Mode&modeType != 0 {
		return false
	}
	switch file.Magic {
	// proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf, selinuxfs:
	// the kernel's numbers for what is no storage.
	case 0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0xcafe4a11, 0xf97cff8c:
		return false
	}
	return true
}
