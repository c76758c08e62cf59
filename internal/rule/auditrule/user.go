package auditrule

import (
	"slices"
	"strings"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// userClass is what kind of user one is, by name: names that begin with system: are the
// API server's to give.
type userClass int

const (
	person userClass = iota
	serviceAccount
	node
	system
	anonymous
)

func classOf(u *auditv1.User) userClass {
	name := u.GetName()
	switch {
	case name == "system:anonymous" || name == "" || slices.Contains(u.GetGroups(), "system:unauthenticated"):
		return anonymous
	case strings.HasPrefix(name, accountPrefix):
		return serviceAccount
	case strings.HasPrefix(name, "system:node:"):
		return node
	case isComponent(name):
		return system
	// The administrator of k3s, RKE2 and OpenShift, and whoever else was given all power by a certificate.
	case name == "system:admin" || slices.Contains(u.GetGroups(), "system:masters"):
		return person
	case strings.HasPrefix(name, "system:"):
		return system
	}
	return person
}

const accountPrefix = "system:serviceaccount:"

// account is the namespace and the name of a service account; empty: it is none.
func account(user string) (namespace, name string) {
	rest, ok := strings.CutPrefix(user, accountPrefix)
	if !ok {
		return "", ""
	}
	namespace, name, _ = strings.Cut(rest, ":")
	return namespace, name
}

// isControlPlane reports whether a user is a part of the control plane by name: one of its
// certificates, a built-in controller's account, or what a provider runs it with.
func isControlPlane(name string) bool {
	if namespace, of := account(name); namespace != "" {
		return namespace == "kube-system" && controllers[of]
	}
	return isComponent(name)
}

// isComponent is isControlPlane of what is no account.
func isComponent(name string) bool { return components[name] || isProvider(name) }

// isProvider reports whether EKS or AKS carries out its own work under a name, with any
// client. EKS gives names that begin with eks: to nobody else.
func isProvider(name string) bool { return name == "aksService" || strings.HasPrefix(name, "eks:") }

var components = setOf(
	"system:apiserver", "system:kube-apiserver", "system:kube-controller-manager", "system:kube-scheduler",
	"system:cloud-controller-manager", "system:kube-proxy", "system:addon-manager",
	// k3s and RKE2.
	"system:k3s-controller", "system:k3s-supervisor", "system:rke2-controller", "system:rke2-supervisor",
	// GKE.
	"system:gcp-controller-manager", "system:gke-controller-manager", "system:gke-common-webhooks", "system:glbc",
	"system:l7-lb-controller", "system:managed-certificate-controller", "system:cluster-autoscaler", "system:clustermetrics",
	"system:konnectivity-server", "system:snapshot-controller",
)

// controllers are the accounts in kube-system that Kubernetes' own controllers run with.
var controllers = setOf(
	"attachdetach-controller", "certificate-controller", "clusterrole-aggregation-controller", "cronjob-controller",
	"daemon-set-controller", "deployment-controller", "device-taint-eviction-controller", "disruption-controller",
	"endpoint-controller", "endpointslice-controller", "endpointslicemirroring-controller", "ephemeral-volume-controller",
	"expand-controller", "generic-garbage-collector", "horizontal-pod-autoscaler", "job-controller",
	"legacy-service-account-token-cleaner", "namespace-controller", "node-controller", "persistent-volume-binder",
	"pod-garbage-collector", "pv-protection-controller", "pvc-protection-controller", "replicaset-controller",
	"replication-controller", "resource-claim-controller", "resourcequota-controller", "root-ca-cert-publisher",
	"route-controller", "selinux-warning-controller", "service-account-controller", "service-cidrs-controller",
	"service-controller", "statefulset-controller", "storage-version-migrator-controller", "taint-eviction-controller",
	"token-cleaner", "bootstrap-signer", "ttl-after-finished-controller", "ttl-controller",
	"validatingadmissionpolicy-status-controller", "volumeattributesclass-protection-controller",
)

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}
