package smoke

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ladder is the rung of each hook.
type ladder map[string]string

// ladderFrom is the ladder of a kernel on which top is the best rung that works.
func ladderFrom(top string) ladder {
	l := ladder{}
	for _, hook := range []string{"process_exec", "process_fork", "process_exit", "cgroup_create", "cgroup_remove"} {
		l[hook] = "tracepoint"
	}
	for _, hook := range climbing() {
		l[hook] = top
	}
	l["process_namespace"] = "fentry" // namespaces have no LSM hook
	if top == "syscall" {
		l["process_namespace"] = top
	}
	return l
}

// climbing are the hooks that have every rung.
func climbing() []string {
	return []string{"file_open", "file_rename", "file_unlink", "file_chmod",
		"network_connect", "network_accept", "memory_protect", "memory_map"}
}

// view is what the rung of a hook can see.
func (l ladder) view(hook string) view {
	if l[hook] == "syscall" {
		return syscallOnly
	}
	return upperOnly
}

// probeReport is what `seawall-agent probe -o json` promises to programs.
type probeReport struct {
	Host struct {
		Kernel       string   `json:"kernel"`
		Arch         string   `json:"arch"`
		BTF          bool     `json:"btf"`
		LSMs         []string `json:"lsms"`
		TaskIterator bool     `json:"task_iterator"`
	} `json:"host"`
	Cgroups struct {
		Version int    `json:"version"`
		Mount   string `json:"mount"`
	} `json:"cgroups"`
	Hooks []struct {
		Hook      string `json:"hook"`
		Rung      string `json:"rung"`
		Confirmed bool   `json:"confirmed"`
		Refused   []struct {
			Rung   string `json:"rung"`
			Reason string `json:"reason"`
		} `json:"refused"`
	} `json:"hooks"`
}

func checkProbe(t *testing.T, stdout []byte, release string, want ladder) {
	t.Helper()
	var r probeReport
	if err := json.Unmarshal(stdout, &r); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if r.Host.Kernel != release || r.Host.Arch != "amd64" || !r.Host.BTF || !r.Host.TaskIterator ||
		r.Cgroups.Version != 2 || r.Cgroups.Mount != "/sys/fs/cgroup" {
		t.Errorf("host %+v, cgroups %+v", r.Host, r.Cgroups)
	}
	// Where bpf is among the active LSMs the top rung runs, and nowhere else.
	lsm := slices.Contains(r.Host.LSMs, "bpf")
	if top := want["file_open"] == "lsm"; lsm != top {
		t.Errorf("LSMs are %v", r.Host.LSMs)
	}
	got, refused := ladder{}, map[string]string{}
	for _, h := range r.Hooks {
		got[h.Hook] = h.Rung
		if !h.Confirmed {
			t.Errorf("%s at %s is not confirmed: %v", h.Hook, h.Rung, h.Refused)
		}
		for _, why := range h.Refused {
			refused[h.Hook] += why.Rung + ": " + why.Reason + ". "
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rungs, - wanted + taken:\n%s", diff)
	}
	truth := map[string]string{}
	if !lsm {
		for _, hook := range climbing() {
			truth[hook] = "lsm: attached, but its event never came: bpf is not among the active LSMs. "
		}
	}
	if diff := cmp.Diff(truth, refused); diff != "" {
		t.Errorf("refused rungs, - true + told:\n%s", diff)
	}
}

// checkReady compares the line that scripts wait for.
func checkReady(t *testing.T, line string, want ladder) {
	t.Helper()
	text, proven := strings.CutPrefix(line, "ready: ")
	if !proven {
		t.Errorf("said %q", line)
		return
	}
	got := ladder{}
	for _, word := range strings.Fields(text) {
		hook, rung, _ := strings.Cut(word, "=")
		got[hook] = rung
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rungs, - wanted + said:\n%s", diff)
	}
}
