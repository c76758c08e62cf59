package main

import (
	"fmt"
	"io"
	"slices"
)

// action is one harmless act.
type action struct {
	name     string
	usage    string
	does     string
	harmless string // why
	silent   bool   // prints nothing when all went well
	run      func(a *actor, r *report, args []string) error
}

// actions lists all of them. It is a function because sequence looks into it.
func actions() []action {
	return []action{
		{"noop", "noop [-say LINE] [ANYTHING...]", "ends at once, after printing LINE",
			"does nothing", true, noop},
		{"exec", "exec [-n N] [-child self|tiny]", "runs N children one after the other",
			"the children are this program's noop, or 12 bytes of code that call exit", false, execChildren},
		{"burst-args", "burst-args [BYTES]", "runs one child whose argv has BYTES bytes, NULs counted (1 MiB)",
			"the child is noop and ignores its arguments", false, burstArgs},
		{"storm", "storm [-opens N] [-execs N] [-child self|tiny]", "opens one file N times, for reading and for writing by turns, then runs N children",
			"the file is its own, nothing is written, children end at once and never run side by side", false, storm},
		{"crowd", "crowd [-threads N] [-opens N]", "has N threads on one processor, each of which opens its own file again and again",
			"the files are its own, nothing is read or written", false, crowd},
		{"memfd-exec", "memfd-exec", "becomes a copy of itself held in a memfd",
			"the copy is this program's noop", false, memfdExec},
		{"deleted-exec", "deleted-exec", "becomes a copy of itself whose file has no name any more",
			"the copy is this program's noop", false, deletedExec},
		{"reverse-shell", "reverse-shell HOST:PORT [PROGRAM [ARGS...]]", "connects, then becomes PROGRAM (noop) with the socket as stdin, stdout and stderr",
			"only loopback and private addresses: nobody outside can be at the other end", false, reverseShell},

		{"create", "create [-name NAME] [-text TEXT] [-mode OCTAL] [-keep]", "makes a file and writes TEXT",
			"only a name that did not exist; removed again without -keep", false, create},
		{"open-write", "open-write [FILE]", "opens a regular file (one of its own) for writing",
			"writes nothing and does not truncate", false, openWrite},
		{"read", "read FILE", "opens a file for reading and reads at most 4096 bytes",
			"what was read is thrown away, only its length is told", false, read},
		{"rename", "rename [-name NAME] [-to NAME] [-keep]", "makes a file and renames it",
			"both names did not exist", false, rename},
		{"deep-rename", "deep-rename [-cwd BYTES] [-text BYTES]", "renames a file by relative names of so many bytes, from a folder whose path has so many",
			"all folders are its own and are removed", false, deepRename},
		{"unlink", "unlink [-name NAME]", "makes a file and removes it",
			"the name did not exist", false, unlink},
		{"chmod", "chmod [-name NAME] [-mode OCTAL] [-keep]", "makes a file and sets its mode (0755)",
			"the name did not exist; no set-user-id bits", false, chmod},
		{"knob", "knob FILE", "opens a kernel knob for writing and closes it",
			"writes nothing; only files of procfs, sysfs, cgroup and binfmt_misc, where opening changes nothing", false, knob},
		{"bad-path", "bad-path", "makes, opens and removes files whose names have a newline, invalid UTF-8, a backslash",
			"names of its own that did not exist", false, badPath},
		{"compat-open", "compat-open [-write] FILE", "opens a regular file through the 32-bit system call entry (x86-64)",
			"reads and writes nothing", false, compatOpen},
		{"wide-open", "wide-open [-write] FILE", "opens a regular file by a system call number whose upper half is not empty (x86-64)",
			"reads and writes nothing", false, wideOpen},
		{"io_uring-open", "io_uring-open [-write] FILE", "opens a regular file through io_uring, without an open system call",
			"reads and writes nothing", false, uringOpen},

		{"connect", "connect HOST:PORT", "connects by TCP and closes; HOST is an address",
			"sends nothing, gives up after 5 s", false, connect},
		{"connect-unix", "connect-unix PATH", "connects to a unix stream socket and closes; @NAME is abstract",
			"sends nothing", false, connectUnix},
		{"accept", "accept [-4] [-6] [-port PORT]", "listens on loopback, connects to itself and accepts, over IPv4 and IPv6",
			"reachable from this host only, and for the moment of the test", false, accept},

		{"mprotect", "mprotect [-behind] [-busy N] [-again]", "makes an anonymous page executable after writing a return instruction to it: " +
			"together with an executable one before it, while N threads map and unmap, and once more after an exec",
			"the page is never run, and holds nothing but a return", false, mprotect},
		{"read-implies-exec", "read-implies-exec", "makes an anonymous page executable by asking for read, under the personality of that name",
			"the page is never run, and holds nothing but a return", false, readImpliesExec},
		{"mmap-wx", "mmap-wx", "maps an anonymous page that is writable and executable",
			"the page stays empty and is unmapped", false, mmapWX},
		{"mmap-memfd-exec", "mmap-memfd-exec", "maps a page of a memfd executable",
			"the page is never run, and holds nothing but a return", false, mmapMemfdExec},

		{"setns", "setns FILE...", "joins the namespaces behind files such as /proc/1/ns/net and ends",
			"does nothing in there", false, setns},

		{"sequence", "sequence [-keep-going] FILE", `runs actions from a JSON file ("-": stdin): [["exec","-n","3"],["mprotect"]], each a child of its own`,
			"only the actions above", false, sequence},
	}
}

func findAction(name string) (action, bool) {
	all := actions()
	i := slices.IndexFunc(all, func(a action) bool { return a.name == name })
	if i < 0 {
		return action{}, false
	}
	return all[i], true
}

func help(out io.Writer) {
	fmt.Fprintln(out, "usage: attack [-dir DIR] ACTION [FLAGS] [ARGS]")
	for _, a := range actions() {
		fmt.Fprintf(out, "\n  %s\n      %s\n      harmless: %s\n", a.usage, a.does, a.harmless)
	}
}
