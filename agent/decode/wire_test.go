package decode

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/event"
)

const headerFile = "../../bpf/event.h"

// wireStructs pairs the structs of bpf/event.h with ours.
func wireStructs() map[string]reflect.Type {
	return map[string]reflect.Type{
		"span":              reflect.TypeFor[wireSpan](),
		"event_header":      reflect.TypeFor[wireHeader](),
		"file_identity":     reflect.TypeFor[wireFile](),
		"namespaces":        reflect.TypeFor[wireNamespaces](),
		"socket_address":    reflect.TypeFor[wireAddress](),
		"stdio":             reflect.TypeFor[wireStdio](),
		"process_exec":      reflect.TypeFor[wireExec](),
		"process_fork":      reflect.TypeFor[wireFork](),
		"process_exit":      reflect.TypeFor[wireExit](),
		"process_namespace": reflect.TypeFor[wireNamespace](),
		"file_open":         reflect.TypeFor[wireOpen](),
		"file_rename":       reflect.TypeFor[wireRename](),
		"file_unlink":       reflect.TypeFor[wireUnlink](),
		"file_chmod":        reflect.TypeFor[wireChmod](),
		"network_flow":      reflect.TypeFor[wireFlow](),
		"memory_change":     reflect.TypeFor[wireMemory](),
		"cgroup_change":     reflect.TypeFor[wireCgroup](),
	}
}

// wireNumbers pairs every constant of bpf/event.h that the decoder interprets with ours.
func wireNumbers() map[string]uint64 {
	return map[string]uint64{
		"EVENT_NONE":              uint64(event.KindNone),
		"EVENT_PROCESS_FORK":      uint64(event.KindProcessFork),
		"EVENT_PROCESS_EXEC":      uint64(event.KindProcessExec),
		"EVENT_PROCESS_EXIT":      uint64(event.KindProcessExit),
		"EVENT_PROCESS_NAMESPACE": uint64(event.KindProcessNamespace),
		"EVENT_PROCESS_SEED":      uint64(event.KindProcessSeed),
		"EVENT_FILE_OPEN":         uint64(event.KindFileOpen),
		"EVENT_FILE_RENAME":       uint64(event.KindFileRename),
		"EVENT_FILE_UNLINK":       uint64(event.KindFileUnlink),
		"EVENT_FILE_CHMOD":        uint64(event.KindFileChmod),
		"EVENT_NETWORK_CONNECT":   uint64(event.KindNetworkConnect),
		"EVENT_NETWORK_ACCEPT":    uint64(event.KindNetworkAccept),
		"EVENT_MEMORY_PROTECT":    uint64(event.KindMemoryProtect),
		"EVENT_MEMORY_MAP":        uint64(event.KindMemoryMap),
		"EVENT_CGROUP_CREATE":     uint64(event.KindCgroupCreate),
		"EVENT_CGROUP_REMOVE":     uint64(event.KindCgroupRemove),
		"EVENT_KIND_MAX":          uint64(event.KindMax),

		"EVENT_USER_MEMORY":    uint64(event.UserMemory),
		"EVENT_COMPAT":         uint64(event.Compat),
		"EVENT_RESULT":         uint64(event.HasResult),
		"EVENT_BY_TREE":        uint64(event.ByTree),
		"EVENT_SELF_TEST":      uint64(event.SelfTest),
		"EVENT_PATH_TRUNCATED": uint64(event.PathTruncated),
		"EVENT_UNFILTERED":     uint64(event.Unfiltered),

		"TREE_ENTERED":    uint64(event.TreeEntered),
		"TREE_WEB":        uint64(event.TreeWeb),
		"TREE_DOWNLOAD":   uint64(event.TreeDownload),
		"TREE_RULE":       uint64(event.TreeRule),
		"TREE_COLLECTOR":  uint64(event.TreeCollector),
		"TREE_WEB_SERVER": uint64(event.TreeWebServer),

		"FILE_OVERLAY_UPPER": wireFileOverlayUpper,
		"FILE_MEMFD":         wireFileMemfd,
		"FILE_DELETED":       wireFileDeleted,
		"FILE_OVERLAY":       wireFileOverlay,

		"STDIO_NONE":   uint64(event.StdioNone),
		"STDIO_FILE":   uint64(event.StdioFile),
		"STDIO_PIPE":   uint64(event.StdioPipe),
		"STDIO_SOCKET": uint64(event.StdioSocket),
		"STDIO_TTY":    uint64(event.StdioTTY),
		"STDIO_DEVICE": uint64(event.StdioDevice),

		"EXEC_ENTERED":         wireExecEntered,
		"EXEC_INIT":            wireExecInit,
		"EXEC_ARGS_TRUNCATED":  wireExecArgsTruncated,
		"EXEC_ARGS_UNREADABLE": wireExecArgsUnreadable,
		"EXEC_SECURE":          wireExecSecure,

		"OPEN_WRITE":    wireOpenWrite,
		"OPEN_READ":     wireOpenRead,
		"OPEN_CREATED":  wireOpenCreated,
		"OPEN_TRUNCATE": wireOpenTruncate,
		"OPEN_FAILED":   wireOpenFailed,

		"MEMORY_UNKNOWN":        uint64(event.RegionUnknown),
		"MEMORY_ANONYMOUS":      uint64(event.RegionAnonymous),
		"MEMORY_FILE":           uint64(event.RegionFile),
		"MEMORY_MEMFD":          uint64(event.RegionMemfd),
		"MEMORY_STACK":          uint64(event.RegionStack),
		"MEMORY_HEAP":           uint64(event.RegionHeap),
		"MEMORY_BEFORE_UNKNOWN": wireMemoryBeforeUnknown,
	}
}

// cField is one field of a struct, ours or the header's, by its plain name.
type cField struct {
	Name         string
	Offset, Size uint64
}

// plain makes NSTGID and ns_tgid the same.
func plain(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

func goFields(t reflect.Type) []cField {
	var fields []cField
	for f := range t.Fields() {
		fields = append(fields, cField{plain(f.Name), uint64(f.Offset), uint64(f.Type.Size())})
	}
	return fields
}

// cHeader is what a C header in our manner says: fixed-width integers, structs
// and arrays of them in natural alignment, enums, number macros.
type cHeader struct {
	structs map[string][]cField
	sizes   map[string]uint64
	aligns  map[string]uint64
	numbers map[string]uint64
}

func parseHeader(text string) (*cHeader, error) {
	text = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(text, "")
	h := &cHeader{
		structs: map[string][]cField{},
		sizes:   map[string]uint64{"__u8": 1, "char": 1, "__u16": 2, "__u32": 4, "__u64": 8, "__s64": 8},
		numbers: map[string]uint64{},
	}
	h.aligns = map[string]uint64{}
	for name, size := range h.sizes {
		h.aligns[name] = size
	}
	field := regexp.MustCompile(`^(?:struct )?(\w+)\s+(\w+)(?:\[(\d+)\])?$`)
	for _, m := range regexp.MustCompile(`(?s)\bstruct (\w+) \{(.*?)\n\};`).FindAllStringSubmatch(text, -1) {
		var offset, align uint64
		for declaration := range strings.SplitSeq(m[2], ";") {
			if declaration = strings.TrimSpace(declaration); declaration == "" {
				continue
			}
			f := field.FindStringSubmatch(declaration)
			if f == nil || h.sizes[f[1]] == 0 {
				return nil, fmt.Errorf("struct %s: cannot read %q", m[1], declaration)
			}
			size, of := h.sizes[f[1]], h.aligns[f[1]]
			if f[3] != "" {
				n, err := strconv.ParseUint(f[3], 10, 32)
				if err != nil {
					return nil, err
				}
				size *= n
			}
			if offset%of != 0 {
				return nil, fmt.Errorf("struct %s: a hole before %s", m[1], f[2])
			}
			h.structs[m[1]] = append(h.structs[m[1]], cField{plain(f[2]), offset, size})
			offset, align = offset+size, max(align, of)
		}
		if offset%align != 0 {
			return nil, fmt.Errorf("struct %s: a hole at its end", m[1])
		}
		h.sizes[m[1]], h.aligns[m[1]] = offset, align
	}
	number := regexp.MustCompile(`(?m)^\s*(?:#define )?([A-Z][A-Z0-9_]+)\s*(?:=|\s)\s*(0x[0-9a-f]+|\d+)u?(?: << (\d+))?,?\s*$`)
	for _, m := range number.FindAllStringSubmatch(text, -1) {
		value, err := strconv.ParseUint(m[2], 0, 64)
		if err != nil {
			return nil, err
		}
		shift, _ := strconv.Atoi("0" + m[3])
		h.numbers[m[1]] = value << shift
	}
	return h, nil
}

func TestWireMatchesHeader(t *testing.T) {
	text, err := os.ReadFile(headerFile)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHeader(string(text))
	if err != nil {
		t.Fatalf("%s: %v", headerFile, err)
	}

	ours := wireStructs()
	for name, want := range h.structs {
		of, ok := ours[name]
		if !ok {
			t.Errorf("struct %s has no Go struct", name)
			continue
		}
		if diff := cmp.Diff(want, goFields(of)); diff != "" || uint64(of.Size()) != h.sizes[name] {
			t.Errorf("struct %s, %d bytes; %s, %d bytes: -C +Go:\n%s", name, h.sizes[name], of.Name(), of.Size(), diff)
		}
	}
	if len(h.structs) != len(ours) {
		t.Errorf("%d structs in the header, %d in Go", len(h.structs), len(ours))
	}

	// Bounds are the kernel side's own; readers take any size.
	for _, bound := range []string{"PATH_BYTES", "PATH_DEPTH", "ARGS_BYTES"} {
		if h.numbers[bound] == 0 {
			t.Errorf("%s is missing", bound)
		}
		delete(h.numbers, bound)
	}
	if diff := cmp.Diff(h.numbers, wireNumbers()); diff != "" {
		t.Errorf("numbers: -C +Go:\n%s", diff)
	}
}

// TestWireMatchesLayoutObject compares with what the compiler made of the header,
// for every target.
func TestWireMatchesLayoutObject(t *testing.T) {
	objects, err := filepath.Glob("../../bpf/layout*.o")
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) == 0 {
		t.Fatal("no layout object in bpf")
	}
	for _, object := range objects {
		t.Run(filepath.Base(object), func(t *testing.T) {
			spec, err := btf.LoadSpec(object)
			if err != nil {
				t.Fatal(err)
			}
			for name, ours := range wireStructs() {
				var s *btf.Struct
				if err := spec.TypeByName(name, &s); err != nil {
					t.Errorf("struct %s: %v", name, err)
					continue
				}
				if diff := cmp.Diff(btfFields(t, s), goFields(ours)); diff != "" || uint64(s.Size) != uint64(ours.Size()) {
					t.Errorf("struct %s, %d bytes; %s, %d bytes: -C +Go:\n%s", name, s.Size, ours.Name(), ours.Size(), diff)
				}
			}
		})
	}
}

func btfFields(t *testing.T, s *btf.Struct) []cField {
	var fields []cField
	for _, m := range s.Members {
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatalf("struct %s: %s: %v", s.Name, m.Name, err)
		}
		fields = append(fields, cField{plain(m.Name), uint64(m.Offset.Bytes()), uint64(size)})
	}
	return fields
}
