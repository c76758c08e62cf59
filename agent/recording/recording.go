// Package recording reads and writes recordings: what an agent read from the
// kernel and from the container runtime, in that order, in one file, so that the
// same events can be had again anywhere.
//
// A recording is JSON lines. The first is the [Header]; each further line is one
// [Entry], either a raw record with the ring it came from,
//
//	{"ring":"decisive","raw":"<base64>"}
//
// or a container as it was known from that point on:
//
//	{"container":{"id":"…","name":"…"}}
//
// Raw records keep the layout of bpf/event.h as their machine wrote them; Version
// counts changes of that layout and of this format. Recordings come from other
// machines, so lines are bounded and errors name file and line. Readers and
// Writers belong to one goroutine.
package recording

import (
	"errors"
	"fmt"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Version is the one version of the format there is.
const Version = 1

const (
	// MaxRecordBytes bounds a raw record: its tail holds three paths and argv.
	MaxRecordBytes = 32 << 10
	// MaxLineBytes bounds a line: a record in base64, or a container with many labels.
	MaxLineBytes = 256 << 10
)

// Header says where a recording was made and what its records need to be understood.
type Header struct {
	Version int    `json:"version"`
	Release string `json:"release"` // of the kernel
	Arch    string `json:"arch"`    // as Go names it
	BootID  string `json:"boot_id"`
	// BootToWall is what the wall clock showed beyond CLOCK_BOOTTIME.
	BootToWall time.Duration `json:"boot_to_wall_ns"`
	// Host are the namespaces of the host's first process.
	Host Namespaces `json:"host_namespaces"`
	// Hierarchy is the cgroup hierarchy whose ids the records carry: v2, or the v1 controller.
	Hierarchy string `json:"cgroup_hierarchy"`
	// Made is how: the command, or that it is synthetic.
	Made string `json:"made"`
	Note string `json:"note,omitempty"`
	// Rungs says by hook which rung of the ladder saw the events.
	Rungs map[string]string `json:"rungs,omitempty"`
}

func (h *Header) validate() error {
	if h.Version != Version {
		return fmt.Errorf("version %d is not %d", h.Version, Version)
	}
	if h.BootID == "" {
		return errors.New("boot_id is missing")
	}
	return nil
}

// Ring is where a record was read.
type Ring string

const (
	Decisive Ring = "decisive"
	Bulk     Ring = "bulk"
	Seed     Ring = "seed" // the task iterator
)

func (r Ring) known() bool { return r == Decisive || r == Bulk || r == Seed }

// Entry is one thing that was read: a raw record, or a container.
type Entry struct {
	Ring      Ring
	Raw       []byte
	Container *event.Container // nil for a raw record
}

// line is an Entry as JSON.
type line struct {
	Ring      Ring       `json:"ring,omitempty"`
	Raw       []byte     `json:"raw,omitempty"`
	Container *container `json:"container,omitempty"`
}

// container is event.Container with the names of the file; the conversion
// compiles only while both have the same fields.
type container struct {
	ID               string            `json:"id"`
	Runtime          string            `json:"runtime,omitempty"`
	RuntimeNamespace string            `json:"runtime_namespace,omitempty"`
	Name             string            `json:"name,omitempty"`
	Image            string            `json:"image,omitempty"`
	ImageDigest      string            `json:"image_digest,omitempty"`
	Created          time.Time         `json:"created,omitzero"`
	PodName          string            `json:"pod_name,omitempty"`
	PodNamespace     string            `json:"pod_namespace,omitempty"`
	PodUID           string            `json:"pod_uid,omitempty"`
	Labels           map[string]string `json:"labels,omitempty"`
	CgroupID         uint64            `json:"cgroup_id"`
	CgroupPath       string            `json:"cgroup_path,omitempty"`
}

// Namespaces is event.Namespaces with the names of the file; one converts to the other.
type Namespaces struct {
	Mount  uint32 `json:"mount"`
	PID    uint32 `json:"pid"`
	Net    uint32 `json:"net"`
	User   uint32 `json:"user"`
	UTS    uint32 `json:"uts"`
	IPC    uint32 `json:"ipc"`
	Cgroup uint32 `json:"cgroup"`
}
