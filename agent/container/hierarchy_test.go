package container

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seawall-security/seawall/internal/testpriv"
)

// fixture is a file system root with the two tables of one process.
func fixture(t *testing.T, mountinfo, membership string) string {
	t.Helper()
	root := t.TempDir()
	write(t, root+"/proc/self/mountinfo", mountinfo)
	write(t, root+"/proc/self/cgroup", membership)
	return root
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	unifiedMounts = `22 1 0:20 / /proc rw - proc proc rw
30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
`
	hybridMounts = `30 1 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
`
	hybridMembership = "5:pids:/x\n4:cpu,cpuacct:/x\n1:name=systemd:/init.scope\n0::/init.scope\n"
)

func TestFindHierarchy(t *testing.T) {
	tests := []struct {
		name, mounts, membership string
		want                     Hierarchy
		err                      error
	}{
		{"unified", unifiedMounts, "0::/\n", Hierarchy{Version: 2, Mount: "/sys/fs/cgroup"}, nil},
		{"hybrid", hybridMounts, hybridMembership, Hierarchy{Version: 1, Mount: "/sys/fs/cgroup/pids", Controller: "pids", ID: 5}, nil},
		{
			"memory is preferred", hybridMounts + "35 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
			hybridMembership + "12:memory:/a:b\n", Hierarchy{Version: 1, Mount: "/sys/fs/cgroup/memory", Controller: "memory", ID: 12}, nil,
		},
		{
			"controllers that share a hierarchy", "33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu\n",
			hybridMembership, Hierarchy{Version: 1, Mount: "/sys/fs/cgroup/cpu,cpuacct", Controller: "cpu", ID: 4}, nil,
		},
		{
			"private cgroup namespace, seen from inside", strings.Replace(unifiedMounts, "0:26 / /sys", "0:26 /docker/a /sys", 1),
			"0::/\n", Hierarchy{Version: 2, Mount: "/sys/fs/cgroup", Partial: true}, nil,
		},
		{
			"the upper mount counts", unifiedMounts + hybridMounts, hybridMembership,
			Hierarchy{Version: 1, Mount: "/sys/fs/cgroup/pids", Controller: "pids", ID: 5}, nil,
		},
		{
			"blank in a mount point", `33 30 0:29 / /my\040cgroups rw - cgroup cgroup rw,pids` + "\n", hybridMembership,
			Hierarchy{Version: 1, Mount: "/my cgroups", Controller: "pids", ID: 5}, nil,
		},
		{"none", "22 1 0:20 / /proc rw - proc proc rw\nnonsense\n", "0::/\n", Hierarchy{}, ErrNoHierarchy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := fixture(t, tt.mounts, tt.membership)
			got, err := FindHierarchy(root)
			if tt.err != nil {
				if !errors.Is(err, tt.err) {
					t.Fatalf("error is %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Mount = filepath.Join(root, tt.want.Mount)
			if diff := cmp.Diff(tt.want, *got, cmpopts.IgnoreUnexported(Hierarchy{})); diff != "" {
				t.Errorf("difference (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindHierarchyWithoutID(t *testing.T) {
	if _, err := FindHierarchy(fixture(t, hybridMounts, "0::/\n")); err == nil {
		t.Error("a controller that is in no line of the membership gave no error")
	}
}

func TestCgroupOf(t *testing.T) {
	root := fixture(t, hybridMounts, hybridMembership)
	h, err := FindHierarchy(root)
	if err != nil {
		t.Fatal(err)
	}
	write(t, root+"/proc/7/cgroup", "5:pids:/a:b/c\n4:cpu,cpuacct:/d\n0::/e\n")
	write(t, root+"/proc/8/cgroup", "nonsense\n")
	if path, err := h.CgroupOf(7); err != nil || path != "/a:b/c" {
		t.Errorf("%q, %v", path, err)
	}
	for _, pid := range []uint32{8, 9} {
		if path, err := h.CgroupOf(pid); err == nil {
			t.Errorf("process %d is in %q", pid, path)
		}
	}
}

func TestWalk(t *testing.T) {
	root := fixture(t, unifiedMounts, "0::/\n")
	h, err := FindHierarchy(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/a", "/a/b\xff\n", "/c"} {
		write(t, filepath.Join(h.Mount, path, "cgroup.procs"), "")
	}
	seen := make(map[string]uint64)
	if err := h.Walk(func(id uint64, path string) bool { seen[path] = id; return true }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 4 {
		t.Errorf("walked %v", seen)
	}
	for path, id := range seen {
		if again, err := h.Lookup(path); err != nil || again != id || id == 0 {
			t.Errorf("%q has id %d, then %d, %v", path, id, again, err)
		}
	}
	n := 0
	if err := h.Walk(func(uint64, string) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("a walk told to end visited %d, %v", n, err)
	}
}

func TestRealHierarchy(t *testing.T) {
	testpriv.Root(t)
	h, err := FindHierarchy("/")
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[uint64]string)
	if err := h.Walk(func(id uint64, path string) bool { ids[id] = path; return true }); err != nil {
		t.Fatal(err)
	}
	if !h.Partial && ids[rootID] != "/" {
		t.Errorf("the root is %q", ids[rootID])
	}
	own, err := h.CgroupOf(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	id, err := h.Lookup(own)
	if err != nil || ids[id] != own {
		t.Errorf("own cgroup %q has id %d, which the walk has as %q, %v; of %v", own, id, ids[id], err, maps.Values(ids))
	}
}
