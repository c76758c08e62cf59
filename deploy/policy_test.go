package deploy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/testkube"
)

// request is one of a class, and how much of it is to be recorded.
type request struct {
	name   string
	user   string // of clients below
	method string
	path   string
	body   string
	// want is the level, and the stages if they are others than ResponseComplete; empty: nothing.
	want string
	code int // 0: any that succeeds
}

const (
	pod        = `{"metadata":{"name":"%s","labels":{"team":"harbour"}},"spec":{"nodeName":"node-1","containers":[{"name":"main","image":"registry.test/main:1","env":[{"name":"LEVEL","value":"debug"}]}]}}`
	deployment = `{"metadata":{"name":"web"},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"main","image":"registry.test/main:1"}]}}}}`
	replicaSet = `{"metadata":{"name":"web-1"},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"main","image":"registry.test/main:1"}]}}}}`
	hook       = `{"metadata":{"name":"hook"},"webhooks":[{"name":"a.hook.test","sideEffects":"None","admissionReviewVersions":["v1"],"failurePolicy":"Ignore","clientConfig":{"url":"https://127.0.0.1:1/"},"rules":[{"operations":["CREATE"],"apiGroups":["none.test"],"apiVersions":["v1"],"resources":["none"]}]}]}`
	event      = `{"metadata":{"name":"e.1"},"involvedObject":{"kind":"Pod","namespace":"shop","name":"web"},"reason":"Tested","type":"Normal"}`
	labels     = `{"metadata":{"labels":{"seen":"yes"}}}`
	replaced   = `[{"op":"add","path":"/metadata/labels","value":{"seen":"twice"}}]`
)

// requests are all classes that the policy tells apart; each builds on those before it.
var requests = []request{
	{name: "namespace", user: "alice", method: "POST", path: "/api/v1/namespaces", body: `{"metadata":{"name":"shop"}}`, want: "Request"},
	{name: "weaker namespace", user: "alice", method: "PATCH", path: "/api/v1/namespaces/shop", body: `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"privileged"}}}`, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "service account", user: "alice", method: "POST", path: "/api/v1/namespaces/shop/serviceaccounts", body: `{"metadata":{"name":"default"}}`, want: "Metadata"},
	{name: "probe of a balancer", user: "nobody", method: "GET", path: "/livez", want: ""},
	{name: "probe by somebody", user: "alice", method: "GET", path: "/readyz", want: "Metadata"},
	{name: "wrong token at a probe", user: "guesser", method: "GET", path: "/healthz", want: "Metadata ResponseStarted", code: 401},
	{name: "wrong token", user: "guesser", method: "GET", path: "/api/v1/secrets", want: "Metadata ResponseStarted", code: 401},
	{name: "nobody looks around", user: "nobody", method: "GET", path: "/api/v1/secrets", want: "Metadata", code: 403},
	{name: "nobody asks for the version", user: "nobody", method: "GET", path: "/version", want: "Metadata"},
	{name: "secret", user: "alice", method: "POST", path: "/api/v1/namespaces/shop/secrets", body: `{"metadata":{"name":"key"},"stringData":{"a":"hidden-value"}}`, want: "Metadata"},
	{name: "secret read", user: "alice", method: "GET", path: "/api/v1/namespaces/shop/secrets/key", want: "Metadata"},
	{name: "secret changed", user: "alice", method: "PATCH", path: "/api/v1/namespaces/shop/secrets/key", body: `{"stringData":{"a":"hidden-value"}}`, want: "Metadata"},
	{name: "all secrets", user: "controller-manager", method: "GET", path: "/api/v1/secrets", want: "Metadata"},
	{name: "secrets watched", user: "controller-manager", method: "GET", path: "/api/v1/secrets?watch=true&timeoutSeconds=1", want: "Metadata ResponseStarted"},
	{name: "token", user: "alice", method: "POST", path: "/api/v1/namespaces/shop/serviceaccounts/default/token", body: `{"spec":{"expirationSeconds":3600}}`, want: "Metadata"},
	{name: "token shown", user: "alice", method: "POST", path: "/apis/authentication.k8s.io/v1/tokenreviews", body: `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"hidden-value"}}`, want: "Metadata"},
	{name: "pod", user: "alice", method: "POST", path: "/api/v1/namespaces/shop/pods", body: fmt.Sprintf(pod, "web"), want: "RequestResponse"},
	{name: "pod by a controller", user: "replicasets", method: "POST", path: "/api/v1/namespaces/shop/pods", body: strings.Replace(fmt.Sprintf(pod, "web-"), `"name":"web-"`, `"generateName":"web-"`, 1), want: "RequestResponse"},
	{name: "pod read", user: "alice", method: "GET", path: "/api/v1/namespaces/shop/pods/web", want: "Metadata"},
	{name: "pod status", user: "node", method: "PATCH", path: "/api/v1/namespaces/shop/pods/web/status", body: `{"status":{"phase":"Running"}}`, want: ""},
	{name: "pod status by somebody", user: "alice", method: "PATCH", path: "/api/v1/namespaces/shop/pods/web/status", body: `{"status":{"phase":"Running"}}`, want: "Metadata"},
	{name: "debug", user: "alice", method: "PATCH", path: "/api/v1/namespaces/shop/pods/web/ephemeralcontainers", body: `{"spec":{"ephemeralContainers":[{"name":"debug","image":"registry.test/debug:1","securityContext":{"privileged":true}}]}}`, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "exec", user: "alice", method: "EXEC", path: "/api/v1/namespaces/shop/pods/web/exec?command=id&stdout=true", want: "Metadata ResponseStarted ResponseComplete", code: 101},
	{name: "exec by a part of the cluster", user: "controller-manager", method: "EXEC", path: "/api/v1/namespaces/shop/pods/web/exec?command=id&stdout=true", want: "Metadata ResponseStarted ResponseComplete", code: 101},
	{name: "attach", user: "alice", method: "EXEC", path: "/api/v1/namespaces/shop/pods/web/attach?stdout=true", want: "Metadata ResponseStarted ResponseComplete", code: 101},
	{name: "port-forward", user: "alice", method: "EXEC", path: "/api/v1/namespaces/shop/pods/web/portforward", want: "Metadata ResponseStarted ResponseComplete", code: 101},
	{name: "exec refused", user: "mallory", method: "EXEC", path: "/api/v1/namespaces/shop/pods/web/exec?command=id&stdout=true", want: "Metadata ResponseStarted ResponseComplete", code: 403},
	{name: "kubelet", user: "alice", method: "GET", path: "/api/v1/nodes/node-1/proxy/pods", want: "Metadata ResponseStarted ResponseComplete", code: 400},
	{name: "heartbeat", user: "node", method: "PATCH", path: "/api/v1/nodes/node-1/status", body: `{"status":{"phase":"Running"}}`, want: ""},
	{name: "node's pods", user: "node", method: "GET", path: "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1", want: ""},
	{name: "node looks at secrets", user: "node", method: "GET", path: "/api/v1/secrets", want: "Metadata", code: 403},
	{name: "node looks around", user: "node", method: "GET", path: "/apis/rbac.authorization.k8s.io/v1/clusterroles", want: "Metadata", code: 403},
	{name: "node label", user: "alice", method: "PATCH", path: "/api/v1/nodes/node-1", body: labels, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "deployment", user: "alice", method: "POST", path: "/apis/apps/v1/namespaces/shop/deployments", body: deployment, want: "Request"},
	{name: "deployment changed", user: "alice", method: "PATCH", path: "/apis/apps/v1/namespaces/shop/deployments/web", body: labels, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "deployment changed by a JSON patch", user: "alice", method: "PATCH", path: "/apis/apps/v1/namespaces/shop/deployments/web", body: replaced, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "deployment status", user: "deployments", method: "PATCH", path: "/apis/apps/v1/namespaces/shop/deployments/web/status", body: labels, want: ""},
	{name: "replica set by its controller", user: "deployments", method: "POST", path: "/apis/apps/v1/namespaces/shop/replicasets", body: replicaSet, want: "Metadata"},
	{name: "replica set by somebody", user: "alice", method: "PATCH", path: "/apis/apps/v1/namespaces/shop/replicasets/web-1", body: labels, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "role", user: "alice", method: "POST", path: "/apis/rbac.authorization.k8s.io/v1/clusterroles", body: `{"metadata":{"name":"all"},"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`, want: "Request"},
	{name: "role changed", user: "alice", method: "PATCH", path: "/apis/rbac.authorization.k8s.io/v1/clusterroles/all", body: `[{"op":"add","path":"/rules/0/verbs/-","value":"escalate"}]`, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "role gone", user: "alice", method: "DELETE", path: "/apis/rbac.authorization.k8s.io/v1/clusterroles/all", want: "Metadata"},
	{name: "service", user: "alice", method: "POST", path: "/api/v1/namespaces/shop/services", body: `{"metadata":{"name":"web"},"spec":{"type":"LoadBalancer","ports":[{"port":80}],"externalIPs":["192.0.2.1"]}}`, want: "Request"},
	{name: "service status", user: "alice", method: "PATCH", path: "/api/v1/namespaces/shop/services/web/status", body: `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.2"}]}}}`, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "ingress", user: "alice", method: "POST", path: "/apis/networking.k8s.io/v1/namespaces/shop/ingresses", body: `{"metadata":{"name":"web"},"spec":{"defaultBackend":{"service":{"name":"web","port":{"number":80}}}}}`, want: "Request"},
	{name: "network policy gone", user: "alice", method: "DELETE", path: "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/none", want: "Metadata", code: 404},
	{name: "network policy changed", user: "alice", method: "PATCH", path: "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/none", body: labels, want: "RequestResponse RequestReceived ResponseComplete", code: 404},
	{name: "host's folder as a volume", user: "alice", method: "POST", path: "/api/v1/persistentvolumes", body: `{"metadata":{"name":"root"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"hostPath":{"path":"/"}}}`, want: "Request"},
	{name: "volume changed", user: "alice", method: "PATCH", path: "/api/v1/persistentvolumes/root", body: labels, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "volume status", user: "controller-manager", method: "PATCH", path: "/api/v1/persistentvolumes/root/status", body: `{"status":{"phase":"Available"}}`, want: ""},
	{name: "pod template", user: "alice", method: "POST", path: "/api/v1/namespaces/shop/podtemplates", body: `{"metadata":{"name":"web"},"template":{"spec":{"containers":[{"name":"main","image":"registry.test/main:1"}]}}}`, want: "Request"},
	{name: "webhook", user: "alice", method: "POST", path: "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", body: hook, want: "Request"},
	{name: "api service", user: "alice", method: "POST", path: "/apis/apiregistration.k8s.io/v1/apiservices", body: `{"metadata":{"name":"v1.none.test"},"spec":{"group":"none.test","version":"v1","groupPriorityMinimum":1,"versionPriority":1,"insecureSkipTLSVerify":true,"service":{"namespace":"shop","name":"web"}}}`, want: "Request"},
	{name: "DNS", user: "alice", method: "POST", path: "/api/v1/namespaces/kube-system/configmaps", body: `{"metadata":{"name":"coredns"},"data":{"Corefile":"."}}`, want: "Request"},
	{name: "DNS changed", user: "alice", method: "PATCH", path: "/api/v1/namespaces/kube-system/configmaps/coredns", body: `{"data":{"Corefile":".:53"}}`, want: "RequestResponse RequestReceived ResponseComplete"},
	{name: "another configuration", user: "alice", method: "POST", path: "/api/v1/namespaces/shop/configmaps", body: `{"metadata":{"name":"web"},"data":{"a":"hidden-value"}}`, want: "Metadata"},
	{name: "autoscaler's word", user: "alice", method: "PATCH", path: "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status", body: labels, want: "", code: 404},
	{name: "election", user: "alice", method: "POST", path: "/apis/coordination.k8s.io/v1/namespaces/shop/leases", body: `{"metadata":{"name":"leader"}}`, want: ""},
	{name: "election gone", user: "alice", method: "DELETE", path: "/apis/coordination.k8s.io/v1/namespaces/shop/leases/leader", want: "Metadata"},
	{name: "event", user: "alice", method: "POST", path: "/api/v1/namespaces/shop/events", body: event, want: ""},
	{name: "event gone", user: "alice", method: "DELETE", path: "/api/v1/namespaces/shop/events/e.1", want: "Metadata"},
	{name: "all events gone", user: "alice", method: "DELETE", path: "/apis/events.k8s.io/v1/namespaces/shop/events", want: "Metadata"},
	{name: "what may I", user: "mallory", method: "POST", path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body: `{"spec":{"resourceAttributes":{"verb":"*","resource":"*"}}}`, want: "Request"},
	{name: "watch", user: "alice", method: "GET", path: "/api/v1/pods?watch=true&timeoutSeconds=1", want: "Metadata ResponseStarted"},
	{name: "watch refused", user: "mallory", method: "GET", path: "/api/v1/pods?watch=true&timeoutSeconds=1", want: "Metadata ResponseStarted", code: 403},
	{name: "cluster's own part reads", user: "controller-manager", method: "GET", path: "/api/v1/pods", want: ""},
	{name: "pod gone", user: "alice", method: "DELETE", path: "/api/v1/namespaces/shop/pods/web?gracePeriodSeconds=0", want: "Metadata"},
}

// Every class of requests is recorded at its level by a real API server, in the stages that
// matter, and no Secret is.
func TestKubeAuditPolicy(t *testing.T) {
	policy, log := filepath.Join(t.TempDir(), "policy"), filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(policy, AuditPolicy, 0o600); err != nil {
		t.Fatal(err)
	}
	webhook := newReceiver(t)
	options := testkube.Options{Policy: policy, Log: log, Webhook: webhook.webhook, Flags: slices.Concat(oneBatch, truncating)}
	c := testkube.Start(t, options)
	kubelet := c.Node(t, "node-1")
	masters := []string{"system:masters"}
	clients := map[string]*testkube.Client{
		"alice":   c.Client(t, testkube.User{Name: "alice", Groups: masters}),
		"mallory": c.Client(t, testkube.User{Name: "mallory"}),
		"nobody":  c.Bearer(t, ""), "guesser": c.Bearer(t, "wrong"),
		"node":               c.Client(t, testkube.User{Name: "system:node:node-1", Groups: []string{"system:nodes"}}),
		"controller-manager": c.Client(t, testkube.User{Name: "system:kube-controller-manager", Groups: masters}),
		"deployments":        c.Client(t, testkube.User{Name: "system:serviceaccount:kube-system:deployment-controller", Groups: append(masters, "system:serviceaccounts:kube-system")}),
		"replicasets":        c.Client(t, testkube.User{Name: "system:serviceaccount:kube-system:replicaset-controller", Groups: append(masters, "system:serviceaccounts:kube-system")}),
	}
	for n, r := range requests {
		id, client := fmt.Sprintf("case-%03d", n), clients[r.user]
		var code int
		var answer []byte
		if r.method == "EXEC" {
			got, stream := client.Exec(t, r.path, "Audit-ID", id)
			code = got
			stream.Close()
		} else {
			more := []string{"Audit-ID", id}
			if strings.HasPrefix(r.body, "[") {
				more = append(more, "Content-Type", "application/json-patch+json")
			}
			code, answer = client.Do(t, r.method, r.path, r.body, more...)
		}
		if r.code == 0 && code/100 != 2 || r.code != 0 && code != r.code {
			t.Errorf("%s: %d: %s", r.name, code, answer)
		}
	}
	enter(t, clients["alice"], kubelet)
	try(t, c, clients["alice"], "trick")
	awaitHeartbeat(t, log)
	c.Stop(t)
	recorded, text := readLog(t, log)
	tried(t, "trick", recorded, webhook.events())
	entered(t, text)
	for n, r := range requests {
		events := recorded[fmt.Sprintf("case-%03d", n)]
		if got, want := summary(events), r.want; got != want && got != strings.TrimSpace(want+" ResponseComplete") {
			t.Errorf("%s: recorded %q, want %q", r.name, got, want)
		}
		for _, e := range events {
			checkBodies(t, r, e)
		}
	}
	if strings.Contains(text, "hidden-value") || strings.Contains(text, "managedFields") {
		t.Error("the log has what it must not have")
	}
	losesAll(t, c, options, webhook)
}

// awaitHeartbeat waits until the API server has recorded that it renewed its own lease.
func awaitHeartbeat(t *testing.T, log string) {
	t.Helper()
	const every = 10 * time.Second // of the renewals
	for end := time.Now().Add(3 * every); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, text := readLog(t, log); strings.Contains(text, `/namespaces/kube-system/leases/apiserver-`) {
			return
		}
	}
	t.Error("the API server has no heartbeat")
}

// recorded is what is read of an audit event.
type recordedEvent struct {
	AuditID, Stage, Level, Verb, RequestURI string
	ResponseStatus                          struct {
		Code    int
		Message string
	}
	RequestObject, ResponseObject json.RawMessage
	Annotations                   map[string]string
}

// checkBodies has bodies where the level promises them.
func checkBodies(t *testing.T, r request, e recordedEvent) {
	t.Helper()
	if e.Stage != "ResponseComplete" {
		return
	}
	if got, want := e.RequestObject != nil, e.Level != "Metadata"; got != want {
		t.Errorf("%s: has what was sent: %v at level %s", r.name, got, e.Level)
	}
	if got, want := e.ResponseObject != nil, e.Level == "RequestResponse"; got != want {
		t.Errorf("%s: has what was answered: %v at level %s", r.name, got, e.Level)
	}
}

// summary is the level of events and their stages; ResponseComplete alone goes without
// saying only in what is wanted.
func summary(events []recordedEvent) string {
	if len(events) == 0 {
		return ""
	}
	stages := make([]string, len(events))
	for i, e := range events {
		stages[i] = e.Stage
		if e.Level != events[0].Level {
			return "several levels"
		}
	}
	order := []string{"RequestReceived", "ResponseStarted", "ResponseComplete"}
	slices.SortFunc(stages, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	return events[0].Level + " " + strings.Join(stages, " ")
}

func readLog(t *testing.T, path string) (byID map[string][]recordedEvent, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	byID = map[string][]recordedEvent{}
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	lines.Buffer(nil, 32<<20)
	for lines.Scan() {
		var e recordedEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			break // half a line: it is being written
		}
		byID[e.AuditID] = append(byID[e.AuditID], e)
	}
	return byID, string(data)
}
