package deploy

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/seawall-security/seawall/internal/testkube"
)

const (
	wanted = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s"},"spec":{"hostPID":true,"containers":[{"name":"main","image":"registry.test/main:1","args":["%s"]}]}}`
	asYAML = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  hostPID: true\n  containers: [{name: main, image: registry.test/main:1}]\n"

	partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	table   = "application/json;as=Table;g=meta.k8s.io;v=v1"
	apply   = "application/apply-patch+yaml"

	settings = shop + "/configmaps"
)

// trick is a request by which somebody could hope to be overlooked, and what is recorded
// of it. What happens is what counts: the API server's answer, and what is there afterwards.
type trick struct {
	name, method, path, body string
	headers                  []string
	code                     int
	// there says that what path names is there afterwards; gone, that it is not.
	there, gone string
	// want is the level and the stages that the log and the webhook have; cut: without bodies,
	// which were too large.
	want string
	verb string
	// asked and answered are kinds of the bodies in the last stage; patches have none.
	asked, answered string
	// has is in the bodies, hasNot is in none.
	has, hasNot string
}

// tricks build on each other.
var tricks = []trick{
	// The answer that the client wishes for is the one that is recorded; what he sent is there.
	{name: "pod, metadata for an answer", method: "POST", path: shop + "/pods", body: fmt.Sprintf(wanted, "partial", "a"), headers: []string{"Accept", partial}, code: 201,
		want: "RequestResponse ResponseComplete", verb: "create", asked: "Pod", answered: "PartialObjectMetadata", has: `"hostPID":true`},
	{name: "pod, a table for an answer", method: "POST", path: shop + "/pods", body: fmt.Sprintf(wanted, "table", "a"), headers: []string{"Accept", table}, code: 201,
		want: "RequestResponse ResponseComplete", verb: "create", asked: "Pod", answered: "Table", has: `"hostPID":true`},
	{name: "binding by server-side apply, metadata for an answer", method: "PATCH", path: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/one?fieldManager=me",
		body:    `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"one"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"eve"}]}`,
		headers: []string{"Content-Type", apply, "Accept", partial}, code: 201,
		want: "RequestResponse RequestReceived ResponseComplete", verb: "patch", asked: "ClusterRoleBinding", answered: "PartialObjectMetadata", has: `"eve"`},
	{name: "binding by JSON patch, metadata for an answer", method: "PATCH", path: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/one",
		body:    `[{"op":"add","path":"/subjects/-","value":{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"mallory"}}]`,
		headers: []string{"Content-Type", "application/json-patch+json", "Accept", partial}, code: 200,
		want: "RequestResponse RequestReceived ResponseComplete", verb: "patch", answered: "PartialObjectMetadata", has: `"mallory"`, hasNot: `"eve"`},

	// Server-side apply makes things by the verb patch; only the code tells.
	{name: "pod by server-side apply", method: "PATCH", path: shop + "/pods/applied?fieldManager=me", body: fmt.Sprintf(wanted, "applied", "a"), headers: []string{"Content-Type", apply}, code: 201,
		want: "RequestResponse RequestReceived ResponseComplete", verb: "patch", asked: "Pod", answered: "Pod", has: `"hostPID":true`},
	{name: "the same again", method: "PATCH", path: shop + "/pods/applied?fieldManager=me", body: fmt.Sprintf(wanted, "applied", "a"), headers: []string{"Content-Type", apply}, code: 200,
		want: "RequestResponse RequestReceived ResponseComplete", verb: "patch", asked: "Pod", answered: "Pod"},

	// What is sent as a patch is written as if it were JSON; if it is none, the event cannot be written.
	{name: "pod by server-side apply in YAML", method: "PATCH", path: shop + "/pods/unseen?fieldManager=me", body: fmt.Sprintf(asYAML, "unseen"), headers: []string{"Content-Type", apply}, code: 201,
		there: shop + "/pods/unseen", want: "RequestResponse RequestReceived", verb: "patch"},
	{name: "settings by server-side apply in YAML, at Metadata", method: "PATCH", path: settings + "/applied?fieldManager=me", body: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\n", headers: []string{"Content-Type", apply}, code: 201,
		want: "Metadata ResponseComplete", verb: "patch"},
	{name: "rubbish for a patch of nothing", method: "PATCH", path: shop + "/pods/none", body: "rubbish", code: 404, want: "RequestResponse RequestReceived", verb: "patch"},
	{name: "no patch at all", method: "PATCH", path: shop + "/pods/applied", code: 400, want: "RequestResponse RequestReceived", verb: "patch"},
	{name: "pod in YAML", method: "POST", path: shop + "/pods", body: fmt.Sprintf(asYAML, "plain"), headers: []string{"Content-Type", "application/yaml"}, code: 201,
		want: "RequestResponse ResponseComplete", verb: "create", asked: "Pod", answered: "Pod", has: `"hostPID":true`},

	// Whoever deletes says in the body whether he means it; the address counts if there is none.
	{name: "one", method: "POST", path: settings, body: `{"metadata":{"name":"one","labels":{"all":"yes"}}}`, code: 201, want: "Metadata ResponseComplete", verb: "create"},
	{name: "deleted as a trial", method: "DELETE", path: settings + "/one?dryRun=All", code: 200, there: settings + "/one", want: "Metadata ResponseComplete", verb: "delete"},
	{name: "all deleted as a trial", method: "DELETE", path: settings + "?dryRun=All&labelSelector=all", code: 200, there: settings + "/one", want: "Metadata ResponseComplete", verb: "deletecollection"},
	{name: "deleted as a trial by the body", method: "DELETE", path: settings + "/one", body: `{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}`, code: 200, there: settings + "/one", want: "Metadata ResponseComplete", verb: "delete"},
	{name: "deleted, a trial by the address alone", method: "DELETE", path: settings + "/one?dryRun=All", body: "{}", code: 200, gone: settings + "/one", want: "Metadata ResponseComplete", verb: "delete"},
	{name: "two", method: "POST", path: settings, body: `{"metadata":{"name":"two","labels":{"all":"yes"}}}`, code: 201, want: "Metadata ResponseComplete", verb: "create"},
	{name: "all deleted, a trial by the address alone", method: "DELETE", path: settings + "?dryRun=All&labelSelector=all", body: `{"kind":"DeleteOptions","apiVersion":"v1"}`, code: 200, gone: settings + "/two", want: "Metadata ResponseComplete", verb: "deletecollection"},
	{name: "network policy deleted, a trial by the address alone", method: "DELETE", path: "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies?dryRun=All", body: "{}", code: 200, want: "Metadata ResponseComplete", verb: "deletecollection"},
	{name: "trial that is none", method: "POST", path: settings + "?dryRun=all", body: `{"metadata":{"name":"three"}}`, code: 422, gone: settings + "/three", want: "Metadata ResponseComplete", verb: "create"},
	{name: "eviction as a trial by the address alone", method: "POST", path: shop + "/pods/applied/eviction?dryRun=All", body: `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"applied"}}`, code: 201, there: shop + "/pods/applied", want: "Metadata ResponseComplete", verb: "create"},

	// What is too large comes without bodies.
	{name: "pod with 400 KB of arguments", method: "POST", path: shop + "/pods", body: fmt.Sprintf(wanted, "padded", strings.Repeat("p", 400<<10)), code: 201,
		want: "RequestResponse ResponseComplete", verb: "create", asked: "Pod", answered: "Pod", has: `"hostPID":true`},
	{name: "pod with 1.3 MB of what JSON writes in six letters", method: "POST", path: shop + "/pods", body: fmt.Sprintf(wanted, "cut", strings.Repeat("<", 1300<<10)), code: 201,
		want: "RequestResponse ResponseComplete, cut", verb: "create"},
	// What is left when bodies are gone has to fit, or the event is dropped: an address and a
	// name for the request may have 1 MB together, six times that in JSON.
	{name: "address of 1 MB", method: "GET", path: "/api/v1/secrets?x=" + strings.Repeat("<", 1020_000), code: 200, want: "Metadata ResponseComplete", verb: "list"},
	{name: "secret", method: "GET", path: shop + "/secrets/key", code: 200, want: "Metadata ResponseComplete", verb: "get"},
}

// try sends all tricks, and checks what comes of them at once. The audit ids have a prefix.
func try(t *testing.T, c *testkube.Cluster, client *testkube.Client, prefix string) {
	t.Helper()
	for i, trick := range tricks {
		code, answer := client.Do(t, trick.method, trick.path, trick.body, append(trick.headers, "Audit-ID", fmt.Sprintf("%s-%02d", prefix, i))...)
		if code != trick.code {
			t.Errorf("%s: %d, want %d: %.300s", trick.name, code, trick.code, answer)
		}
		for path, want := range map[string]int{trick.there: 200, trick.gone: 404} {
			if path == "" {
				continue
			}
			if code, _ := client.Do(t, "GET", path, ""); code != want {
				t.Errorf("%s: %s is answered with %d, want %d", trick.name, path, code, want)
			}
		}
	}
	// A trial is none where a token is made.
	var made struct{ Status struct{ Token string } }
	if err := json.Unmarshal(client.Must(t, "POST", shop+"/serviceaccounts/default/token?dryRun=All", `{"spec":{"expirationSeconds":600}}`), &made); err != nil {
		t.Fatal(err)
	}
	if code, answer := c.Bearer(t, made.Status.Token).Do(t, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`); code != 201 || !strings.Contains(string(answer), "system:serviceaccount:shop:default") {
		t.Errorf("who shows a token that was a trial is answered with %d: %s", code, answer)
	}
	// The client's name for a request is taken as it is.
	code, stream := client.Exec(t, shop+"/pods/two/exec?command=id&container=app", "Audit-ID", longID)
	stream.Close()
	if code != 101 {
		t.Errorf("exec with a long audit id: %d", code)
	}
}

// longID is nearly as long as a header may be.
var longID = strings.Repeat("<", 1020_000)

// tried checks what is recorded of the tricks.
func tried(t *testing.T, prefix string, log, webhook map[string][]recordedEvent) {
	t.Helper()
	for i, trick := range tricks {
		id := fmt.Sprintf("%s-%02d", prefix, i)
		for name, events := range map[string][]recordedEvent{"log": log[id], "webhook": webhook[id]} {
			got := summary(events)
			if len(events) > 0 && events[0].Annotations["audit.k8s.io/truncated"] == "true" {
				got += ", cut"
			}
			if got != trick.want {
				t.Errorf("%s: the %s has %q, want %q", trick.name, name, got, trick.want)
			}
			for _, e := range events {
				trick.check(t, e)
			}
		}
	}
	for name, events := range map[string]map[string][]recordedEvent{"log": log, "webhook": webhook} {
		if got, want := summary(events[longID]), "Metadata ResponseStarted ResponseComplete"; got != want {
			t.Errorf("exec with a long audit id: the %s has %q, want %q", name, got, want)
		}
	}
}

func (k trick) check(t *testing.T, e recordedEvent) {
	t.Helper()
	if e.Verb != k.verb || e.RequestURI != k.path {
		t.Errorf("%s: recorded as %s %.100s", k.name, e.Verb, e.RequestURI)
	}
	if e.Stage == "RequestReceived" {
		if e.RequestObject != nil || e.ResponseStatus.Code != 0 {
			t.Errorf("%s: has a body or a code as it comes: %d %s", k.name, e.ResponseStatus.Code, e.RequestObject)
		}
		return
	}
	if e.ResponseStatus.Code != k.code {
		t.Errorf("%s: recorded with code %d, want %d", k.name, e.ResponseStatus.Code, k.code)
	}
	if asked, answered := kindOf(e.RequestObject), kindOf(e.ResponseObject); asked != k.asked || answered != k.answered {
		t.Errorf("%s: asked %q and answered %q, want %q and %q", k.name, asked, answered, k.asked, k.answered)
	}
	bodies := string(e.RequestObject) + string(e.ResponseObject)
	if !strings.Contains(bodies, k.has) || k.hasNot != "" && strings.Contains(bodies, k.hasNot) {
		t.Errorf("%s: the bodies lack %q or have %q", k.name, k.has, k.hasNot)
	}
}

// kindOf is the kind of an object; of what is none, empty.
func kindOf(body json.RawMessage) string {
	var object struct{ Kind string }
	_ = json.Unmarshal(body, &object) // a list of changes
	return object.Kind
}

// losesAll shows why a webhook is to have truncating: without it, one patch that is no JSON
// takes all events with it that would have been sent together with its own.
func losesAll(t *testing.T, c *testkube.Cluster, o testkube.Options, webhook *receiver) {
	t.Helper()
	o.Flags, o.Log = oneBatch, o.Log+".2"
	c.Serve(t, o)
	mallory := c.Client(t, testkube.User{Name: "mallory"})
	alice := c.Client(t, testkube.User{Name: "alice", Groups: []string{"system:masters"}})
	alice.Must(t, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles", `{"metadata":{"name":"patcher"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["patch"],"resourceNames":["none"]}]}`)
	alice.Must(t, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings", `{"metadata":{"name":"patcher"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"patcher"},"subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"mallory"}]}`)
	if code, _ := mallory.Do(t, "PATCH", shop+"/pods/none", "rubbish", "Audit-ID", "rubbish"); code != 404 {
		t.Fatalf("a patch of a pod that is not there: %d", code)
	}
	c.Stop(t)
	logged, _ := readLog(t, o.Log)
	if got := summary(logged["rubbish"]); got != "RequestResponse RequestReceived" {
		t.Errorf("the log has %q of a patch that is no JSON", got)
	}
	if got := webhook.events(); len(logged) < 10 || len(got) > 0 {
		t.Errorf("of %d requests in the log the webhook has %d, without truncating", len(logged), len(got))
	}
}
