package correlate

import (
	"encoding/json"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// objectKey names an object that makes pods, or a pod.
type objectKey struct{ Cluster, Kind, Namespace, Name string }

func (k objectKey) row() string { return alert.Hash("object", k.Cluster, k.Kind, k.Namespace, k.Name) }

// manifest is what records said of a pod or of what makes pods.
type manifest struct {
	Key objectKey
	// Owner made it; without a name: nobody did but who asked for it.
	Owner objectKey
	// Author is the last who asked for it and is no controller; Maker the controller.
	Author, Maker *storedRequest `json:",omitempty"`
	// Pod is there if the object is a pod.
	Pod *podSpec `json:",omitempty"`
	stamp

	size int
}

// podSpec is what matters here of a pod's specification.
type podSpec struct {
	UID string
	// Powers are what makes who creates it worth naming: privileged, host-path, host-pid,
	// host-network, host-ipc.
	Powers []string `json:",omitempty"`
	Debug  []string `json:",omitempty"` // ephemeral containers
	// Probes are hashes of commands that the kubelet runs, each with its container.
	Probes []string `json:",omitempty"`
}

const (
	maxProbes = 256
	// maxOwners bounds the way from a pod up to its author.
	maxOwners = 4
	kindPod   = "Pod"
)

// makers are the resources that make pods, and the kinds that owners call them by.
var makers = map[string]string{
	"pods": kindPod, "replicationcontrollers": "ReplicationController", "replicasets": "ReplicaSet", "deployments": "Deployment",
	"daemonsets": "DaemonSet", "statefulsets": "StatefulSet", "jobs": "Job", "cronjobs": "CronJob",
}

// wireObject is the part of an object's JSON that is read.
type wireObject struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name            string `json:"name"`
		GenerateName    string `json:"generateName"`
		UID             string `json:"uid"`
		OwnerReferences []struct {
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
}

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

// learnObject takes in what an event says of pods and of what makes them.
func (m *Machine) learnObject(cluster string, e *auditv1.Event) {
	o := e.GetObject()
	kind, concerns := makers[o.GetResource()]
	if !concerns || e.Stage != auditv1.Stage_STAGE_COMPLETE || !granted(e) || o.Subresource != "" && o.Subresource != "ephemeralcontainers" {
		return
	}
	switch e.Verb {
	case "create", "update", "patch":
	case "delete":
		m.deleted(objectKey{cutID(cluster), kind, cutID(o.Namespace), cutName(o.Name)})
		return
	default:
		return
	}
	var head wireObject
	body := e.Response // as it became
	if !readObject(body, kind, &head) {
		body = e.Request
		if !readObject(body, kind, &head) {
			body = nil
		}
	}
	// Of many replicas with names yet to be made the request says but the beginning.
	name := o.Name
	for _, better := range []string{head.Metadata.Name, head.Metadata.GenerateName} {
		if name == "" {
			name = better
		}
	}
	if name == "" {
		return
	}
	key := objectKey{cutID(cluster), kind, cutID(o.Namespace), cutName(name)}
	known := m.objects.get(key)
	wasAuthor := known != nil && known.Author != nil
	if known == nil {
		known = &manifest{Key: key}
		m.objects.add(key, known)
	}
	for _, owner := range head.Metadata.OwnerReferences {
		if owner.Controller {
			known.Owner = objectKey{key.Cluster, cutID(owner.Kind), key.Namespace, cutName(owner.Name)}
		}
	}
	if o.Subresource == "" {
		told := &storedRequest{tellRequest(rolePodCreated, e, unixNano(e.RequestTime))}
		switch {
		case isController(e.User.GetName()):
			if e.Verb == "create" {
				known.Maker = told
			}
		case kind != kindPod || e.Verb == "create":
			known.Author = told
		}
	}
	if kind == kindPod && body != nil {
		known.Pod = readPod(body, head.Metadata.UID)
	}
	m.touch(&known.stamp)
	m.objects.touch(key)
	m.resizeObject(known)
	switch {
	case kind == kindPod:
		m.specified(podKey{key.Cluster, key.Namespace, key.Name})
	case !wasAuthor && known.Author != nil:
		m.enrichNamespace(key.Cluster, key.Namespace)
	}
}

func readObject(body []byte, kind string, into *wireObject) bool {
	*into = wireObject{}
	return len(body) > 0 && json.Unmarshal(body, into) == nil && into.Kind == kind
}

// isController reports whether the user is a part of the control plane: it carries out
// what others asked for.
func isController(user string) bool {
	return user == "system:kube-controller-manager" || user == "system:kube-scheduler" || user == "system:apiserver" ||
		strings.HasPrefix(user, "system:node:") ||
		strings.HasPrefix(user, "system:serviceaccount:kube-system:") && strings.HasSuffix(user, "-controller")
}

// readPod reads a specification. What cannot be read of it is not there.
func readPod(body []byte, uid string) *podSpec {
	var w wirePod
	if json.Unmarshal(body, &w) != nil {
		return nil
	}
	spec := &podSpec{UID: cutID(uid)}
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

func (o *manifest) measure() int {
	size := 384 + len(o.Key.Name) + len(o.Owner.Name)
	for _, r := range []*storedRequest{o.Author, o.Maker} {
		if r != nil {
			size += len(pack(r.Request))
		}
	}
	if o.Pod != nil {
		size += 32 * (len(o.Pod.Probes) + len(o.Pod.Powers) + len(o.Pod.Debug))
	}
	return size
}

func (m *Machine) resizeObject(o *manifest) {
	size := o.measure()
	m.objectBytes += size - o.size
	o.size = size
	m.movedObjects[o.Key] = true
}

func (m *Machine) forgetObject(o *manifest) {
	m.objects.remove(o.Key)
	m.objectBytes -= o.size
	m.movedObjects[o.Key] = true
}

// deleted forgets an object that makes pods: another one may get its name. What is said of
// a pod is of use until its last session is over.
func (m *Machine) deleted(key objectKey) {
	if o := m.objects.get(key); o != nil && key.Kind != kindPod {
		m.forgetObject(o)
	}
}

// spec is what is known of a pod; nil: nothing is.
func (m *Machine) spec(key podKey) *manifest {
	if o := m.objects.get(objectKey{key.Cluster, kindPod, key.Namespace, key.Name}); o != nil && o.Pod != nil {
		return o
	}
	// A controller's name with five letters of the API server's.
	const suffix = 5
	if n := len(key.Name) - suffix; n > 0 && key.Name[n-1] == '-' {
		if o := m.objects.get(objectKey{key.Cluster, kindPod, key.Namespace, key.Name[:n]}); o != nil && o.Pod != nil {
			return o
		}
	}
	return nil
}

// author is who asked for what became the object: a person or a program of somebody's, or
// the controller if nobody else is known.
func (m *Machine) author(o *manifest) *storedRequest {
	maker := o.Maker
	for range maxOwners {
		if o.Author != nil {
			return o.Author
		}
		if maker == nil {
			maker = o.Maker
		}
		if o = m.objects.get(o.Owner); o == nil {
			break
		}
	}
	return maker
}

// probeHash stands for a command that the kubelet runs in a container.
func probeHash(container string, command []string) string {
	words := make([]string, 0, len(command)+2)
	words = append(words, "probe", container, strconv.Itoa(len(command)))
	return alert.Hash(append(words, command...)...)
}

// isProbe reports whether the session is a probe or a hook of its pod.
func (m *Machine) isProbe(s *session) bool {
	o := m.spec(s.Pod)
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
	o := m.spec(s.Pod)
	return o != nil && slices.Contains(o.Pod.Debug, s.Container)
}

// specified has sessions of a pod looked at again of which it became known what it runs.
func (m *Machine) specified(key podKey) {
	p := m.pods[key]
	if p == nil {
		return
	}
	for _, s := range p.sessions {
		if s.Attribution == waiting || s.Attribution == unattributed || s.Attribution == unavailable {
			m.look(s, m.place.Now)
		}
	}
	m.enrichPod(key)
}
