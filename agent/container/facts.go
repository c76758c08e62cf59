package container

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/seawall-security/seawall/internal/event"
)

// Labels that name a container.
const (
	labelContainerName = "io.kubernetes.container.name"
	labelPodName       = "io.kubernetes.pod.name"
	labelPodNamespace  = "io.kubernetes.pod.namespace"
	labelPodUID        = "io.kubernetes.pod.uid"
	labelKind          = "io.cri-containerd.kind"
	labelNerdctl       = "nerdctl/name"
	annotationImage    = "io.kubernetes.cri.image-name"
)

// sandboxName is the name of a pod's pause container, as cAdvisor has it.
const sandboxName = "POD"

// Bounds of what is kept of a container's labels; Kubernetes sets some 20 short ones.
const (
	maxLabels     = 64
	maxLabelBytes = 4096 // keys and values together
	maxText       = 1024 // of a name or a reference
)

// fact is what containerd told of one container.
type fact struct {
	namespace string
	container event.Container
	// path is the cgroup that the specification asks for; empty: not known, or
	// relative to a parent that only the task shows.
	path string
	// partial says that the metadata were gone before they could be read.
	partial   bool
	announced bool      // path was given to Table.expect
	used      bool      // a candidate was confirmed with it
	released  time.Time // removed from containerd since; zero: it is there
}

// spec is the part of the OCI specification that tells where a container runs.
type spec struct {
	Annotations map[string]string `json:"annotations"`
	Linux       struct {
		CgroupsPath string `json:"cgroupsPath"`
	} `json:"linux"`
}

// newFact reads a container's metadata. A specification that is not JSON is as none.
func newFact(namespace string, c containers.Container, digest string) *fact {
	var s spec
	if c.Spec != nil {
		if json.Unmarshal(c.Spec.GetValue(), &s) != nil {
			s = spec{}
		}
	}
	return &fact{
		namespace: namespace,
		path:      cgroupsPath(s.Linux.CgroupsPath),
		container: event.Container{
			ID:               clip(c.ID),
			Runtime:          RuntimeContainerd,
			RuntimeNamespace: namespace,
			Name:             clip(nameOf(c.ID, c.Labels)),
			Image:            clip(imageOf(c.Image, s.Annotations)),
			ImageDigest:      clip(digest),
			Created:          c.CreatedAt,
			PodName:          clip(c.Labels[labelPodName]),
			PodNamespace:     clip(c.Labels[labelPodNamespace]),
			PodUID:           clip(c.Labels[labelPodUID]),
			Labels:           boundLabels(c.Labels),
		},
	}
}

func nameOf(id string, labels map[string]string) string {
	if name := labels[labelContainerName]; name != "" {
		return name
	}
	if labels[labelKind] == "sandbox" {
		return sandboxName
	}
	if name := labels[labelNerdctl]; name != "" {
		return name
	}
	return id
}

// imageOf prefers the name a person wrote: CRI refers to images by their id.
func imageOf(image string, annotations map[string]string) string {
	if name := annotations[annotationImage]; name != "" && (image == "" || strings.HasPrefix(image, "sha256:")) {
		return name
	}
	return image
}

func clip(s string) string { return strings.Clone(s[:min(len(s), maxText)]) }

// boundLabels keeps whole labels in the order of their keys, shorter of maxLabels
// and maxLabelBytes.
func boundLabels(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	kept := make(map[string]string, min(len(labels), maxLabels))
	size := 0
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		value := labels[key]
		if len(kept) == maxLabels {
			break
		}
		if size+len(key)+len(value) > maxLabelBytes {
			continue
		}
		size += len(key) + len(value)
		kept[strings.Clone(key)] = strings.Clone(value)
	}
	return kept
}

// cgroupsPath turns an OCI cgroupsPath into a path from the hierarchy's root:
// absolute as it is, systemd's slice:prefix:name as the tree of slices. Other
// forms are relative to where the runtime runs and yield "".
func cgroupsPath(s string) string {
	if strings.HasPrefix(s, "/") {
		return path.Clean(s)
	}
	slice, rest, ok := strings.Cut(s, ":")
	prefix, name, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || name == "" || strings.ContainsAny(s, "/\x00") {
		return ""
	}
	if slice == "" {
		slice = "system.slice" // runc's default for root
	}
	stem, ok := strings.CutSuffix(slice, ".slice")
	if !ok || stem == "" && slice != "-.slice" {
		return ""
	}
	var b strings.Builder
	if slice != "-.slice" {
		for i := range len(stem) + 1 { // a-b-c.slice lies in a.slice/a-b.slice
			if i == len(stem) || stem[i] == '-' {
				b.WriteString("/" + stem[:i] + ".slice")
			}
		}
	}
	unit := name
	if !strings.HasSuffix(name, ".slice") {
		unit = prefix + "-" + name + ".scope"
	}
	return b.String() + "/" + unit
}

// agrees says whether the metadata alone show that the candidate is this
// container. Where somebody who is no runtime made the cgroup, or where it was
// announced for a path without a container's shape and nobody saw who made it,
// only a task inside proves it; so it does for a cgroup older than the metadata,
// which is that of an earlier container of the same name.
func (f *fact) agrees(q question) bool {
	switch {
	case f.container.Created.After(q.born):
		return false
	case f.partial: // the id is all there is: believed in a cgroup that a runtime made
		return q.maker == makerRuntime
	case f.path != q.Path || q.maker == makerOther:
		return false
	}
	return q.Hint != HintExpected || q.maker == makerRuntime
}
