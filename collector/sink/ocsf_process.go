package sink

import (
	"strconv"
	"strings"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// maxLineage is what agents embed of ancestors; it also ends a circle.
const maxLineage = 16

// File types of st_mode, and what OCSF calls them.
var ocsfFileTypes = map[uint32]struct {
	id   int
	name string
}{
	0o100000: {1, "Regular File"},
	0o040000: {2, "Folder"},
	0o020000: {3, "Character Device"},
	0o060000: {4, "Block Device"},
	0o140000: {5, "Local Socket"},
	0o010000: {6, "Named Pipe"},
	0o120000: {7, "Symbolic Link"},
}

const modeType = 0o170000

// ocsfProcesses maps the processes of one alert. Of each process the facts stand once,
// with the first evidence that names it, and its key with the others: 64 facts of one
// process would be 64 times its arguments.
type ocsfProcesses struct {
	byID map[string]*sensorv1.Process
	told map[string]bool
}

func newOCSFProcesses(processes []*sensorv1.Process) *ocsfProcesses {
	p := &ocsfProcesses{byID: make(map[string]*sensorv1.Process, len(processes)), told: map[string]bool{}}
	for _, m := range processes {
		p.byID[m.GetId()] = m
	}
	return p
}

// of is nil where no process is known by the id.
func (p *ocsfProcesses) of(id string) *ocsfProcess {
	m := p.byID[id]
	if id == "" {
		return nil
	}
	if m == nil {
		return &ocsfProcess{UID: id}
	}
	out := ocsfProcessKey(m)
	if p.told[id] {
		return out
	}
	p.told[id] = true
	out.NamespacePID = integer(uint64(m.GetNsPid()))
	out.CmdLine = commandLine(m.GetArgs())
	out.WorkingDirectory = m.GetCwd()
	out.File = ocsfFileOf(m.GetExe())
	if c := m.GetCredentials(); c != nil {
		out.User = &ocsfEntity{UID: strconv.FormatUint(uint64(c.GetEuid()), 10)}
	}
	if parent := p.byID[m.GetParentId()]; parent != nil && m.GetParentId() != "" {
		out.ParentProcess = ocsfProcessKey(parent)
		out.ParentProcess.CmdLine = commandLine(parent.GetArgs())
	} else if m.GetParentId() != "" {
		out.ParentProcess = &ocsfProcess{UID: m.GetParentId()}
	}
	for a := p.byID[m.GetParentId()]; a != nil && len(out.Lineage) < maxLineage; a = p.byID[a.GetParentId()] {
		out.Lineage = append(out.Lineage, or(a.GetExe().GetPath(), a.GetName()))
	}
	return out
}

func ocsfProcessKey(m *sensorv1.Process) *ocsfProcess {
	return &ocsfProcess{
		UID: m.GetId(), PID: integer(uint64(m.GetPid())), Name: or(m.GetName(), m.GetComm()),
		Path: m.GetExe().GetPath(), CreatedTime: milliseconds(m.GetStartTime()),
	}
}

func ocsfFileOf(m *sensorv1.File) *ocsfFile {
	name := m.GetName()
	if name == "" {
		name = m.GetPath()[strings.LastIndexByte(m.GetPath(), '/')+1:]
	}
	if name == "" {
		return nil // required
	}
	f := &ocsfFile{Name: name, Path: m.GetPath(), Type: "Unknown"}
	if t, known := ocsfFileTypes[m.GetMode()&modeType]; known {
		f.TypeID, f.Type = t.id, t.name
	}
	if size := m.GetSizeBytes(); size <= 1<<62 {
		f.Size = int64(size)
	}
	return f
}

// commandLine quotes as a shell would need it, so that the words can be told apart.
func commandLine(args []string) string {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if arg != "" && strings.IndexFunc(arg, special) < 0 {
			b.WriteString(arg)
		} else {
			b.WriteString("'" + strings.ReplaceAll(arg, "'", `'\''`) + "'")
		}
	}
	return b.String()
}

func special(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_./=:,@%+", c) && c < 0x80
}
