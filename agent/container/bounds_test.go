package container

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestBounds(t *testing.T) {
	t.Run("containers", func(t *testing.T) {
		table, clock := newTestTable(Options{MaxContainers: 10})
		for i := range uint64(30) {
			table.Born(100+i, fmt.Sprintf("/docker/%064x", i), shell)
		}
		if c := table.Counts(); c.Containers != 10 || c.Refused != 20 {
			t.Errorf("counts are %+v", c)
		}
		clock.add(DefaultWait)
		table.Tick()
		table.Born(1000, dockerPath, runc) // refuted ones make room
		expectState(t, table, 1000, Pending, "")
		expectState(t, table, 100, Host, "")
		if c := table.Counts(); c.Containers != 10 || c.Evicted != 1 {
			t.Errorf("counts are %+v", c)
		}
	})
	t.Run("removed go first", func(t *testing.T) {
		table, _ := newTestTable(Options{MaxContainers: 2})
		table.Born(1, "/default/a", runc)
		table.Born(2, "/default/b", runc)
		table.Gone(2)
		table.Born(3, "/default/c", runc)
		expectState(t, table, 1, Pending, "")
		expectState(t, table, 2, Unseen, "")
		expectState(t, table, 3, Pending, "")
		if changed, _ := table.Changed(nil); !slices.Equal(changed, []uint64{2}) {
			t.Errorf("whoever waits for the evicted is told %v", changed)
		}
	})
	t.Run("cgroups", func(t *testing.T) {
		table, _ := newTestTable(Options{MaxCgroups: 10})
		for i := range uint64(30) {
			table.Born(100+i, fmt.Sprintf("/a.slice/%d", i), nil)
			if i%3 == 0 {
				table.Gone(100 + i)
			}
		}
		if c := table.Counts(); c.Cgroups != 10 || c.Refused == 0 || c.Evicted == 0 {
			t.Errorf("counts are %+v", c)
		}
	})
	t.Run("one container", func(t *testing.T) {
		table, _ := newTestTable(Options{})
		table.Born(10, dockerPath, runc)
		deep := dockerPath
		for i := range uint64(100) {
			table.Born(1000+i, fmt.Sprintf("%s/%064x", dockerPath, i), shell)
			if len(deep) < 4000 {
				deep += "/" + otherID
				table.Born(2000+i, deep, shell)
			}
		}
		for i := range uint64(2 * maxNestedCgroups) {
			table.Born(10_000+i, fmt.Sprintf("%s/%d", dockerPath, i), shell)
		}
		c := table.Counts()
		if c.Containers > 1+maxNested || c.Cgroups > maxNestedCgroups || c.Refused == 0 {
			t.Errorf("counts are %+v", c)
		}
		table.Born(11, "/docker/"+otherID, runc)
		expectState(t, table, 11, Pending, "")
	})
	t.Run("a container's own gone cgroups go first", func(t *testing.T) {
		table, clock := newTestTable(Options{})
		table.Born(10, dockerPath, runc)
		table.Born(11, "/a.slice", runc)
		table.Gone(11)
		const loops = 20 * maxNestedCgroups
		for i := range uint64(loops) {
			table.Born(1000+i, fmt.Sprintf("%s/%d", dockerPath, i), shell)
			expectState(t, table, 1000+i, Pending, "")
			table.Gone(1000 + i)
		}
		expectState(t, table, 11, Host, "") // not its own
		c := table.Counts()
		if c.Cgroups > maxNestedCgroups+2 || c.Refused > 0 || c.Evicted != loops-maxNestedCgroups+1 || c.Removed != maxNestedCgroups {
			t.Errorf("counts are %+v", c)
		}
		if n := table.gone.len(); n > 3*maxNestedCgroups {
			t.Errorf("%d removals are remembered", n)
		}
		own := table.paths[dockerPath]
		clock.add(DefaultRetention)
		if table.Tick(); own.removed.len() != 0 || own.cgroups != 1 {
			t.Errorf("it has %d cgroups and %d that are gone", own.cgroups, own.removed.len())
		}
		table.Gone(10)
		clock.add(DefaultRetention)
		table.Tick()
		if c := table.Counts(); c.Cgroups+c.Containers+c.Removed+table.stale != 0 {
			t.Errorf("left: %+v, %d stale", c, table.stale)
		}
	})
	t.Run("containers leave room for others", func(t *testing.T) {
		table, _ := newTestTable(Options{MaxCgroups: 100})
		for i := range uint64(200) {
			table.Born(1000+i, fmt.Sprintf("%s/%d", dockerPath, i), shell)
		}
		table.Born(10, "/docker/"+otherID, runc)
		table.Born(11, "/a.slice", runc)
		expectState(t, table, 10, Pending, "")
		expectState(t, table, 11, Host, "")
		if c := table.Counts(); c.Cgroups != 77 || c.Refused != 125 {
			t.Errorf("counts are %+v", c)
		}
	})
	t.Run("a refused candidate is not remembered", func(t *testing.T) {
		table, clock := newTestTable(Options{})
		for i := range uint64(maxNestedCgroups) {
			table.Born(1000+i, fmt.Sprintf("%s/%d", dockerPath, i), shell)
		}
		for i := range uint64(10) {
			table.Born(10+i, fmt.Sprintf("%s/%064x", dockerPath, i), shell)
		}
		if c := table.Counts(); c.Containers != 1 || c.Unresolved != 1 || c.Refused != 10 {
			t.Errorf("counts are %+v", c)
		}
		clock.add(DefaultWait)
		if table.Tick(); table.Counts().Unresolved != 0 {
			t.Error("a candidate without a cgroup waits")
		}
	})
	t.Run("churn leaves nothing", func(t *testing.T) {
		table, clock := newTestTable(Options{})
		for i := range uint64(5000) {
			table.Born(i+1, fmt.Sprintf("/default/x%d", i), shell)
			table.Gone(i + 1)
			if i%100 == 0 {
				clock.add(DefaultWait)
				table.Tick()
			}
		}
		clock.add(DefaultRetention)
		table.Tick()
		table.Tick()
		if len(table.cgroups)+len(table.paths)+len(table.pending)+table.rejected.Len()+table.gone.len()+table.records != 0 {
			t.Errorf("left: %+v, %d paths, %d rejected", table.Counts(), len(table.paths), table.rejected.Len())
		}
	})
	t.Run("changes", func(t *testing.T) {
		table, clock := newTestTable(Options{})
		for i := range uint64(maxChanged + 1) {
			table.Born(i+1, fmt.Sprintf("/default/x%d", i), shell)
		}
		clock.add(DefaultWait)
		table.Tick()
		changed, all := table.Changed(make([]uint64, 0, maxChanged))
		if len(changed) != maxChanged || !all || table.Counts().Overflows != 1 {
			t.Errorf("%d changed, all %v", len(changed), all)
		}
	})
	t.Run("long path", func(t *testing.T) {
		table, _ := newTestTable(Options{})
		table.Born(10, strings.Repeat("/abc.slice", 200)+"/"+hexID, runc)
		expectState(t, table, 10, Unseen, "")
	})
}
