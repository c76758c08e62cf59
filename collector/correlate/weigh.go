package correlate

import (
	"slices"
	"strings"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Roles of evidence, as alert.proto lists them.
const (
	roleEntry   = "entry"
	roleScript  = "script"
	roleShell   = "shell"
	roleRead    = "read"
	roleConnect = "connect"
	roleExecute = "execute"
	roleMemory  = "memory"
	roleEscape  = "escape"
	roleRequest = "request"
	roleOther   = "other"
)

// weight is what a fact decides in the tree of a web server.
type weight int

const (
	// supporting: of a raised alert it is a part. Else it is told by itself, and taken
	// over when something decides within the context window.
	supporting weight = iota
	// decisiveBelow: decides if a program that the server started did it. Servers read
	// files, start programs and map memory themselves for many reasons.
	decisiveBelow
	// decisive: decides, whoever did it.
	decisive
)

// meaning is what a detection means within the tree of a web server.
type meaning struct {
	role   string
	weight weight
	// severity is what the alert has at least with this fact. A script alone may be a
	// clumsy deployment; a shell below a server is somebody at work.
	severity sensorv1.Severity
}

const (
	low      = sensorv1.Severity_SEVERITY_LOW
	medium   = sensorv1.Severity_SEVERITY_MEDIUM
	high     = sensorv1.Severity_SEVERITY_HIGH
	critical = sensorv1.Severity_SEVERITY_CRITICAL
)

// meanings is the table of facts. A rule that is not here has the role other and its
// own severity; it decides if it is tagged web.
var meanings = map[string]meaning{
	"webshell-file-created-by-server": {roleScript, decisive, medium},
	"web-server-spawned-shell":        {roleShell, decisive, high},
	"shell-interactive-in-container":  {roleShell, decisiveBelow, high},
	"reverse-shell-stdio-socket":      {roleShell, decisive, critical},
	"sensitive-file-read":             {roleRead, decisiveBelow, high},
	"serviceaccount-token-read":       {roleRead, decisiveBelow, critical},
	"download-then-execute":           {roleExecute, decisiveBelow, critical},
	"drift-new-binary-executed":       {roleExecute, decisiveBelow, high},
	"exec-deleted-binary":             {roleExecute, decisiveBelow, critical},
	"exec-fileless-memfd":             {roleMemory, decisiveBelow, critical},
	"mem-wx-transition":               {roleMemory, supporting, medium},
	"mem-rwx-mapping":                 {roleMemory, supporting, medium},
}

// together lists roles that mean more together than each alone.
var together = []struct {
	roles    []string
	severity sensorv1.Severity
}{
	{[]string{roleScript, roleShell}, critical}, // the script is a web shell, and in use
	{[]string{roleScript, roleExecute}, critical},
}

func meaningOf(d *sensorv1.Detection) meaning {
	if known, ok := meanings[d.Rule]; ok {
		return known
	}
	if isEscape(d) {
		return meaning{roleEscape, decisiveBelow, critical}
	}
	if slices.Contains(d.Tags, "web") {
		return meaning{roleOther, decisive, d.Severity}
	}
	return meaning{roleOther, supporting, d.Severity}
}

func isEscape(d *sensorv1.Detection) bool { return strings.HasPrefix(d.Rule, "escape-") }

// roleOf is what an event that no rule speaks of can be in an alert; "": nothing.
// Of the server itself only its door counts: what it took in and whom it called just
// before something decisive.
func roleOf(e *sensorv1.Event) (role string, door bool) {
	server := slices.Contains(e.Tree, "web-server")
	switch p := e.Payload.(type) {
	case *sensorv1.Event_Accept:
		if p.Accept.GetRemote().GetIp() != "" {
			return roleEntry, true
		}
	case *sensorv1.Event_Connect:
		if p.Connect.GetRemote().GetIp() != "" && p.Connect.GetRemote().GetPort() != 0 {
			return roleConnect, server
		}
	case *sensorv1.Event_Exec:
		if !server {
			return roleExecute, false
		}
	case *sensorv1.Event_Open:
		if !server && p.Open.GetRead() && !p.Open.GetWrite() && !isFurniture(p.Open.GetFile()) {
			return roleRead, false
		}
	}
	return "", false
}

// furniture are places of which every program reads as it starts: libraries, locales,
// what the loader and the C library look up. Reading there tells nothing.
var furniture = []string{
	"/usr/lib/", "/usr/lib32/", "/usr/lib64/", "/usr/libx32/", "/usr/local/lib/", "/usr/share/", "/lib/", "/lib32/", "/lib64/",
	"/etc/ld.so.", "/etc/ld-musl-", "/etc/locale.alias", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf",
	"/proc/self/", "/proc/filesystems", "/proc/sys/kernel/ngroups_max", "/proc/sys/kernel/cap_last_cap", "/proc/sys/vm/overcommit_memory",
	"/sys/devices/system/cpu/", "/sys/kernel/mm/transparent_hugepage/", "/dev/null", "/dev/urandom", "/dev/tty",
}

// isFurniture reports whether a read of the file tells nothing. What was put on a
// container's writable layer since it started is read for a reason, wherever it lies.
func isFurniture(f *sensorv1.File) bool {
	return !f.GetOverlayUpper() && slices.ContainsFunc(furniture, func(place string) bool { return strings.HasPrefix(f.GetPath(), place) })
}
