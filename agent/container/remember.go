package container

import (
	"slices"
	"time"
)

// facts is what containerd told, kept for the retention after a container was
// removed: its events may come later than the news of its end.
type facts struct {
	limit      int
	namespaces []string
	byKey      map[factKey]*generations
}

type factKey struct{ namespace, id string }

// generations of one id: a name such as web1 can be given again.
type generations struct{ newest, before *fact }

// maxNamespaces bounds how many places one candidate is looked for in.
const maxNamespaces = 64

func (s *facts) addNamespace(name string) {
	if name != "" && !slices.Contains(s.namespaces, name) && len(s.namespaces) < maxNamespaces {
		s.namespaces = append(s.namespaces, name)
	}
}

// namespacesFor lists where a candidate can be, the likeliest first. Two plain
// names are containerd's own default, which holds the namespace.
func (s *facts) namespacesFor(c Candidate) []string {
	if c.Hint == HintPlain {
		return []string{c.Namespace}
	}
	likely := "k8s.io"
	if c.Hint == HintDocker {
		likely = "moby"
	}
	order := make([]string, 0, len(s.namespaces)+2)
	if c.Namespace != "" {
		order = append(order, c.Namespace)
	}
	order = append(order, likely)
	for _, name := range s.namespaces {
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	return order
}

// keep remembers f, and what is known of the same container beyond it, and
// returns what is kept. With the memory full it is returned, but not kept.
func (s *facts) keep(f *fact, now time.Time) *fact {
	key := factKey{f.namespace, f.container.ID}
	g := s.byKey[key]
	if g == nil {
		if len(s.byKey) >= s.limit && !s.evict() {
			return f
		}
		g = &generations{}
		s.byKey[key] = g
	}
	old := g.newest
	switch {
	case old == nil || old == f:
	case f.partial && !old.partial && old.released.IsZero():
		return old // an event of the past: the metadata were read since
	case old.partial || old.container.Created.Equal(f.container.Created):
		f.used = f.used || old.used
	default:
		if old.released.IsZero() {
			old.released = now
		}
		g.before = old
	}
	g.newest = f
	return f
}

func (s *facts) newest(key factKey) *fact {
	if g := s.byKey[key]; g != nil {
		return g.newest
	}
	return nil
}

// generation is the one that was there when a cgroup was born: metadata precede
// the cgroup, and the agent sees it after it was made.
func (s *facts) generation(key factKey, born time.Time) *fact {
	g := s.byKey[key]
	switch {
	case g == nil:
		return nil
	case g.before != nil && g.newest.container.Created.After(born):
		return g.before
	}
	return g.newest
}

func (s *facts) release(key factKey, now time.Time) {
	if g := s.byKey[key]; g != nil && g.newest.released.IsZero() {
		g.newest.released = now
	}
}

// sweep forgets containers removed before then and returns the paths that were
// announced for them and for no other.
func (s *facts) sweep(then time.Time) (paths []string) {
	for key, g := range s.byKey {
		if b := g.before; b != nil && b.released.Before(then) {
			if b.announced && b.path != g.newest.path {
				paths = append(paths, b.path)
			}
			g.before = nil
		}
		if n := g.newest; !n.released.IsZero() && n.released.Before(then) {
			if n.announced {
				paths = append(paths, n.path)
			}
			delete(s.byKey, key)
		}
	}
	return paths
}

// evict forgets the container that was removed first.
func (s *facts) evict() bool {
	var oldest factKey
	var at time.Time
	for key, g := range s.byKey {
		if r := g.newest.released; !r.IsZero() && (at.IsZero() || r.Before(at)) {
			oldest, at = key, r
		}
	}
	if at.IsZero() {
		return false
	}
	delete(s.byKey, oldest)
	return true
}
