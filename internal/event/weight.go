package event

import "unsafe"

// Weight measures in bytes what a set of kept events keeps alive: of each event its own
// text, and whatever they refer to (processes with all their ancestors, sessions,
// containers, writers of files) once, however many of them refer to it. It is an
// estimate, hardly low. The zero Weight is that of no events; it is no one's to share.
//
// Homes are their owner's to bound: there is one for each container.
//
// An event costs the same whatever its text is: argv is not walked. Ancestors are, up to
// the first that is counted already.
type Weight struct {
	bytes int
	// refs counts who refers to what is shared: events, and processes that are counted
	// themselves.
	refs map[unsafe.Pointer]int
}

// Bytes is the sum.
func (w *Weight) Bytes() int { return w.bytes }

// Add counts an event that is kept from now on. It may be lent: it is counted as the
// clone that will be kept.
func (w *Weight) Add(e *Event) {
	if w.refs == nil {
		w.refs = make(map[unsafe.Pointer]int)
	}
	w.count(e, 1)
}

// Remove takes an event out that was added and refers to the same as then.
func (w *Weight) Remove(e *Event) { w.count(e, -1) }

// argsBytes is what the kernel's programs and the readers of procfs keep of an argv.
const argsBytes = 8 << 10

// slack is what an object costs beside itself: its entry in refs, its place in the queue
// that holds it, and what its owner keeps with it.
const slack = 128

// text is what n bytes of text take: objects are rounded up by as much as a fifth.
func text(n int) int { return n + n/4 }

func (w *Weight) count(e *Event, n int) {
	size := int(unsafe.Sizeof(*e)) + slack + len(e.Comm)
	switch p := e.Payload.(type) {
	case *Fork:
		size += int(unsafe.Sizeof(*p))
		w.process(p.ChildProcess, n)
	case *Exec:
		size += int(unsafe.Sizeof(*p)) + text(len(p.File.Path)) + text(len(p.Args)) + text(len(p.CWD)) + text(len(p.Filename))
		w.process(p.Before, n)
		w.origin(p.File.Origin, n)
	case *Exit:
		size += int(unsafe.Sizeof(*p))
	case *Namespace:
		size += int(unsafe.Sizeof(*p))
	case *Open:
		size += int(unsafe.Sizeof(*p)) + text(len(p.File.Path))
		w.origin(p.File.Origin, n)
	case *Rename:
		size += int(unsafe.Sizeof(*p)) + text(len(p.File.Path)) + text(len(p.NewPath))
		w.origin(p.File.Origin, n)
	case *Unlink:
		size += int(unsafe.Sizeof(*p)) + text(len(p.File.Path))
		w.origin(p.File.Origin, n)
	case *Chmod:
		size += int(unsafe.Sizeof(*p)) + text(len(p.File.Path))
		w.origin(p.File.Origin, n)
	case *Flow:
		size += int(unsafe.Sizeof(*p)) + text(len(p.Path))
	case *Memory:
		size += int(unsafe.Sizeof(*p)) + text(len(p.File.Path))
		w.origin(p.File.Origin, n)
	case *Cgroup:
		size += int(unsafe.Sizeof(*p)) + text(len(p.Path))
	}
	w.bytes += n * size
	w.process(e.Process, n)
	w.session(e.Session, n)
	w.container(e.Container, n)
	w.container(e.EnteredContainer, n)
}

// refer counts n more references to what a pointer names, and reports whether it came or
// went with that.
func (w *Weight) refer(thing unsafe.Pointer, n int) bool {
	before := w.refs[thing]
	after := before + n
	if after == 0 {
		delete(w.refs, thing)
		return true
	}
	w.refs[thing] = after
	return before == 0
}

func (w *Weight) process(p *Process, n int) {
	for ; p != nil && w.refer(unsafe.Pointer(p), n); p = p.Parent {
		w.bytes += n * own(p)
		w.session(p.Session, n)
		w.origin(p.Exe.Origin, n)
	}
}

// own is what a process takes beside what it refers to.
func own(p *Process) int {
	return int(unsafe.Sizeof(*p)) + slack + len(p.ID) + len(p.Comm) + len(p.TTY) +
		text(len(p.Exe.Path)) + text(len(p.CWD)) + text(len(p.Filename)) +
		text(min(int(p.ArgsBytes), argsBytes)) + words(p.Args)
}

// words is what the list of an argv's words takes beside their text.
func words(args []string) int { return text(cap(args) * int(unsafe.Sizeof(""))) }

func (w *Weight) session(s *Session, n int) {
	if s == nil || !w.refer(unsafe.Pointer(s), n) {
		return
	}
	size := int(unsafe.Sizeof(*s)) + slack + len(s.ID) + len(s.RootID) + len(s.ContainerID) + len(s.TTY) + len(s.ExecID)
	if len(s.Args) > 0 { // the root's, whose length is not told here
		size += text(argsBytes) + words(s.Args)
	}
	w.bytes += n * size
}

func (w *Weight) origin(o *Origin, n int) {
	if o == nil || !w.refer(unsafe.Pointer(o), n) {
		return
	}
	size := int(unsafe.Sizeof(*o)) + slack
	if o.Process != nil { // a copy that refers to nothing further; files may share it
		size += own(o.Process)
	}
	w.bytes += n * size
}

func (w *Weight) container(c *Container, n int) {
	if c == nil || !w.refer(unsafe.Pointer(c), n) {
		return
	}
	size := len(c.ID) + len(c.Runtime) + len(c.RuntimeNamespace) + len(c.Name) + len(c.Image) + len(c.ImageDigest) +
		len(c.PodName) + len(c.PodNamespace) + len(c.PodUID) + len(c.CgroupPath)
	for name, value := range c.Labels {
		size += slack + len(name) + len(value)
	}
	w.bytes += n * (int(unsafe.Sizeof(*c)) + 4*slack + text(size)) // the first labels share a table
}
