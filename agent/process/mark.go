package process

import (
	"maps"

	"github.com/seawall-security/seawall/internal/event"
)

// begins is the tree of interest that a process's program begins.
func begins(marks map[string]event.Tree, p *event.Process) event.Tree {
	tree := marks[p.Name] | marks[p.Program()]
	switch {
	case p.Filename != "":
		tree |= marks[event.BaseName(p.Filename)]
	case len(p.Args) > 1: // a script's name, which only an exec that was seen has in Filename
		tree |= marks[event.BaseName(p.Args[1])]
	}
	return tree
}

// below is the tree of a process that begins own, under a parent in the tree above.
func below(above, own event.Tree) event.Tree {
	if above.Has(event.TreeWebServer) && !own.Has(event.TreeWebServer) {
		above = above&^event.TreeWebServer | event.TreeWeb
	}
	return above | own
}

// SetMarks has other programs begin trees of interest from now on. It yields every
// process that runs and is in a tree by what is new in them, itself or by an ancestor:
// the kernel marks only programs that are yet to start.
func (t *Table) SetMarks(marks map[string]event.Tree, yield func(event.Key, event.Tree)) {
	fresh := make(map[string]event.Tree)
	for name, tree := range marks {
		if added := tree &^ t.opt.Marks[name]; added != 0 {
			fresh[name] = added
		}
	}
	t.opt.Marks = maps.Clone(marks)
	if len(fresh) == 0 {
		return
	}
	known := make(map[*event.Process]event.Tree) // ancestors are shared
	var tree func(p *event.Process) event.Tree
	tree = func(p *event.Process) event.Tree {
		if p == nil {
			return 0
		}
		found, ok := known[p]
		if !ok {
			found = below(tree(p.Parent), begins(fresh, p)) // a chain has at most maxDepth
			known[p] = found
		}
		return found
	}
	for p := range t.Each {
		if found := tree(p); found != 0 {
			yield(p.Key, found)
		}
	}
}
