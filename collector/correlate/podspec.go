package correlate

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"

	"github.com/seawall-security/seawall/collector/alert"
)

// podSpec is what matters here of a pod's specification.
type podSpec struct {
	// Powers are what makes who creates it worth naming: privileged, host-path, host-pid,
	// host-network, host-ipc.
	Powers []string `json:",omitempty"`
	Debug  []string `json:",omitempty"` // ephemeral containers
	// Probes are hashes of commands that the kubelet runs, each with its container.
	Probes []string `json:",omitempty"`
}

// maxProbes are kept of a pod.
const maxProbes = 256

type wirePod struct {
	Spec struct {
		HostPID     bool `json:"hostPID"`
		HostNetwork bool `json:"hostNetwork"`
		HostIPC     bool `json:"hostIPC"`
		Volumes     []struct {
			HostPath *struct{} `json:"hostPath"`
		} `json:"volumes"`
		Containers          []wireContainer `json:"containers"`
		InitContainers      []wireContainer `json:"initContainers"`
		EphemeralContainers []wireContainer `json:"ephemeralContainers"`
	} `json:"spec"`
}

type wireContainer struct {
	Name            string `json:"name"`
	SecurityContext struct {
		Privileged bool `json:"privileged"`
	} `json:"securityContext"`
	LivenessProbe  wireHandler `json:"livenessProbe"`
	ReadinessProbe wireHandler `json:"readinessProbe"`
	StartupProbe   wireHandler `json:"startupProbe"`
	Lifecycle      struct {
		PostStart wireHandler `json:"postStart"`
		PreStop   wireHandler `json:"preStop"`
	} `json:"lifecycle"`
}

type wireHandler struct {
	Exec struct {
		Command []string `json:"command"`
	} `json:"exec"`
}

// readPod reads a specification. What cannot be read of it is not there.
func readPod(body []byte) *podSpec {
	var w wirePod
	if json.Unmarshal(body, &w) != nil {
		return nil
	}
	spec := &podSpec{}
	power := func(has bool, name string) {
		if has && !slices.Contains(spec.Powers, name) {
			spec.Powers = append(spec.Powers, name)
		}
	}
	for _, v := range w.Spec.Volumes {
		power(v.HostPath != nil, "host-path")
	}
	power(w.Spec.HostPID, "host-pid")
	power(w.Spec.HostNetwork, "host-network")
	power(w.Spec.HostIPC, "host-ipc")
	for _, c := range slices.Concat(w.Spec.Containers, w.Spec.InitContainers, w.Spec.EphemeralContainers) {
		power(c.SecurityContext.Privileged, "privileged")
		for _, h := range []wireHandler{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if len(h.Exec.Command) > 0 && len(spec.Probes) < maxProbes {
				spec.Probes = append(spec.Probes, probeHash(c.Name, h.Exec.Command))
			}
		}
	}
	for _, c := range w.Spec.EphemeralContainers[:min(len(w.Spec.EphemeralContainers), maxDebug)] {
		spec.Debug = append(spec.Debug, cutName(c.Name))
	}
	slices.Sort(spec.Powers)
	slices.Sort(spec.Probes)
	spec.Probes = slices.Compact(spec.Probes)
	return spec
}

// probeHash stands for a command that the kubelet runs in a container.
func probeHash(container string, command []string) string {
	words := make([]string, 0, len(command)+2)
	words = append(words, "probe", container, strconv.Itoa(len(command)))
	return alert.Hash(append(words, command...)...)
}

// isProbe reports whether the session is a probe or a hook of its pod.
func (m *Machine) isProbe(s *session) bool {
	o := m.spec(s.Pod, s.UID)
	if o == nil || s.TTY != "" || s.Init {
		return false
	}
	hash := probeHash(s.Container, s.Args)
	if _, found := slices.BinarySearch(o.Pod.Probes, hash); found {
		return true
	}
	// Of a script the kernel adds the interpreter: the pod's words are not kept, so those of
	// the session are tried without it.
	for i := 1; i < min(len(s.Args), maxInterpreter+1); i++ {
		if s.Filename != "" && s.Args[i] == s.Filename {
			for _, name := range []string{s.Args[i], path.Base(s.Args[i])} {
				command := append([]string{name}, s.Args[i+1:]...)
				if _, found := slices.BinarySearch(o.Pod.Probes, probeHash(s.Container, command)); found {
					return true
				}
			}
		}
	}
	return false
}

// isDebug reports whether the session is an ephemeral container's.
func (m *Machine) isDebug(s *session) bool {
	o := m.spec(s.Pod, s.UID)
	return o != nil && slices.Contains(o.Pod.Debug, s.Container)
}
