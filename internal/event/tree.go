package event

// TreeRoot returns the id of the process that the event's tree of interest begins
// with: the outermost server of a web server's tree, else the session's root, else
// the outermost process of an unbroken line of marked ones. It is "" outside of
// trees. What one intrusion does has one root, which joins it.
func (e *Event) TreeRoot() string {
	p := e.Process
	switch {
	case p == nil || e.Tree == 0:
		return ""
	case e.Tree&(TreeWeb|TreeWebServer) != 0:
		root := outermost(p, func(a *Process) bool { return a.Tree&(TreeWeb|TreeWebServer) != 0 })
		for a := p; a != nil; a = a.Parent {
			if a.Tree.Has(TreeWebServer) {
				root = a
			}
		}
		return root.ID
	case e.Session != nil && e.Tree.Has(TreeEntered):
		return e.Session.RootID
	}
	return outermost(p, func(a *Process) bool { return a.Tree != 0 }).ID
}

// outermost is the last of the unbroken line of ancestors that belong, or p itself.
func outermost(p *Process, belongs func(*Process) bool) *Process {
	for p.Parent != nil && belongs(p.Parent) {
		p = p.Parent
	}
	return p
}
