package correlate

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// Who made a pod is who asked for what it was made from: for the pod itself, or for the
// workload above it. That was made once, and may have been changed since; only what was
// before the pod can have become it.

// controllers are the built-in ones that make pods and what makes pods, or write to them:
// they carry out what others asked for. Other accounts of kube-system may be called so as well.
var controllers = []string{
	"cronjob-controller", "daemon-set-controller", "deployment-controller", "disruption-controller", "generic-garbage-collector",
	"horizontal-pod-autoscaler", "job-controller", "namespace-controller", "node-controller", "pod-garbage-collector",
	"replicaset-controller", "replication-controller", "statefulset-controller", "ttl-after-finished-controller",
}

// isController reports whether the user is a part of the control plane.
func isController(user string) bool {
	switch user {
	case "system:kube-controller-manager", "system:kube-scheduler", "system:apiserver":
		return true
	}
	account, found := strings.CutPrefix(user, "system:serviceaccount:kube-system:")
	return found && slices.Contains(controllers, account) || strings.HasPrefix(user, "system:node:")
}

// ownerByName is what a controller made an object for that it names after it; without a
// name: it does not. Policies leave their bodies out, for there are many.
func ownerByName(key objectKey) objectKey {
	kind := map[string]string{"ReplicaSet": "Deployment", "Job": "CronJob"}[key.Kind]
	end := strings.LastIndexByte(key.Name, '-')
	if kind == "" || end <= 0 || key.Prefix {
		return objectKey{}
	}
	return objectKey{Cluster: key.Cluster, Kind: kind, Namespace: key.Namespace, Name: key.Name[:end]}
}

// madeAt is when it was created, 0: that is older than the audit log here.
func (o *manifest) madeAt() int64 {
	if o.Made == nil {
		return 0
	}
	return unixNano(o.Made.Time)
}

// bornBy is when it was created at the latest; 0: it is not known.
func (o *manifest) bornBy() int64 {
	const second = 1e9 // what it says itself is cut to that
	if at := o.madeAt(); at != 0 || o.Born == 0 {
		return at
	}
	return o.Born + second
}

// origin is who asked for what became the pod, and who changed it last before it did; nil:
// it is not known. Where nobody else is known it is the controller.
func (m *Machine) origin(pod *manifest) (made, changed *storedRequest) {
	o, at := pod, int64(0)
	for range maxOwners {
		if o.Made != nil && !isController(o.Made.GetUser().GetName()) {
			return o.Made, changed
		}
		if born := o.bornBy(); born != 0 {
			at = born // of a replica set, which is older than pods it makes anew
		}
		up := m.objects.get(o.Owner)
		if up == nil || up.UID != "" && o.OwnerUID != "" && up.UID != o.OwnerUID || at != 0 && up.madeAt() > at+int64(clockBound) {
			break
		}
		if changed == nil {
			changed = up.changeBefore(at)
		}
		o = up
	}
	if changed != nil {
		return nil, changed
	}
	return pod.Made, nil
}

// changeBefore is the last change up to a time; nil: none is known.
func (o *manifest) changeBefore(at int64) *storedRequest {
	for i, r := range slices.Backward(o.Changes) {
		if unixNano(r.Time) <= at {
			return &o.Changes[i]
		}
	}
	return nil
}

// change adds a change, in the order of their times.
func (o *manifest) change(told storedRequest) {
	after := func(r storedRequest) bool { return r.GetTime().AsTime().After(told.GetTime().AsTime()) }
	at := slices.IndexFunc(o.Changes, after)
	if at < 0 {
		at = len(o.Changes)
	}
	o.Changes = slices.Insert(o.Changes, at, told)
	if len(o.Changes) > maxChanges {
		o.Changes = slices.Delete(o.Changes, 0, 1)
	}
}

// isChanged reports whether an event changed what pods are made from. Where that cannot be
// told it may have.
func (o *manifest) isChanged(e *auditv1.Event, c content, later bool) bool {
	form, generation, changed := templateForm(c.full), c.head.Metadata.Generation, true
	switch {
	case e.Verb == "patch" && !touchesTemplate(e.Request), form != "" && slices.Contains(o.Forms, form):
		changed = false
	case c.answered && generation != 0: // counts changes of all that is asked for, and is 1 at first
		changed = generation != 1 && generation != o.Generation
	}
	o.written(form, generation, c.answered, later, changed)
	return changed
}

// written notes how what pods are made from is written now.
func (o *manifest) written(form string, generation int64, answered, later, changed bool) {
	if !later {
		return
	}
	if changed {
		o.Forms = nil
	}
	if form != "" && !slices.Contains(o.Forms, form) && len(o.Forms) < maxForms {
		o.Forms = append(o.Forms, form)
	}
	if o.Generation = 0; answered {
		o.Generation = generation
	}
}

// templateForm stands for what a workload's pods are to be, as it is written; "": it is not
// said. Labels and annotations of theirs do not count.
func templateForm(body []byte) string {
	type template struct {
		Spec json.RawMessage `json:"spec"`
	}
	var w struct {
		Spec struct {
			Template    template `json:"template"`
			JobTemplate struct {
				Spec struct {
					Template template `json:"template"`
				} `json:"spec"`
			} `json:"jobTemplate"`
		} `json:"spec"`
	}
	if len(body) == 0 || json.Unmarshal(body, &w) != nil {
		return ""
	}
	raw := w.Spec.Template.Spec
	if len(raw) == 0 {
		raw = w.Spec.JobTemplate.Spec.Template.Spec
	}
	var value any
	if len(raw) == 0 || json.Unmarshal(raw, &value) != nil {
		return ""
	}
	return alert.Hash("template", string(encode(value))) // keys in order
}

// touchesTemplate reports whether a patch speaks of what pods are made from.
func touchesTemplate(patch []byte) bool {
	var operations []struct {
		Path string `json:"path"`
	}
	if json.Unmarshal(patch, &operations) == nil {
		return slices.ContainsFunc(operations, func(o struct {
			Path string `json:"path"`
		}) bool {
			return o.Path == "" || o.Path == "/spec" || strings.HasPrefix(o.Path, "/spec/template") || strings.HasPrefix(o.Path, "/spec/jobTemplate")
		})
	}
	var object struct {
		Spec struct {
			Template    json.RawMessage `json:"template"`
			JobTemplate json.RawMessage `json:"jobTemplate"`
		} `json:"spec"`
	}
	return json.Unmarshal(patch, &object) != nil || object.Spec.Template != nil || object.Spec.JobTemplate != nil
}
