package process

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/seawall-security/seawall/internal/event"
)

var errStat = errors.New("parse stat: not as the kernel writes it")

// stat is what is used of /proc/<tgid>/stat.
type stat struct {
	comm    string
	ended   bool // a zombie, or dead
	parent  uint32
	session uint32
	tty     uint32 // in the user encoding, see kernelDevice
	ticks   uint64 // start_boottime in ticks
	args    uint32 // length of argv; 0: the kernel did not say
}

func (s stat) start() event.Boot { return event.Boot(s.ticks) * tick }

// Indexes of fields behind the name, which may itself hold blanks and brackets.
const (
	statState    = 0
	statParent   = 1
	statSession  = 3
	statTTY      = 4
	statStart    = 19
	statArgStart = 45
	statArgEnd   = 46
)

func parseStat(text []byte) (stat, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return stat{}, errStat
	}
	s := stat{comm: string(text[open+1 : end])}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) <= statStart {
		return stat{}, errStat
	}
	s.ended = fields[statState] == "Z" || fields[statState] == "X"
	var bad error
	parse := func(i, bits int) uint64 {
		n, err := strconv.ParseUint(fields[i], 10, bits)
		bad = errors.Join(bad, err)
		return n
	}
	s.parent = uint32(parse(statParent, 32))
	s.ticks = parse(statStart, 64)
	if bad != nil || s.ticks > uint64(^event.Boot(0)/tick) {
		return stat{}, errStat
	}
	// The kernel prints the terminal as a signed number, and the session of a
	// process that is being taken apart as -1.
	if n, err := strconv.ParseInt(fields[statTTY], 10, 64); err == nil {
		s.tty = uint32(n)
	}
	if n, err := strconv.ParseInt(fields[statSession], 10, 32); err == nil && n > 0 {
		s.session = uint32(n)
	}
	if len(fields) > statArgEnd {
		first, err1 := strconv.ParseUint(fields[statArgStart], 10, 64)
		last, err2 := strconv.ParseUint(fields[statArgEnd], 10, 64)
		if err1 == nil && err2 == nil && first <= last {
			s.args = uint32(min(last-first, 1<<32-1))
		}
	}
	return s, nil
}

// parseStatus reads credentials and the tgid in the innermost pid namespace from
// /proc/<tgid>/status. What is missing stays zero.
func parseStatus(text []byte) (event.Credentials, uint32) {
	var c event.Credentials
	var nsPID uint32
	for line := range bytes.Lines(text) {
		name, value, ok := strings.Cut(string(line), ":")
		if !ok {
			continue
		}
		fields := strings.Fields(value)
		switch {
		case name == "Uid" && len(fields) >= 3:
			c.UID, c.EUID, c.SUID = id(fields[0]), id(fields[1]), id(fields[2])
		case name == "Gid" && len(fields) >= 3:
			c.GID, c.EGID, c.SGID = id(fields[0]), id(fields[1]), id(fields[2])
		case name == "NStgid" && len(fields) >= 1:
			nsPID = id(fields[len(fields)-1])
		case name == "CapPrm" && len(fields) == 1:
			c.CapPermitted, _ = strconv.ParseUint(fields[0], 16, 64)
		case name == "CapEff" && len(fields) == 1:
			c.CapEffective, _ = strconv.ParseUint(fields[0], 16, 64)
		}
	}
	return c, nsPID
}

func id(text string) uint32 {
	n, _ := strconv.ParseUint(text, 10, 32)
	return uint32(n)
}

// exeFile is the executable that /proc/<tgid>/exe points to. Only its path is
// known: to ask for more would mean to follow the link to any file system.
func exeFile(link string) event.File {
	path, deleted := strings.CutSuffix(link, " (deleted)")
	return event.File{
		Path:    path,
		Deleted: deleted,
		Memfd:   deleted && strings.HasPrefix(path, "/memfd:"),
	}
}

// parseInode reads links such as mnt:[4026531841] and socket:[12345].
func parseInode(link, kind string) (uint64, bool) {
	rest, ok := strings.CutPrefix(link, kind+":[")
	if !ok {
		return 0, false
	}
	rest, ok = strings.CutSuffix(rest, "]")
	if !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(rest, 10, 64)
	return inode, err == nil
}

// parseStdio tells by its link what a standard descriptor is; the ends of a
// socket are not in it.
func parseStdio(link string) event.Stdio {
	if inode, ok := parseInode(link, "socket"); ok {
		return event.Stdio{Kind: event.StdioSocket, Inode: inode}
	}
	if inode, ok := parseInode(link, "pipe"); ok {
		return event.Stdio{Kind: event.StdioPipe, Inode: inode}
	}
	switch {
	case strings.HasPrefix(link, "/dev/pts/"), strings.HasPrefix(link, "/dev/tty"), link == "/dev/console":
		return event.Stdio{Kind: event.StdioTTY}
	case strings.HasPrefix(link, "/dev/"):
		return event.Stdio{Kind: event.StdioDevice}
	}
	return event.Stdio{Kind: event.StdioFile}
}
