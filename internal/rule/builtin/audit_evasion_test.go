package builtin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/rule/auditrule"
)

// metadataOnly is what a client has for an answer that asks for PartialObjectMetadata.
const metadataOnly = `{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "x"}}`

// evasions are requests in the ways by which somebody could hope to be overlooked, each beside one that
// is meant honestly.
func evasions(t testing.TB) []madeCase {
	t.Helper()
	pod := made(t, first(t, of("privileged_pod"), developer, "create", "pods"), set{"/responseObject", nil})
	plain := made(t, pod, set{"/requestObject/spec/containers/0/securityContext", nil})
	deployment := made(t, first(t, of("miner_image"), developer, "create", "deployments"), set{"/requestObject/spec/template/spec/containers/0/image", "registry.local/shop/web:1.0"}, set{"/responseObject", nil})
	binding := made(t, first(t, of("bind_cluster_admin_sa"), operator, "create", "clusterrolebindings"), set{"/responseObject", nil})
	role := made(t, first(t, of("wildcard_clusterrole"), operator, "create", "clusterroles"), set{"/responseObject", nil})
	csr := made(t, first(t, of("csr_create_approve"), operator, "create", "certificatesigningrequests"), set{"/responseObject", nil})
	webhook := made(t, first(t, of("mutating_webhook_external"), operator, "create", "mutatingwebhookconfigurations"), set{"/responseObject", nil})
	ingress := made(t, first(t, benign, deployer, "create", "ingresses"), set{"/responseObject", nil}, set{"/requestObject/spec/tls", nil})
	deleted := first(t, of("mass_delete"), operator, "delete", "configmaps")
	policy := made(t, deleted, set{"/objectRef", object(`{"resource": "networkpolicies", "apiGroup": "networking.k8s.io", "namespace": "team-b", "name": "deny"}`)}, set{"/requestURI", "/apis/networking.k8s.io/v1/namespaces/team-b/networkpolicies/deny?dryRun=All"})
	token := first(t, of("token_request_other_sa"), operator, "create", "serviceaccounts/token")
	namespace := first(t, benign, operator, "create", "namespaces")
	nodeProxy := first(t, of("nodes_proxy"), operator, "get", "nodes/proxy")
	secrets := first(t, of("list_all_secrets"), operator, "list", "secrets")
	ephemeral := first(t, of("ephemeral_container"), operator, "patch", "pods/ephemeralcontainers")
	masters := first(t, of("impersonate_masters"), operator, "list", "secrets")

	with := func(line []byte, more ...set) [][]byte { return one(made(t, line, more...)) }
	as := func(user, agent string, groups ...any) []set {
		return []set{{"/user/username", user}, {"/user/groups", groups}, {"/userAgent", agent}, {"/sourceIPs", []any{"10.77.0.12"}}}
	}
	patch := func(code int, body, answer any) []set {
		return []set{{"/verb", "patch"}, {"/level", "RequestResponse"}, {"/responseStatus/code", code}, {"/requestObject", body}, {"/responseObject", answer}}
	}
	// applied is what server-side apply made, or changed: the whole object, by a patch.
	applied := func(line []byte, code int, more ...set) [][]byte {
		return with(line, append([]set{{"/verb", "patch"}, {"/responseStatus/code", code}}, more...)...)
	}
	mounts := func(path string, readOnly bool) [][]byte {
		return with(deployment,
			set{"/requestObject/spec/template/spec/volumes", object(`[{"name": "v", "hostPath": {"path": "` + path + `"}}]`)},
			set{"/requestObject/spec/template/spec/containers/0/volumeMounts", []any{map[string]any{"name": "v", "mountPath": "/v", "readOnly": readOnly}}})
	}
	kubelet := func(path string) [][]byte { return with(nodeProxy, set{"/requestURI", path}) }
	signer := set{"/requestObject/spec/signerName", "kubernetes.io/kube-apiserver-client-kubelet"}
	ofNode := set{"/requestObject/spec/request", request(t, "system:node:node-9", "system:nodes")}
	bound := func(name string) []set { return []set{{"/requestObject/roleRef/name", name}} }
	allows := func(rule string) set { return set{"/requestObject/rules", object(`[` + rule + `]`)} }
	named := func(name string) set { return set{"/objectRef/name", name} }
	options := func(body string) []set {
		return []set{{"/level", "Request"}, {"/requestObject", object(body)}}
	}
	padded := []any{strings.Repeat("x", 200_000), strings.Repeat("y", 200_000)}
	var fields []string // more than are kept, and none that rules read
	for i := range 60_000 {
		fields = append(fields, fmt.Sprintf(`"x%d": 1`, i))
	}
	many := strings.Join(fields, ",")
	sharing := object(`{"kind": "Deployment", "apiVersion": "apps/v1", "spec": {"template": {"spec": {"hostPID": true}}}}`)
	added := `{"op": "add", "path": "/subjects/-", "value": {"kind": "User", "name": "x"}}`

	return []madeCase{
		// The answer is another than the object.
		{"privileged pod, metadata for an answer", with(pod, set{"/responseObject", object(metadataOnly)}), []string{"audit-privileged-pod high"}},
		{"plain pod, metadata for an answer", with(plain, set{"/responseObject", object(metadataOnly)}), nil},
		{"binding widened, metadata for an answer", with(binding, patch(200, object(`[`+added+`]`), object(metadataOnly))...), []string{"audit-body-left-out medium"}},
		{"binding labelled, metadata for an answer", with(binding, patch(200, object(`{"metadata": {"labels": {"a": "b"}}}`), object(metadataOnly))...), nil},
		{"binding labelled by a JSON patch, metadata for an answer", with(binding, patch(200, object(`[{"op": "add", "path": "/metadata/labels/a", "value": "b"}]`), object(metadataOnly))...), nil},
		{"binding applied, metadata for an answer", applied(binding, 201, set{"/responseObject", object(metadataOnly)}), []string{"audit-body-left-out medium", "audit-cluster-admin-binding high"}},
		{"deployment made privileged, a table for an answer", with(deployment, patch(200, object(`{"spec": {"template": {"spec": {"containers": [{"name": "a", "securityContext": {"privileged": true}}]}}}}`), object(`{"kind": "Table", "apiVersion": "meta.k8s.io/v1"}`))...), []string{"audit-body-left-out medium", "audit-privileged-pod medium"}},
		{"deployment made privileged in two steps, metadata for an answer", with(deployment, patch(200, object(`[{"op": "add", "path": "/x", "value": {"privileged": true}}, {"op": "move", "from": "/x", "path": "/spec/template/spec/containers/0/securityContext"}]`), object(metadataOnly))...), []string{"audit-body-left-out medium", "audit-privileged-pod medium"}},

		// A part is left out.
		{"privileged pod with much beside", with(pod, set{"/requestObject/spec/containers/0/args", padded}), []string{"audit-body-left-out medium", "audit-privileged-pod high"}},
		{"plain pod with much beside", with(plain, set{"/requestObject/spec/containers/0/args", padded}), []string{"audit-body-left-out medium"}},
		{"plain pod with something beside", with(plain, set{"/requestObject/spec/containers/0/args", []any{strings.Repeat("x", 20_000)}}), nil},
		{"deployment made to share the node's processes, by a part that is left out", with(deployment, patch(200, object(`{"spec": {"template": {"spec": {`+many+`}}}}`), sharing)...), []string{"audit-body-left-out medium", "audit-host-namespace-pod medium"}},
		{"plain pod with much beside, by a controller", with(plain, append(as("system:serviceaccount:kube-system:job-controller", "kube-controller-manager/v1.35"), set{"/requestObject/spec/containers/0/args", padded})...), nil},
		{"binding without its bodies", with(binding, set{"/requestObject", nil}, set{"/annotations/audit.k8s.io~1truncated", "true"}), []string{"audit-body-left-out medium"}},
		{"binding by a patch that is too large, with what became", with(binding, append(patch(200, object(`[`+added+`]`), object(`{"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "roleRef": {"name": "cluster-admin"}, "subjects": [{"kind": "User", "name": "x"}]}`)), set{"/requestObject", nil})...), []string{"audit-cluster-admin-binding high"}},
		{"binding under a policy without bodies", with(binding, set{"/level", metadata}, set{"/requestObject", nil}), nil},
		{"a trial without its bodies", with(binding, set{"/requestObject", nil}, set{"/annotations/audit.k8s.io~1truncated", "true"}, set{"/requestURI", "/x?dryRun=All"}), nil},

		// Trials that are none, and ones that are.
		{"policy deleted, a trial by the address alone", with(policy, options(`{"kind": "DeleteOptions"}`)...), []string{"audit-network-policy-removed medium"}},
		{"policy deleted, perhaps a trial", with(policy, set{"/level", metadata}), []string{"audit-network-policy-removed medium"}},
		{"policy deleted as a trial by the body", with(policy, options(`{"kind": "DeleteOptions", "dryRun": ["All"]}`)...), nil},
		{"kube-system deleted, a trial by the address alone", with(deleted, append(options(`{"kind": "DeleteOptions"}`), set{"/objectRef", object(`{"resource": "namespaces", "name": "kube-system"}`)}, set{"/requestURI", "/api/v1/namespaces/kube-system?dryRun=All"})...), []string{"audit-namespace-deleted high"}},
		{"token, a trial", with(token, set{"/requestURI", "/api/v1/namespaces/kube-system/serviceaccounts/x/token?dryRun=All"}), []string{"audit-sa-token-request high"}},
		{"pod, a trial", with(pod, set{"/requestURI", "/api/v1/namespaces/shop/pods?dryRun=All&dryRun=All"}), nil},

		// Made by server-side apply.
		{"pod applied to kube-system", applied(plain, 201, set{"/objectRef/namespace", "kube-system"}, set{"/objectRef/name", "kube-proxy-x"}), []string{"audit-pod-in-system-namespace high"}},
		{"pod of kube-system applied again", applied(plain, 200, set{"/objectRef/namespace", "kube-system"}, set{"/objectRef/name", "kube-proxy-x"}), nil},
		{"node debugger applied", applied(plain, 201, set{"/objectRef/name", "node-debugger-node-1-x7k2p"}), []string{"audit-debug-node-pod high"}},
		{"certificate request applied", applied(csr, 201), []string{"audit-csr-client-cert high"}},
		{"certificate request applied again", applied(csr, 200), nil},
		{"namespace applied", applied(namespace, 201, set{"/requestObject", object(`{"kind": "Namespace"}`)}), []string{"audit-namespace-created-unapproved low"}},
		{"ingress applied", applied(ingress, 201), []string{"audit-ingress-without-tls low"}},
		{"ingress applied again", applied(ingress, 200), nil},
		{"pod with an account applied", applied(plain, 201, set{"/requestObject/spec/serviceAccountName", "web"}), []string{"audit-pod-chosen-account low"}},
		{"webhook applied", applied(webhook, 201), []string{"audit-admission-webhook-change high"}},
		{"binding made by update", with(binding, set{"/verb", "update"}, set{"/responseStatus/code", 201}), []string{"audit-cluster-admin-binding high"}},

		{"role of metrics-server applied", applied(role, 201, named("system:metrics-server"), allows(`{"verbs": ["get"], "resources": ["nodes/metrics"], "apiGroups": [""]}`)), nil},
		{"role of the system applied", applied(role, 200, named("system:discovery"), allows(`{"verbs": ["get"], "resources": ["nodes/metrics"], "apiGroups": [""]}`)), []string{"audit-system-role-tampered high"}},

		// Who it is.
		{"secrets by the administrator of k3s", with(secrets, as("system:admin", "Mozilla/5.0", "system:masters", "system:authenticated")...), []string{"audit-secrets-enumeration high"}},
		{"secrets by a name of the system with all power", with(secrets, as("system:kube-helper", "x/1", "system:masters")...), []string{"audit-secrets-enumeration high"}},
		{"secrets by the API server", with(secrets, as("system:apiserver", "kube-apiserver/v1.35", "system:masters")...), nil},
		{"secrets by EKS, with any client", with(secrets, as("eks:addon-manager", "Go-http-client/1.1")...), nil},
		{"secrets as the administrator of OpenShift", with(masters, set{"/impersonatedUser", object(`{"username": "system:admin"}`)}, set{"/sourceIPs", []any{"10.77.0.12"}}), []string{"audit-impersonation high"}},
		{"certificate to be of EKS", with(csr, set{"/requestObject/spec/request", request(t, "eks:addon-manager", "x")}), []string{"audit-csr-client-cert high"}},
		{"certificate to be AKS", with(csr, set{"/requestObject/spec/request", request(t, "aksService", "x")}), []string{"audit-csr-client-cert high"}},
		{"certificate of a node by a person", with(csr, signer, ofNode), []string{"audit-csr-client-cert high"}},
		{"certificate of a node by an account", with(csr, append(as(webPod, robot), signer, ofNode)...), []string{"audit-csr-client-cert high"}},
		{"certificate of a node by its bootstrap token", with(csr, append(as("system:bootstrap:abcdef", "kubelet/v1.35", "system:bootstrappers"), signer, ofNode)...), nil},
		{"certificate of a node by a name for it", with(csr, append(as("kubelet-bootstrap", "kubelet/v1.35", "system:bootstrappers"), signer, ofNode)...), nil},
		{"certificate of a node by itself", with(csr, append(as("system:node:node-9", "kubelet/v1.35", "system:nodes"), signer, ofNode)...), nil},

		// The kubelet.
		{"container called metrics", kubelet("/api/v1/nodes/node-1/proxy/run/shop/redis-0/proxy/metrics?cmd=id"), []string{"audit-node-proxy high"}},
		{"shell behind metrics", kubelet("/api/v1/nodes/node-1/proxy/exec/shop/redis-0/metrics?command=id"), []string{"audit-node-proxy high"}},
		{"node with a path in its name", kubelet("/api/v1/nodes/node-1%2Fproxy%2Frun%2Fshop%2Fredis-0/proxy/metrics?cmd=id"), []string{"audit-node-proxy high"}},
		{"shell by an escaped path", kubelet("/api/v1/nodes/node-1/proxy/r%75n/shop/redis-0/redis?cmd=id"), []string{"audit-node-proxy high"}},
		{"shell by a way around", kubelet("/api/v1/nodes/node-1/proxy/stats/./run/shop//../../../run/shop/redis-0/redis?cmd=id"), []string{"audit-node-proxy high", "audit-pentest-useragent high"}},
		{"runtime by an escaped path", kubelet("/api/v1/nodes/node-1/proxy/cr%69/exec/x"), []string{"audit-node-proxy high"}},
		{"port of a node, escaped", kubelet("/api/v1/nodes/node-1%3A10250/proxy/pods"), []string{"audit-node-proxy medium"}},
		{"metrics of a node by port", kubelet("/api/v1/nodes/https:node-1:10250/proxy/metrics/cadvisor"), nil},
		{"statistics of a node", kubelet("/api/v1/nodes/node-1/proxy/stats/summary?only_cpu_and_memory=true"), nil},

		// The host.
		{"units of the host", mounts("/usr/lib/systemd/system", false), []string{"audit-sensitive-hostpath high"}},
		{"plugins of the kubelet", mounts("/usr/libexec/kubernetes", false), []string{"audit-sensitive-hostpath high"}},
		{"libraries of the host", mounts("/lib64", false), []string{"audit-sensitive-hostpath medium"}},
		{"all programs of the host", mounts("/usr", true), []string{"audit-sensitive-hostpath high"}},
		{"systemd's socket", mounts("/var/run/systemd", false), []string{"audit-sensitive-hostpath high"}},
		{"modules of the kernel, to read", mounts("/lib/modules", true), []string{"audit-sensitive-hostpath low"}},
		{"modules of the kernel, to write", mounts("/lib/modules", false), []string{"audit-sensitive-hostpath medium"}},
		{"root of the host behind many paths", with(deployment, set{"/requestObject/spec/template/spec/volumes", object(`[` + strings.Repeat(`{"name": "v", "hostPath": {"path": "/x"}}, `, 5500) + `{"name": "v", "hostPath": {"path": "/"}}]`)}), []string{"audit-sensitive-hostpath high"}},
		{"role that takes in all roles", with(role, set{"/requestObject/rules", nil}, set{"/requestObject/aggregationRule", object(`{"clusterRoleSelectors": [{}]}`)}), []string{"audit-dangerous-role high"}},
		{"role that takes in some roles", with(role, set{"/requestObject/rules", nil}, set{"/requestObject/aggregationRule", object(`{"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}`)}), nil},
		{"all rights but to delete", with(role, allows(`{"verbs": ["get", "create", "patch"], "resources": ["*"], "apiGroups": ["*"]}`)), []string{"audit-dangerous-role high"}},
		{"all rights behind many words", with(role, allows(strings.Repeat(`{"verbs": [`+strings.Repeat(`"x", `, 20000)+`"x"], "resources": ["x"], "apiGroups": ["x"]}, `, 4)+`{"verbs": ["*"], "resources": ["*"], "apiGroups": ["*"]}`)), []string{"audit-dangerous-role high"}},
		{"documents of the host", mounts("/usr/share/doc", true), nil},
		{"something like lib", mounts("/library", false), nil},

		// Power by another name.
		{"chart's role of all power bound", with(binding, bound("argocd-application-controller")...), []string{"audit-cluster-admin-binding medium"}},
		{"controller's role bound", with(binding, bound("system:controller:clusterrole-aggregation-controller")...), []string{"audit-cluster-admin-binding medium"}},
		{"common role of the system bound", with(binding, bound("system:auth-delegator")...), nil},
		{"all verbs one by one", with(role, allows(`{"verbs": ["get", "list", "watch", "create", "update", "patch", "delete"], "apiGroups": ["*"], "resources": ["*/*"]}`)), []string{"audit-dangerous-role high"}},
		{"all to read", with(role, allows(`{"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}`)), nil},
		{"role made and bound", [][]byte{made(t, role, set{"/objectRef/name", "helper"}), made(t, binding, append(bound("helper"), set{"/auditID", "b"})...)}, []string{"audit-dangerous-role high", "audit-powerful-role-bound high"}},
		{"role bound and made", [][]byte{made(t, binding, append(bound("helper"), set{"/stageTimestamp", "2026-11-21T10:00:00.000000Z"})...), made(t, role, set{"/auditID", "b"}, set{"/objectRef/name", "helper"})}, []string{"audit-dangerous-role high", "audit-powerful-role-bound high"}},
		{"role made, another bound", [][]byte{made(t, role, set{"/objectRef/name", "helper"}), made(t, binding, append(bound("view"), set{"/auditID", "b"})...)}, []string{"audit-dangerous-role high"}},
		{"role to read made and bound", [][]byte{made(t, role, set{"/objectRef/name", "reader"}, allows(`{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}`)), made(t, binding, append(bound("reader"), set{"/auditID", "b"})...)}, nil},
		{"role made and bound by a chart", [][]byte{made(t, role, append(as(deployer, "Helm/3.14.4"), set{"/objectRef/name", "helper"})...), made(t, binding, append(append(as(deployer, "Helm/3.14.4"), bound("helper")...), set{"/auditID", "b"})...)}, []string{"audit-dangerous-role high", "audit-powerful-role-bound medium"}},

		// Images of all containers, after a day.
		{"registry of a second container", registries(t, plain, set{"/requestObject/spec/containers/-", object(`{"name": "b", "image": "registry.example.net/x/y:1"}`)}), []string{"audit-untrusted-image-pod medium"}},
		{"registry of an init container", registries(t, plain, set{"/requestObject/spec/initContainers", object(`[{"name": "b", "image": "registry.example.net/x/y:1"}]`)}), []string{"audit-untrusted-image-pod medium"}},
		{"registry known, in a second container", registries(t, plain, set{"/requestObject/spec/containers/-", object(`{"name": "b", "image": "docker.io/library/redis:7"}`)}), nil},
		{"registry of a debug container", registries(t, plain,
			set{"/verb", "patch"}, set{"/objectRef/subresource", "ephemeralcontainers"}, set{"/requestObject", object(`{"spec": {"ephemeralContainers": [{"name": "d", "image": "registry.example.net/x/y:1"}]}}`)}), []string{"audit-ephemeral-container medium", "audit-untrusted-image-pod medium"}},
		{"debug container of the usual registry", registries(t, plain,
			set{"/verb", "patch"}, set{"/objectRef/subresource", "ephemeralcontainers"}, set{"/requestObject", object(`{"spec": {"ephemeralContainers": [{"name": "d", "image": "busybox"}]}}`)}), []string{"audit-ephemeral-container medium"}},

		{"debug container, metadata for an answer", with(ephemeral, set{"/responseObject", object(metadataOnly)}), []string{"audit-body-left-out medium", "audit-ephemeral-container high"}},
	}
}

// registries is a day of pods of one registry, then a request with changes.
func registries(t testing.TB, pod []byte, last ...set) [][]byte {
	t.Helper()
	return times(t, 30, time.Hour, pod, func(i int) []set {
		usual := []set{{"/requestObject/spec/containers/0/image", "docker.io/library/alpine:3.20"}}
		if i == 29 {
			return append(usual, last...)
		}
		return usual
	})
}

// ordinary are what clusters of clouds and operators do all day, beside what they do not.
func ordinary(t testing.TB) []madeCase {
	t.Helper()
	dns := first(t, of("coredns_rewrite"), operator, "patch", "configmaps")
	deployment := made(t, first(t, of("miner_image"), developer, "create", "deployments"), set{"/requestObject/spec/template/spec/containers/0/image", "registry.local/shop/web:1.0"}, set{"/responseObject", nil})
	daemonset := made(t, first(t, benign, operator, "create", "daemonsets"), set{"/responseObject", nil}, set{"/requestObject/spec/template/spec/hostPID", nil}, set{"/requestObject/spec/template/spec/hostNetwork", nil},
		set{"/requestObject/metadata/annotations", nil}, set{"/requestObject/spec/template/spec/volumes", nil}, set{"/requestObject/spec/template/spec/containers/0/securityContext", object(`{"privileged": true}`)})
	pod := made(t, first(t, of("privileged_pod"), developer, "create", "pods"), set{"/responseObject", nil})
	stolen := first(t, of("sa_token_outside"), webPod, "list", "pods")
	secrets := first(t, of("list_all_secrets"), operator, "list", "secrets")

	as := func(line []byte, user, agent string, more ...set) []byte {
		return made(t, line, append([]set{{"/user/username", user}, {"/userAgent", agent}, {"/user/groups", nil}, {"/sourceIPs", []any{"10.77.0.12"}}}, more...)...)
	}
	inKubeSystem := set{"/objectRef/namespace", "kube-system"}
	written := as(daemonset, "system:serviceaccount:gpu:operator", robot, set{"/verb", "update"}, set{"/objectRef/namespace", "gpu"})
	runner := as(pod, "system:serviceaccount:ci:runner", robot)
	numbered := func(i int) []set { return []set{{"/objectRef/name", fmt.Sprint("job-", i)}} }
	from := func(addresses, agents []string) [][]byte {
		return times(t, len(addresses), time.Second, stolen, func(i int) []set {
			return []set{{"/sourceIPs", []any{addresses[i]}}, {"/userAgent", agents[i]}}
		})
	}
	lists := func(last []set) [][]byte {
		return times(t, 10, 24*time.Hour, as(secrets, "system:serviceaccount:operators:cert-manager", robot), func(i int) []set {
			if i == 9 {
				return last
			}
			return nil
		})
	}
	const privileged = "/requestObject/spec/template/spec/containers/0/"

	return []madeCase{
		{"DNS upgraded by EKS", [][]byte{as(dns, "eks:addon-manager", "Go-http-client/1.1"), as(deployment, "eks:addon-manager", "Go-http-client/1.1", inKubeSystem)}, nil},
		{"DNS upgraded by AKS", [][]byte{as(dns, "aksService", "addon-manager/v9"), as(deployment, "aksService", "kubectl/v1.35.0", inKubeSystem)}, nil},
		{"add-on of GKE", one(as(deployment, "system:gke-controller-manager", "gke-controller-manager/v1", inKubeSystem)), nil},
		{"DNS upgraded by somebody who is called like EKS", one(as(dns, "eksadmin", "Go-http-client/1.1")), []string{"audit-coredns-modified high"}},
		{"privileged agent of OpenShift", one(as(daemonset, "system:serviceaccount:openshift-network-operator:cluster-network-operator", robot, set{"/objectRef/namespace", "openshift-multus"})), []string{"audit-privileged-pod low"}},
		{"privileged agent in a namespace like OpenShift's", one(as(daemonset, webPod, robot, set{"/objectRef/namespace", "openshift-new"})), []string{"audit-privileged-pod medium"}},

		{"privileged agent written again and again", times(t, 30, 2*time.Hour, written, nil), []string{"audit-privileged-pod medium"}},
		{"privileged agent upgraded", times(t, 2, 2*time.Hour, written, func(i int) []set { return []set{{privileged + "image", fmt.Sprint("registry.local/gpu/agent:", i)}} }), []string{"audit-privileged-pod medium"}},
		{"privileged agent becomes another", times(t, 2, 2*time.Hour, written, func(i int) []set {
			return []set{{privileged + "image", fmt.Sprintf("registry.local/gpu/agent-%d:1", i)}}
		}), []string{"audit-privileged-pod medium", "audit-privileged-pod medium"}},
		{"privileged agent written by another account", times(t, 2, 2*time.Hour, written, func(i int) []set {
			return []set{{"/user/username", fmt.Sprint("system:serviceaccount:gpu:operator-", i)}}
		}), []string{"audit-privileged-pod medium", "audit-privileged-pod medium"}},
		{"privileged agent refused, then written", times(t, 2, 2*time.Hour, written, func(i int) []set { return [][]set{forbidden("forbidden"), nil}[i] }), []string{"audit-privileged-pod low, refused", "audit-privileged-pod medium"}},

		{"privileged pods of a runner", times(t, 5, time.Minute, runner, numbered), []string{"audit-privileged-pod medium"}},
		{"privileged pods of an owner", times(t, 5, time.Minute, pod, func(i int) []set {
			return append(numbered(i), set{"/requestObject/metadata/ownerReferences", object(`[{"kind": "CloneSet", "name": "agents", "controller": true}]`)})
		}), []string{"audit-privileged-pod high"}},
		{"privileged pods of a beginning", times(t, 5, time.Minute, pod, func(i int) []set { return append(numbered(i), set{"/requestObject/metadata/generateName", "job-"}) }), []string{"audit-privileged-pod high"}},
		{"privileged pods of a person", times(t, 2, time.Minute, pod, numbered), []string{"audit-privileged-pod high", "audit-privileged-pod high"}},
		{"privileged pods of different images by a runner", times(t, 2, time.Minute, runner, func(i int) []set {
			return append(numbered(i), set{"/requestObject/spec/containers/0/image", fmt.Sprint("registry.local/image-", i)})
		}), []string{"audit-privileged-pod medium", "audit-privileged-pod medium"}},

		{"pods behind two gateways", from([]string{"10.244.0.7", "10.244.0.8", "10.244.0.7"}, []string{"web/1", "web/1", "web/1"}), []string{"audit-sa-token-two-places low"}},
		{"pod's token in other hands", from([]string{"10.244.0.7", "10.244.0.7", "10.244.0.8"}, []string{"web/1", "web/1", "other/1"}), []string{"audit-sa-token-two-places high"}},
		{"two programs of a pod", from([]string{"10.244.0.7", "10.244.0.7", "10.244.0.7"}, []string{"web/1", "sidecar/1", "web/1"}), nil},

		{"operator lists secrets after a week", lists(nil), nil},
		{"somebody else lists secrets after a week", lists([]set{{"/user/username", webPod}, {"/userAgent", "OpenAPI-Generator/34.1.0/python"}}), []string{"audit-secrets-first-list medium"}},
		{"somebody else watches secrets after a week", lists([]set{{"/user/username", webPod}, {"/userAgent", "x"}, {"/verb", "watch"}}), []string{"audit-secrets-first-list medium"}},
		{"somebody else lists a namespace's secrets after a week", lists([]set{{"/user/username", webPod}, {"/userAgent", "x"}, {"/objectRef/namespace", "shop"}}), nil},
		{"controller lists secrets after a week", lists([]set{{"/user/username", "system:serviceaccount:kube-system:generic-garbage-collector"}, {"/userAgent", "kube-controller-manager/v1.35"}}), nil},
	}
}

// What a workload asks for is told each time that it is made, and once when it is written again; who does so
// is told apart, and so is what is refused.
func TestWrittenAgain(t *testing.T) {
	rules := auditRules(t)
	daemonset := made(t, first(t, benign, operator, "create", "daemonsets"), set{"/responseObject", nil}, set{"/requestObject/metadata/annotations", nil},
		set{"/requestObject/spec/template/spec/containers/0/securityContext", object(`{"privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}}`)},
		set{"/requestObject/spec/template/spec/containers/0/command", []any{"sh", "-c", "nsenter -t 1 sh"}})
	update, patch := set{"/verb", "update"}, set{"/verb", "patch"}
	for name, test := range map[string]struct {
		change func(i int) []set
		want   int
	}{
		"made":               {func(int) []set { return nil }, 10},
		"updated":            {func(int) []set { return []set{update} }, 1},
		"applied":            {func(int) []set { return []set{patch} }, 1},
		"made, then updated": {func(i int) []set { return [][]set{nil, {update}}[min(i, 1)] }, 1},
		"updated by two":     {func(i int) []set { return []set{update, {"/user/username", fmt.Sprint("operator-", i%2)}} }, 2},
		"refused":            {func(int) []set { return append(forbidden("forbidden"), update) }, 10},
		"refused, then done": {func(i int) []set { return [][]set{append(forbidden("forbidden"), update), {update}}[min(i, 1)] }, 2},
		"updated after weeks": {func(i int) []set {
			return []set{update, {"/requestReceivedTimestamp", fmt.Sprintf("20%d-11-21T19:00:00Z", 26+i)}}
		}, 10},
	} {
		m := auditrule.NewMatcher(rules, auditrule.Limits{}, nil)
		told := make(map[string]int)
		for _, e := range decoded(t, times(t, 10, 2*time.Hour, daemonset, test.change)...) {
			for _, match := range m.Match(e, e.StageTime.AsTime()) {
				told[match.Rule.ID]++
			}
		}
		for _, rule := range []string{"audit-privileged-pod", "audit-sensitive-hostpath", "audit-host-namespace-pod", "audit-dangerous-capabilities", "audit-suspicious-pod-command"} {
			if told[rule] != test.want {
				t.Errorf("%s: %s tells %d times, want %d", name, rule, told[rule], test.want)
			}
		}
	}
}
