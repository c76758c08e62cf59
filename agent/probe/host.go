package probe

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/bpf"
	"github.com/seawall-security/seawall/internal/event"
)

// Host is what a node's kernel can do, as far as the sensor asks.
type Host struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// BTF: the kernel describes its types, without which no program loads.
	BTF bool `json:"btf"`
	// noBTF is why not.
	noBTF error
	// LSMs are the active security modules; "bpf" must be among them for LSM programs to
	// run. Empty: securityfs does not tell.
	LSMs     []string `json:"lsms,omitempty"`
	Lockdown string   `json:"lockdown,omitempty"`
	// AtomicFetch: atomic adds return the old value (5.12).
	AtomicFetch bool `json:"atomic_fetch"`
	// TaskIterator: processes that ran before the agent are known exactly.
	TaskIterator bool `json:"task_iterator"`
	// Namespaces are those of process 1: the host's.
	Namespaces event.Namespaces `json:"namespaces"`
}

// LearnHost looks at the running kernel. It never fails: what it cannot learn is absent.
func LearnHost() *Host {
	h := &Host{Arch: runtime.GOARCH, Kernel: "unknown"}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	_, h.noBTF = btf.LoadKernelSpec()
	h.BTF = h.noBTF == nil
	if b, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		h.LSMs = strings.Split(strings.TrimSpace(string(b)), ",")
	}
	if b, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil {
		h.Lockdown = selected(string(b))
	}
	h.AtomicFetch = haveAtomicFetch() == nil
	return h
}

// usable says what is missing for any program to load.
func (h *Host) usable() error {
	if h.BTF {
		return nil
	}
	return fmt.Errorf("read the kernel's types (BTF), without which no program can be loaded: %w; "+
		"the kernel needs CONFIG_DEBUG_INFO_BTF, and the agent the host's /sys", h.noBTF)
}

// selected is the word in brackets: "none [integrity] confidentiality".
func selected(line string) string {
	_, rest, ok := strings.Cut(line, "[")
	if !ok {
		return strings.TrimSpace(line)
	}
	word, _, _ := strings.Cut(rest, "]")
	return word
}

func haveAtomicFetch() error {
	add := asm.FetchAdd.Mem(asm.RFP, asm.R1, asm.DWord, -8)
	// cilium/ebpf v0.22 encodes the operation from here, not from the opcode.
	add.Constant = int64(asm.FetchAdd >> 8)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord),
		add,
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}})
	if err != nil {
		return err
	}
	return p.Close()
}

// config is the host's part of what the programs are told at load.
func (h *Host) config(o Options) (bpf.LayoutLoadConfig, error) {
	config := bpf.LayoutLoadConfig{
		HostMountNs:     h.Namespaces.Mount,
		CgroupHierarchy: o.Hierarchy.ID,
		// A quarter of the ring: early enough to be read before it fills, late enough that
		// most wake-ups are the reader's own timer.
		WakeupBytes: uint32(o.BulkBytes / 4),
		TreeRate:    o.TreeRate,
	}
	if h.AtomicFetch {
		config.AtomicFetch = 1
	}
	if o.Hierarchy.ID != 0 {
		index, err := subsystemIndex(o.Hierarchy.Controller)
		if err != nil {
			return config, err
		}
		config.CgroupSubsys = index
	}
	return config, nil
}

// subsystemIndex finds a controller's place in css_set.subsys.
func subsystemIndex(controller string) (uint32, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, fmt.Errorf("read kernel types: %w", err)
	}
	var ids *btf.Enum
	if err := kernel.TypeByName("cgroup_subsys_id", &ids); err != nil {
		return 0, fmt.Errorf("find cgroup controllers in kernel types: %w", err)
	}
	// The names differ where the controller's file prefix does: blkio is io, cpuacct is its own.
	name := controller
	if name == "blkio" {
		name = "io"
	}
	for _, v := range ids.Values {
		if v.Name == name+"_cgrp_id" {
			return uint32(v.Value), nil
		}
	}
	return 0, fmt.Errorf("find cgroup controller %q in kernel types: no such controller", controller)
}
