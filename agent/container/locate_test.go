package container

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// tree is a cgroup tree and a procfs that tests fill.
type tree struct {
	t    *testing.T
	root string
	h    *Hierarchy
}

func newTree(t *testing.T) *tree {
	t.Helper()
	root := fixture(t, unifiedMounts, "0::/\n")
	h, err := FindHierarchy(root)
	if err != nil {
		t.Fatal(err)
	}
	return &tree{t, root, h}
}

func (r *tree) mkdir(path string) (id uint64) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Join(r.h.Mount, path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	id, err := r.h.Lookup(path)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *tree) process(tgid uint32, membership string) {
	r.t.Helper()
	write(r.t, fmt.Sprintf("%s/proc/%d/cgroup", r.root, tgid), membership)
}

func TestLocate(t *testing.T) {
	r := newTree(t)
	box, nested, service, fresh := r.mkdir(dockerPath), r.mkdir(dockerPath+"/a/b"), r.mkdir("/system.slice/x.service"), r.mkdir("/docker/"+otherID+"/c")
	table, _ := newTestTable(Options{Hierarchy: r.h})
	table.Born(box, dockerPath, runc)
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	r.process(10, "0::"+dockerPath+"/a/b\n")
	r.process(11, "0::/system.slice/x.service\n")
	r.process(12, "0::/docker/"+otherID+"/c\n")
	r.process(13, "0::gone\n")
	r.process(14, "0::/docker/"+hexID+"/z (deleted)\n")
	r.process(15, "")
	for _, tt := range []struct {
		name   string
		cgroup uint64
		tgid   uint32
		want   string
	}{
		{"moved since", nested, 11, "unseen"},
		{"ended", nested, 99, "unseen"},
		{"no path", nested, 13, "unseen"},
		{"removed", nested, 14, "unseen"},
		{"in no cgroup", nested, 15, "unseen"},
		{"below a container", nested, 10, "in " + hexID},
		{"a service", service, 11, "host"},
		{"a container whose birth was lost", fresh, 12, "pending " + otherID},
	} {
		if got := place(table.Locate(tt.cgroup, tt.tgid)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	expectState(t, table, nested, Known, hexID) // from here on without procfs
	if c := table.Counts(); c.Located != 3 {
		t.Errorf("counts are %+v", c)
	}
	without, _ := newTestTable(Options{})
	if got := place(without.Locate(nested, 10)); got != "unseen" {
		t.Errorf("without a hierarchy: %s", got)
	}
}

func TestLocateWithoutRoom(t *testing.T) {
	r := newTree(t)
	box := r.mkdir(dockerPath)
	nested, other, slice := r.mkdir(dockerPath+"/a/b"), r.mkdir("/docker/"+otherID), r.mkdir("/b.slice")
	r.process(10, "0::"+dockerPath+"/a/b\n")
	r.process(11, "0::/docker/"+otherID+"\n")
	r.process(12, "0::/b.slice\n")
	table, _ := newTestTable(Options{Hierarchy: r.h, MaxCgroups: 1})
	table.Born(box, dockerPath, runc)
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	for _, tt := range []struct {
		cgroup uint64
		tgid   uint32
		want   string
	}{{nested, 10, "in " + hexID}, {other, 11, "unseen"}, {slice, 12, "host"}} {
		if got := place(table.Locate(tt.cgroup, tt.tgid)); got != tt.want {
			t.Errorf("%d: %s, want %s", tt.tgid, got, tt.want)
		}
	}
	if c := table.Counts(); c.Cgroups != 1 || c.Containers != 1 {
		t.Errorf("counts are %+v", c)
	}
}

func TestLocateIsBounded(t *testing.T) {
	r := newTree(t)
	id := r.mkdir("/a.slice")
	r.process(10, "0::/a.slice\n")
	table, clock := newTestTable(Options{Hierarchy: r.h})
	answers := func() (n int) {
		for range 3 * locateBurst {
			if _, ok := table.Locate(id, 10); ok {
				n++
			}
		}
		return n
	}
	if n := answers(); n != locateBurst {
		t.Errorf("%d answers at once", n)
	}
	clock.add(time.Second / 10)
	if n := answers(); n != locateRate/10 {
		t.Errorf("%d more after a tenth of a second", n)
	}
	clock.add(time.Hour)
	if n := answers(); n != locateBurst {
		t.Errorf("%d answers after an hour", n)
	}
}

// A service manager in a container, or somebody who makes cgroups in a loop and keeps them.
func TestMoreCgroupsThanAContainerMayHave(t *testing.T) {
	r := newTree(t)
	box, late := r.mkdir(dockerPath), r.mkdir(dockerPath+"/a/late")
	r.process(10, "0::"+dockerPath+"/a/late\n")
	table, _ := newTestTable(Options{Hierarchy: r.h})
	table.Born(box, dockerPath, runc)
	q, _ := table.candidateAt(dockerPath)
	table.confirm(q.rec, container)
	for i := range uint64(2 * maxNestedCgroups) {
		table.Born(1<<40+i, fmt.Sprintf("%s/%d", dockerPath, i), shell)
	}
	table.Born(late, dockerPath+"/a/late", shell)
	expectState(t, table, late, Unseen, "")
	if got := place(table.Locate(late, 10)); got != "in "+hexID {
		t.Errorf("it is %s", got)
	}
	if c := table.Counts(); c.Cgroups != maxNestedCgroups {
		t.Errorf("counts are %+v", c)
	}
}
