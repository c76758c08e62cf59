package smoke

import (
	"fmt"
	"slices"
	"strings"
)

// step is an act and the events it makes, in the notation of describe. Of every act the
// first event is the exec of its program and the last one its exit; the lists hold what
// lies between. In them {pid}, {stdout} and the addresses of the actor's report stand for
// what they were ({local0}, {remote0} ...).
type step struct {
	act
	exe    string // the file that is executed, if not Argv[0] itself
	status int    // exit status of the act
	want   []sight
	// detects are the rules that hit, by name; on limits them as sight.where does.
	detects []string
	on      view
	result  int64 // of connections, where the rung knows it
	// tree of the first and the last event.
	tree, lastTree string
}

// sight is an event to be seen.
type sight struct {
	line string
	// quiet: the built-in rules do not ask for it, so that only --no-filter shows it.
	quiet bool
	// where limits it to the rungs that can see it; empty: all.
	where view
}

// view is what divides the rungs in what they can see at all.
type view string

const (
	upperOnly   view = "upper"   // lsm, fentry: also what no system call of the actor's asked for
	syscallOnly view = "syscall" // also what the kernel refused before its hook
)

func quiet(line string) sight  { return sight{line: line, quiet: true} }
func always(line string) sight { return sight{line: line} }

func (s sight) on(v view) sight {
	s.where = v
	return s
}

// attackIn is the actor's command line, under one of its names, in a folder.
func attackIn(program, dir string, args ...string) []string {
	return append([]string{program, "-dir", dir}, args...)
}

func attack(args ...string) []string { return attackIn(guestAttack, guestWork, args...) }

// created and removed are what most file actions begin and end with.
func created(name string) sight {
	return quiet("file_open " + guestWork + "/" + name + " tmpfs 0600, 0 bytes; flags wronly creat excl; write created")
}

func removed(name string) sight { return quiet("file_unlink " + guestWork + "/" + name) }

// steps are the acts of every phase.
func steps() []step {
	return slices.Concat(processSteps(), fileSteps(), networkSteps(), memorySteps(), intrusionSteps())
}

func processSteps() []step {
	tiny := guestWork + "/attack-{pid}-0"
	kept := 8192 - len(guestAttack+" noop -- ") // of the words' bytes
	return []step{
		{act: act{Name: "exec", Argv: attack("exec", "-child", "tiny")}, want: []sight{
			quiet("file_open " + tiny + " tmpfs 0700, 0 bytes; flags wronly creat excl; write created"),
			always("process_fork attack"),
			always("child process_exec " + tiny + " [" + tiny + "] stdio device,pipe,pipe"),
			always("child process_exit code 0"),
			quiet("file_unlink " + tiny),
		}},
		{act: act{Name: "burst-args", Argv: attack("burst-args", "70000")}, want: []sight{
			always("process_fork attack"),
			always("child process_exec " + guestAttack + " [" + guestAttack + " noop -- " + strings.Repeat("a", kept) +
				"] of 70000 bytes stdio device,pipe,pipe"),
			always("child process_exit code 0"),
		}},
		{act: act{Name: "killed", Argv: []string{"/lab/bin/sh", "-c", "kill -9 $$"}}, exe: guestBusybox, status: 128 + 9},
		{act: act{Name: "namespaces", Argv: append([]string{"/lab/bin/unshare", "-u"}, attack("setns", "/proc/1/ns/uts")...)}, exe: guestBusybox, want: []sight{
			always("process_namespace changed uts"),
			always("process_exec " + guestAttack + " [" + strings.Join(attack("setns", "/proc/1/ns/uts"), " ") + "] stdio device,pipe,pipe"),
			quiet("file_open / nsfs 0444, 0 bytes; flags rdonly; read"), // of such a file the kernel has no other path
			always("process_namespace changed uts joined_host uts"),
		}},
		{act: act{Name: "cgroup create", Argv: []string{"/lab/bin/mkdir", "/sys/fs/cgroup/smoke"}}, exe: guestBusybox,
			want: []sight{always("cgroup_create /smoke")}},
		{act: act{Name: "cgroup remove", Argv: []string{"/lab/bin/rmdir", "/sys/fs/cgroup/smoke"}}, exe: guestBusybox,
			want: []sight{always("cgroup_remove /smoke")}},
	}
}

func fileSteps() []step {
	shadow := fmt.Sprintf("file_open %s tmpfs 0640, %d bytes; flags rdonly; read", guestShadow, len(shadowText))
	list := []step{
		{act: act{Name: "create", Argv: attack("create", "-name", "made", "-text", "text")}, want: []sight{
			created("made"), removed("made"),
		}},
		{act: act{Name: "open-write", Argv: attack("open-write", guestPlain)}, want: []sight{
			quiet("file_open " + guestPlain + " tmpfs 0644, 5 bytes; flags wronly; write"),
		}},
		{act: act{Name: "knob", Argv: attack("knob", "/proc/sys/kernel/core_pattern")}, want: []sight{
			always("file_open /proc/sys/kernel/core_pattern proc 0644, 0 bytes; flags wronly; write"),
		}},
		{act: act{Name: "read watched", Argv: attack("read", guestShadow)}, want: []sight{always(shadow)},
			detects: []string{"sensitive-file-read"}},
		{act: act{Name: "read", Argv: attack("read", guestPlain)}, want: []sight{
			quiet("file_open " + guestPlain + " tmpfs 0644, 5 bytes; flags rdonly; read"),
		}},
		{act: act{Name: "open nothing", Argv: attack("read", guestWork+"/absent")}, status: 1},
		{act: act{Name: "open refused", Argv: attack("open-write", guestPlain), User: 65534}, status: 1, want: []sight{
			quiet("file_open " + guestPlain + " failed; flags wronly; write").on(syscallOnly),
		}},
		{act: act{Name: "rename", Argv: attack("rename", "-name", "old", "-to", "new")}, want: []sight{
			created("old"), quiet("file_rename " + guestWork + "/old to " + guestWork + "/new"), removed("new"),
		}},
		{act: act{Name: "unlink", Argv: attack("unlink", "-name", "gone")}, want: []sight{created("gone"), removed("gone")}},
		{act: act{Name: "chmod", Argv: attack("chmod", "-name", "mode", "-mode", "0750")}, want: []sight{
			created("mode"), quiet("file_chmod " + guestWork + "/mode 0750 executable"), removed("mode"),
		}},
		{act: act{Name: "compat-open", Argv: attack("compat-open", guestShadow)}, want: []sight{always(shadow + "; compat")},
			detects: []string{"sensitive-file-read"}},
		{act: act{Name: "io_uring-open", Argv: attack("io_uring-open", guestShadow)}, want: []sight{always(shadow).on(upperOnly)},
			detects: []string{"sensitive-file-read"}, on: upperOnly},
	}
	bad := step{act: act{Name: "bad-path", Argv: attack("bad-path")}}
	for _, name := range []string{"new\nline", "invalid-\xff\xfe-utf8", `back\slash`, "escape-\x1b[31m"} {
		name = "attack-{pid}-" + name
		bad.want = append(bad.want, created(name),
			quiet("file_open "+guestWork+"/"+name+" tmpfs 0600, 0 bytes; flags rdonly; read"), removed(name))
	}
	return append(list, bad)
}

func networkSteps() []step {
	return []step{
		{act: act{Name: "accept", Argv: attack("accept", "-port", "7001")}, want: []sight{
			quiet("network_connect stream 6 to 127.0.0.1:7001 loopback"),
			quiet("network_accept stream 6 at {local1} loopback from {remote1} loopback"),
			quiet("network_connect stream 6 to [::1]:7001 loopback"),
			quiet("network_accept stream 6 at {local3} loopback from {remote3} loopback"),
		}},
		{act: act{Name: "connect", Argv: attack("connect", peer)}, want: []sight{quiet("network_connect stream 6 to " + peer)}},
		{act: act{Name: "connect refused", Argv: attack("connect", "[::1]:9")}, status: 1, result: -111, want: []sight{
			quiet("network_connect stream 6 to [::1]:9 loopback"),
		}},
		{act: act{Name: "connect-unix", Argv: attack("connect-unix", unixSocket)}, want: []sight{
			quiet("network_connect stream 0 to unix " + unixSocket),
		}},
		{act: act{Name: "connect-unix abstract", Argv: attack("connect-unix", abstractSocket)}, want: []sight{
			quiet("network_connect stream 0 to unix " + abstractSocket),
		}},
		{act: act{Name: "connect-unix runtime", Argv: attack("connect-unix", "/run/absent/docker.sock")}, status: 1, result: -2, want: []sight{
			always("network_connect stream 0 to unix /run/absent/docker.sock"),
		}},
	}
}

func memorySteps() []step {
	own := quiet(fmt.Sprintf("file_open %s tmpfs 0755, {attack} bytes; flags rdonly; read", guestAttack))
	deleted := guestWork + "/attack-{pid}-0"
	return []step{
		{act: act{Name: "mprotect", Argv: attack("mprotect")}, detects: []string{"mem-wx-transition"}, want: []sight{
			always("memory_protect anonymous rw- to r-x write_to_execute"),
		}},
		{act: act{Name: "mmap-wx", Argv: attack("mmap-wx")}, detects: []string{"mem-rwx-mapping"}, want: []sight{
			always("memory_map anonymous --- to rwx write_and_execute; private anonymous"),
		}},
		{act: act{Name: "mmap-memfd-exec", Argv: attack("mmap-memfd-exec")}, want: []sight{
			quiet("memory_map memfd --- to r-x of memfd:attack memfd deleted; private"),
		}},
		{act: act{Name: "memfd-exec", Argv: attack("memfd-exec")}, detects: []string{"exec-fileless-memfd"}, want: []sight{
			own,
			always("process_exec memfd:attack memfd deleted [attack noop -say {stdout}] stdio device,pipe,pipe"),
		}},
		{act: act{Name: "deleted-exec", Argv: attack("deleted-exec")}, detects: []string{"exec-deleted-binary"}, want: []sight{
			own,
			quiet("file_open " + deleted + " tmpfs 0700, 0 bytes; flags wronly creat excl; write created"),
			quiet("file_open " + deleted + " tmpfs 0700, {attack} bytes; flags rdonly; read"),
			quiet("file_unlink " + deleted),
			always("process_exec " + deleted + " deleted [attack noop -say {stdout}] stdio device,pipe,pipe"),
		}},
	}
}

// intrusionSteps are what the tree of interest and the rules of web servers, download
// tools and reverse shells are for, on the host.
func intrusionSteps() []step {
	payload := guestWork + "/attack-{pid}-0"
	sockets := fmt.Sprintf("stdio socket to %[1]s,socket to %[1]s,socket to %[1]s", peer)
	return []step{
		{act: act{Name: "reverse-shell", Argv: attack("reverse-shell", peer, guestBusybox, "sh", "-c", "exit")},
			detects: []string{"reverse-shell-stdio-socket"}, want: []sight{
				quiet("network_connect stream 6 to " + peer),
				always("process_exec " + guestBusybox + " [" + guestBusybox + " sh -c exit] " + sockets),
			}},
		{act: act{Name: "download", Argv: attackIn(guestWget, guestWork, "exec", "-child", "tiny")},
			tree: "download", lastTree: "download", detects: []string{"download-then-execute"}, want: []sight{
				always("file_open " + payload + " tmpfs 0700, 0 bytes; flags wronly creat excl; write created; tree download"),
				always("process_fork wget; tree download"),
				always("child process_exec " + payload + " [" + payload + "] stdio device,pipe,pipe; tree download"),
				always("child process_exit code 0; tree download"),
				always("file_unlink " + payload + "; tree download"),
			}},
		{act: act{Name: "web script", Argv: attackIn(guestNginx, guestWeb, "create", "-name", "page.php", "-keep")},
			tree: "web-server", lastTree: "web-server", detects: []string{"webshell-file-created-by-server"}, want: []sight{
				always("file_open " + guestWeb + "/page.php tmpfs 0600, 0 bytes; flags wronly creat excl; write created; tree web-server"),
			}},
		{act: act{Name: "web shell", Argv: attackIn(guestNginx, guestWeb, "reverse-shell", peer, "/lab/bin/sh", "-c", "exit")},
			tree: "web-server", lastTree: "web", detects: []string{"reverse-shell-stdio-socket", "web-server-spawned-shell"}, want: []sight{
				quiet("network_connect stream 6 to " + peer + "; tree web-server"),
				always("process_exec " + guestBusybox + " [/lab/bin/sh -c exit] " + sockets + "; tree web"),
			}},
	}
}
