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
