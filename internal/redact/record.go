package redact

import (
	"slices"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Record masks the secrets of a record in place and returns how many there were.
func (r *Redactor) Record(m *sensorv1.Record) int {
	w := walk{redactor: r}
	w.event(m.GetEvent())
	w.detection(m.GetDetection())
	if g := m.GetGap(); g != nil {
		g.Reason = w.text(g.Reason, inText)
	}
	return w.masks
}

func (w *walk) detection(d *sensorv1.Detection) {
	if d == nil {
		return
	}
	w.keep = true
	w.event(d.Event)
	w.keep = false
	if len(w.known) > 0 {
		w.repeats = newRepeats(w.known)
	}
	d.Summary = w.text(d.Summary, inText)
	for name, text := range d.Evidence {
		if masked := w.text(text, inText); masked != text {
			d.Evidence[name] = masked
		}
	}
}

func (w *walk) event(e *sensorv1.Event) {
	if e == nil {
		return
	}
	w.escaped = e.Escaped
	w.process(e.Process)
	for _, a := range e.Ancestors {
		w.process(a)
	}
	w.container(e.Container)
	w.container(e.EnteredContainer)
	if s := e.Session; s != nil {
		w.args(s.Args, s.ArgsTruncated)
		s.ExecId = w.text(s.ExecId, inPath)
	}
	switch p := e.Payload.(type) {
	case *sensorv1.Event_Fork:
		w.process(p.Fork.GetChild())
	case *sensorv1.Event_Exec:
		w.process(p.Exec.GetBefore())
	case *sensorv1.Event_Open:
		w.file(p.Open.GetFile())
	case *sensorv1.Event_Rename:
		w.file(p.Rename.GetFile())
		if r := p.Rename; r != nil {
			r.NewPath, r.NewName = w.text(r.NewPath, inPath), w.text(r.NewName, inPath)
		}
	case *sensorv1.Event_Unlink:
		w.file(p.Unlink.GetFile())
	case *sensorv1.Event_Chmod:
		w.file(p.Chmod.GetFile())
	case *sensorv1.Event_Connect:
		w.flow(p.Connect)
	case *sensorv1.Event_Accept:
		w.flow(p.Accept)
	case *sensorv1.Event_Protect:
		w.file(p.Protect.GetFile())
	case *sensorv1.Event_Map:
		w.file(p.Map.GetFile())
	case *sensorv1.Event_CgroupCreate:
		w.cgroup(p.CgroupCreate)
	case *sensorv1.Event_CgroupRemove:
		w.cgroup(p.CgroupRemove)
	}
}

func (w *walk) process(p *sensorv1.Process) {
	if p == nil {
		return
	}
	w.args(p.Args, p.ArgsTruncated)
	p.Name = w.text(p.Name, inPath)
	p.Program = w.text(p.Program, inPath)
	p.Comm = w.text(p.Comm, inPath)
	p.Cwd = w.text(p.Cwd, inPath)
	p.Filename = w.text(p.Filename, inPath)
	w.file(p.Exe)
}

func (w *walk) file(f *sensorv1.File) {
	if f == nil {
		return
	}
	f.Path, f.Name = w.text(f.Path, inPath), w.text(f.Name, inPath)
	if o := f.Origin; o != nil {
		o.ProcessName = w.text(o.ProcessName, inPath)
		o.ProcessProgram = w.text(o.ProcessProgram, inPath)
		o.ProcessPath = w.text(o.ProcessPath, inPath)
	}
}

func (w *walk) flow(f *sensorv1.NetworkFlow) {
	if f != nil {
		f.Path = w.text(f.Path, inPath)
	}
}

func (w *walk) cgroup(c *sensorv1.CgroupChange) {
	if c != nil {
		c.Path = w.text(c.Path, inPath)
	}
}

// container masks what people may have written. A label's name can say that its value
// is a secret.
func (w *walk) container(c *sensorv1.Container) {
	if c == nil {
		return
	}
	c.Name, c.Image = w.text(c.Name, inPath), w.text(c.Image, inPath)
	c.CgroupPath = w.text(c.CgroupPath, inPath)
	if len(c.Labels) == 0 {
		return
	}
	for name, value := range c.Labels {
		if masked := w.label(name, value); masked != value {
			c.Labels[name] = masked
		}
	}
	for _, name := range w.secretNames(c.Labels) {
		value := c.Labels[name]
		delete(c.Labels, name)
		c.Labels[w.text(name, inPath)] = value
	}
}

// secretNames are the names of labels that hold secrets, in order: two may get one mask.
func (w *walk) secretNames(labels map[string]string) (names []string) {
	for name := range labels {
		f := finder{}
		f.read(w.plain(name), inPath)
		if len(f.hits) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (w *walk) label(name, value string) string {
	plain := w.plain(value)
	m := judge(tail(w.plain(name)))
	if m != sure && m != tolerant || harmless(plain, true, m, inArgument) {
		return w.text(value, inText)
	}
	masked, ok := w.mask(plain, "", []hit{{end: len(plain)}})
	if !ok {
		return value
	}
	return w.escape(masked, value)
}
