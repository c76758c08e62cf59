package container

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Hierarchy is the cgroup tree whose ids the agent speaks of.
//
// Runtimes use cgroup v2 if, and only if, the file system on /sys/fs/cgroup is
// cgroup2 (runc and containerd decide by statfs; the mount table says the same
// and can be a fixture). Elsewhere, hybrid hosts included, they put a container
// into every mounted v1 hierarchy, so any one controller serves; a v2 tree that
// is mounted beside them then holds no containers.
type Hierarchy struct {
	Version int // 1 or 2
	// Mount is the mount point as this process sees it, the injected root included.
	Mount string
	// Controller is the v1 controller that names the hierarchy; empty on v2.
	Controller string
	// ID is the first column of /proc/<pid>/cgroup; 0 on v2.
	ID int
	// Partial says that the mount shows a part of the tree only, as in a private
	// cgroup namespace: ids are right, paths lack their beginning.
	Partial bool

	proc string
}

// controllers in the order of preference: the ones that every runtime manages
// and no kernel in use builds without come first.
var controllers = [...]string{"memory", "pids", "cpu", "devices", "freezer", "cpuset", "blkio"}

const cgroupRoot = "/sys/fs/cgroup"

// rootID is the kernfs id of a hierarchy's root.
const rootID = 1

// ErrNoHierarchy says that no cgroup tree with containers is mounted.
var ErrNoHierarchy = errors.New("no cgroup hierarchy is mounted")

// FindHierarchy decides which hierarchy the node's runtimes use. root is the
// root of the file system, "/" but for tests.
func FindHierarchy(root string) (*Hierarchy, error) {
	mounts, err := readMounts(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	h, err := choose(mounts)
	if err != nil {
		return nil, err
	}
	h.Mount = filepath.Join(root, h.Mount)
	h.proc = filepath.Join(root, "proc")
	if h.Version == 1 {
		if h.ID, err = readHierarchyID(filepath.Join(h.proc, "self/cgroup"), h.Controller); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func choose(mounts []mount) (*Hierarchy, error) {
	for _, m := range slices.Backward(mounts) { // the last mount on a point hides the others
		if m.point != cgroupRoot {
			continue
		}
		if m.kind == "cgroup2" {
			return &Hierarchy{Version: 2, Mount: m.point, Partial: m.root != "/"}, nil
		}
		break
	}
	for _, controller := range controllers {
		for _, m := range slices.Backward(mounts) {
			if m.kind == "cgroup" && slices.Contains(m.options, controller) {
				return &Hierarchy{Version: 1, Mount: m.point, Controller: controller, Partial: m.root != "/"}, nil
			}
		}
	}
	return nil, ErrNoHierarchy
}

// mount is what a line of mountinfo tells of a cgroup file system.
type mount struct {
	root, point, kind string
	options           []string
}

func readMounts(name string) ([]mount, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	defer f.Close()
	mounts, err := parseMounts(f)
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	return mounts, nil
}

// parseMounts keeps the cgroup file systems, and whatever lies on /sys/fs/cgroup.
func parseMounts(r io.Reader) ([]mount, error) {
	var mounts []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // overlay mounts list all their layers
	for lines.Scan() {
		front, back, ok := strings.Cut(lines.Text(), " - ")
		fields, tail := strings.Fields(front), strings.Fields(back)
		if !ok || len(fields) < 5 || len(tail) < 3 {
			continue
		}
		m := mount{root: unescape(fields[3]), point: unescape(fields[4]), kind: tail[0]}
		if m.point != cgroupRoot && m.kind != "cgroup" && m.kind != "cgroup2" {
			continue
		}
		m.options = strings.Split(tail[2], ",")
		mounts = append(mounts, m)
	}
	return mounts, lines.Err()
}

// unescape undoes the kernel's \ooo for blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func readHierarchyID(name, controller string) (int, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, fmt.Errorf("read hierarchy id: %w", err)
	}
	for line := range bytes.Lines(data) {
		id, names, _, ok := splitMembership(string(line))
		if ok && slices.Contains(strings.Split(names, ","), controller) {
			return id, nil
		}
	}
	return 0, fmt.Errorf("read hierarchy id: %s is not in %s", controller, name)
}

// splitMembership takes a line of /proc/<pid>/cgroup apart. The path may hold colons.
func splitMembership(line string) (id int, controllers, path string, ok bool) {
	first, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
	if !ok {
		return 0, "", "", false
	}
	controllers, path, ok = strings.Cut(rest, ":")
	id, err := strconv.Atoi(first)
	return id, controllers, path, ok && err == nil
}

// CgroupOf reads the path of a process's cgroup in this hierarchy.
func (h *Hierarchy) CgroupOf(pid uint32) (string, error) {
	data, err := os.ReadFile(filepath.Join(h.proc, strconv.FormatUint(uint64(pid), 10), "cgroup"))
	if err != nil {
		return "", fmt.Errorf("read cgroup of process: %w", err)
	}
	for line := range bytes.Lines(data) {
		id, names, path, ok := splitMembership(string(line))
		if ok && id == h.ID && (h.Version == 1 || names == "") {
			return path, nil
		}
	}
	return "", fmt.Errorf("read cgroup of process %d: it is in no cgroup of hierarchy %d", pid, h.ID)
}

// Lookup reads the id of an existing cgroup.
func (h *Hierarchy) Lookup(path string) (uint64, error) {
	return cgroupID(filepath.Join(h.Mount, path))
}

// cgroupID reads the id from the inode number: kernfs gives its 64-bit node id
// as the inode number wherever that is 64 bits wide, which it is on amd64 and arm64.
func cgroupID(dir string) (uint64, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return 0, fmt.Errorf("read cgroup id: %w", &fs.PathError{Op: "lstat", Path: dir, Err: err})
	}
	return uint64(st.Ino), nil
}

// Walk calls yield for the cgroups that exist now, parents before children. One
// that vanishes meanwhile is left out. It ends early when yield returns false.
func (h *Hierarchy) Walk(yield func(id uint64, path string) bool) error {
	return h.walk("/", yield)
}

func (h *Hierarchy) walk(from string, yield func(id uint64, path string) bool) error {
	err := filepath.WalkDir(filepath.Join(h.Mount, from), func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV):
			return nil
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		}
		id, err := cgroupID(name)
		if errors.Is(err, fs.ErrNotExist) {
			return fs.SkipDir
		}
		if err != nil {
			return err
		}
		path := strings.TrimPrefix(name, filepath.Clean(h.Mount))
		if path == "" {
			path = "/"
		}
		if !yield(id, path) {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk cgroups: %w", err)
	}
	return nil
}
