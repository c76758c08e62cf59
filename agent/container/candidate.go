package container

import "strings"

// Hint says what the shape of a cgroup's path tells about who made it.
type Hint uint8

const (
	HintNone       Hint = iota
	HintContainerd      // cri-containerd-<id>.scope, <slice>:cri-containerd:<id>
	HintCRIO            // crio-<id>.scope, crio-<id>
	HintDocker          // docker-<id>.scope, /docker/<id>
	HintPodman          // libpod-<id>.scope, libpod-<id>
	HintKubepods        // <id> below kubepods
	HintOther           // another prefix, or <id> elsewhere
	HintPlain           // /<namespace>/<id> with an id of any form: a weak sign
	HintExpected        // no shape: a runtime announced the path
)

func (h Hint) String() string {
	return [...]string{
		"none", "cri-containerd", "crio", "docker", "podman", "kubepods", "other", "plain", "expected", "unknown",
	}[min(h, HintExpected+1)]
}

// Candidate is what a cgroup's path claims. Its text are views into the path.
type Candidate struct {
	Hint Hint
	ID   string
	// Path is the container's own cgroup: a prefix of the path that was parsed.
	Path string
	// Namespace is the runtime's, where the path holds it.
	Namespace string
	// PodUID is as the path spells it: systemd's slices have '_' for '-'.
	PodUID string
}

const (
	idLength = 64 // hex digits of the ids that CRI runtimes, docker and podman make
	// maxPath bounds what the table keeps of a path. Real ones have at most some 300 bytes.
	maxPath = 1024
	// maxPlain is containerd's own bound on identifiers.
	maxPlain = 76
)

// Parse finds the container that a cgroup path claims to belong to: the nearest
// enclosing one, which for a cgroup below a container is that container. It
// takes any bytes and allocates nothing.
func Parse(path string) (Candidate, bool) {
	if len(path) < 2 || path[0] != '/' {
		return Candidate{}, false
	}
	var found Candidate
	var pod, parent, first string
	kubepods := false
	for start, depth := 1, 0; start <= len(path); depth++ {
		end := len(path)
		if i := strings.IndexByte(path[start:], '/'); i >= 0 {
			end = start + i
		}
		name := path[start:end]
		if uid := podUID(name); uid != "" {
			pod = uid
		}
		kubepods = kubepods || strings.HasPrefix(name, "kubepods")
		hint, id := parseName(name, parent, kubepods)
		switch {
		case hint != HintNone:
			found = Candidate{Hint: hint, ID: id, Path: path[:end], PodUID: pod}
			if hint == HintOther && depth == 1 && id == name && isPlainNamespace(first) {
				found.Namespace = first
			}
		case depth == 0:
			first = name
		case depth == 1 && found.Hint == HintNone && isPlainNamespace(first) && isIdentifier(name):
			found = Candidate{Hint: HintPlain, ID: name, Path: path[:end], Namespace: first}
		}
		parent, start = name, end+1
	}
	return found, found.Hint != HintNone
}

// parseName judges one name of a path.
func parseName(name, parent string, kubepods bool) (Hint, string) {
	if len(name) < idLength {
		return HintNone, ""
	}
	stem, scope := strings.CutSuffix(name, ".scope")
	if len(stem) < idLength {
		return HintNone, ""
	}
	id := stem[len(stem)-idLength:]
	if !isHex(id) {
		return HintNone, ""
	}
	rest := stem[:len(stem)-idLength]
	switch {
	case rest == "" && parent == "docker":
		return HintDocker, id
	case rest == "" && parent == "libpod_parent":
		return HintPodman, id
	case rest == "" && kubepods:
		return HintKubepods, id
	case rest == "":
		return HintOther, id
	}
	separator := rest[len(rest)-1]
	prefix := rest[:len(rest)-1]
	if separator == ':' { // <slice>:<prefix>:<id>, where a cgroupfs driver was given systemd's form
		i := strings.LastIndexByte(prefix, ':')
		if i < 0 {
			return HintNone, ""
		}
		prefix = prefix[i+1:]
	} else if separator != '-' {
		return HintNone, ""
	}
	if strings.HasSuffix(prefix, "conmon") { // the container's monitor, on the host's side
		return HintNone, ""
	}
	switch prefix {
	case "cri-containerd":
		return HintContainerd, id
	case "crio":
		return HintCRIO, id
	case "docker":
		return HintDocker, id
	case "libpod", "libpod-payload":
		return HintPodman, id
	}
	if (scope || separator == ':') && prefix != "" {
		return HintOther, id
	}
	return HintNone, ""
}

// podUID takes the pod's uid from pod<uid> or kubepods-<class>-pod<uid>.slice.
func podUID(name string) string {
	if rest, ok := strings.CutPrefix(name, "pod"); ok && isUID(rest) {
		return rest
	}
	if !strings.HasPrefix(name, "kubepods") {
		return ""
	}
	if i := strings.IndexByte(name, ':'); i >= 0 {
		name = name[:i]
	}
	stem, ok := strings.CutSuffix(name, ".slice")
	if i := strings.LastIndex(stem, "-pod"); ok && i >= 0 && isUID(stem[i+len("-pod"):]) {
		return stem[i+len("-pod"):]
	}
	return ""
}

// isUID accepts a pod's uid in both spellings, and the 32 hex digits of a static pod.
func isUID(s string) bool {
	if len(s) < 32 || len(s) > 36 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isHexDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isHex(s string) bool {
	for i := range len(s) {
		if !isHexDigit(s[i]) {
			return false
		}
	}
	return true
}

func isHexDigit(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

// isIdentifier follows containerd: letters and digits, single '.', '_' or '-' between.
func isIdentifier(s string) bool {
	if s == "" || len(s) > maxPlain {
		return false
	}
	between := true
	for i := range len(s) {
		c := s[i]
		alphanumeric := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alphanumeric && (between || c != '.' && c != '_' && c != '-') {
			return false
		}
		between = !alphanumeric
	}
	return !between
}

// isPlainNamespace refuses the first names that others use for their groups.
func isPlainNamespace(s string) bool {
	for _, suffix := range [...]string{".slice", ".scope", ".service"} {
		if strings.HasSuffix(s, suffix) {
			return false
		}
	}
	switch s {
	case "docker", "libpod_parent", "kubepods", "kubelet", "system", "user", "machine":
		return false
	}
	return isIdentifier(s)
}
