package event

import "strings"

// Program is what runs: the last name of the executable, or where that is a file
// of many programs (busybox, toybox) the one it was called as, which is how such a
// file decides it too. It allocates nothing.
func (p *Process) Program() string {
	if !ManyPrograms(p.Name) || len(p.Args) == 0 {
		return p.Name
	}
	var called string
	for _, arg := range p.Args {
		called = strings.TrimPrefix(BaseName(arg), "-") // a login shell
		if !ManyPrograms(called) {
			break
		}
	}
	return called
}

// ManyPrograms reports whether a file of that name holds many programs and goes by
// how it is called. Called by such a name, it goes by its first argument, which may
// be such a name again: only the beginning counts for busybox and toybox.
func ManyPrograms(name string) bool {
	return strings.HasPrefix(name, "busybox") || strings.HasPrefix(name, "toybox")
}

// systemFolders hold the programs and libraries of a host, or of an image that is
// not on an overlay; only root writes there. The last ones are those of
// distributions that bring a runtime along.
var systemFolders = [...]string{
	"/usr/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/", "/opt/",
	"/nix/store/", "/gnu/store/", "/run/wrappers/", "/snap/", "/var/lib/snapd/snap/", "/var/lib/rancher/",
}

// Bounds of a path that Shipped believes: far above what systems have, far below
// where the kernel's walk begins to leave the front of a path out.
const (
	maxShippedBytes = 1024
	maxShippedDepth = 20
)

// Shipped reports whether the file came with the image or the host, as far as a
// file can tell: it is on a lower layer of an overlay, or it is on no overlay and
// in a folder of the system's. Memfds never are. It allocates nothing.
func (f *File) Shipped() bool {
	if f.Memfd || f.OverlayUpper || f.Overlay {
		return f.Overlay && !f.OverlayUpper && !f.Memfd
	}
	if len(f.Path) > maxShippedBytes || strings.Count(f.Path, "/") > maxShippedDepth {
		return false
	}
	for _, folder := range systemFolders {
		if strings.HasPrefix(f.Path, folder) {
			return true
		}
	}
	return false
}
