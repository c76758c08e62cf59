package event

import (
	"strings"
	"testing"
)

func TestProgram(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"dash", []string{"sh", "-c", "id"}, "dash"},
		{"busybox", []string{"sh", "-c", "id"}, "sh"},
		{"busybox", []string{"-ash"}, "ash"},
		{"busybox", []string{"/bin/wget", "http://x/"}, "wget"},
		{"busybox", []string{"/bin/busybox", "wget", "http://x/"}, "wget"},
		{"busybox.static", []string{"busybox.static", "sh"}, "sh"},
		{"toybox", []string{"toybox", "id"}, "id"},
		{"busybox", []string{"busybox"}, "busybox"},
		{"busybox", []string{"busybox", "busybox", "sh"}, "sh"},
		{"busybox", []string{"/tmp/busybox-x", "-busybox", "/bin/sh"}, "sh"},
		{"busybox-x86_64", []string{"busybox-x86_64", "sh"}, "sh"},
		{"toybox", []string{"toybox", "toybox", "sh"}, "sh"},
		{"busybox", nil, "busybox"},
		{"", nil, ""},
	} {
		if got := (&Process{Name: test.name, Args: test.args}).Program(); got != test.want {
			t.Errorf("%s called as %q is %q, want %q", test.name, test.args, got, test.want)
		}
	}
}

func TestShipped(t *testing.T) {
	for _, test := range []struct {
		name string
		file File
		want bool
	}{
		{"a program of the host", File{Path: "/usr/bin/su"}, true},
		{"a runtime that a distribution brings along", File{Path: "/var/lib/rancher/k3s/data/1f/bin/runc"}, true},
		{"a program of a host's user", File{Path: "/home/kim/bin/su"}, false},
		{"a program in a folder of that name elsewhere", File{Path: "/tmp/usr/bin/su"}, false},
		{"a program of the image, wherever", File{Path: "/srv/app/java", Overlay: true}, true},
		{"a program changed since", File{Path: "/usr/bin/java", Overlay: true, OverlayUpper: true}, false},
		{"a program on a volume", File{Path: "/data/java"}, false},
		{"a program without a file", File{Path: "/usr/bin/java", Memfd: true}, false},
		{"a program whose path may have lost its front", File{Path: "/usr" + strings.Repeat("/d", 40) + "/java"}, false},
		{"a program of a very long path", File{Path: "/usr/" + strings.Repeat("d", 2000)}, false},
		{"nothing", File{}, false},
	} {
		if got := test.file.Shipped(); got != test.want {
			t.Errorf("%s: shipped is %v", test.name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { (&File{Path: "/srv/app/java"}).Shipped() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
