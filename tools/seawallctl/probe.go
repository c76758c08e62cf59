package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	"github.com/seawall-security/seawall/tools/seawallctl/apiserver"
)

// probeMark begins what the collector looks for in the address of a request.
const probeMark = "seawall-verify-"

// probe is a harmless request that stands for a class of them: it asks for something that
// does not exist, or says that it is only a trial.
type probe struct {
	name string
	// finds is what goes unseen without it.
	finds string
	// request has NAME and NAMESPACE where these belong.
	request apiserver.Request
	// resource is what the request is for, as rules write it.
	resource string
	// want is the least level that is enough; most is the highest that keeps secrets out of
	// the log; 0: any.
	want, most auditv1.Level
	// started says that it matters when the request begins, not only when it ends.
	started bool
}

const (
	trial     = "?dryRun=All&fieldManager=NAME"
	trialPod  = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"NAME"},"spec":{"automountServiceAccountToken":false,"containers":[{"name":"main","image":"seawall.invalid/verify"}]}}`
	trialNone = `{"metadata":{"name":"NAME"}}`
	trialWeb  = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"NAME"},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"NAME"}},"template":{"metadata":{"labels":{"app":"NAME"}},"spec":{"automountServiceAccountToken":false,"containers":[{"name":"main","image":"seawall.invalid/verify"}]}}}}`
	nothing   = `{}`
	inThe     = "/api/v1/namespaces/NAMESPACE"
	mayI      = `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"get","resource":"pods","name":"NAME"}}}`
	whatMayBe = `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":600}}`
)

// probes are all classes that rules and joins look at and policies tell apart.
var probes = []probe{
	{"exec", "who got into a container", apiserver.Request{Method: http.MethodGet, Path: inThe + "/pods/NAME/exec?command=true&stdout=true"}, "pods/exec", auditv1.Level_LEVEL_METADATA, 0, true},
	{"attach", "who got into a container", apiserver.Request{Method: http.MethodGet, Path: inThe + "/pods/NAME/attach?stdout=true"}, "pods/attach", auditv1.Level_LEVEL_METADATA, 0, true},
	{"port-forward", "who reached a container's ports", apiserver.Request{Method: http.MethodGet, Path: inThe + "/pods/NAME/portforward"}, "pods/portforward", auditv1.Level_LEVEL_METADATA, 0, true},
	{"debug", "containers put into pods", apiserver.Request{Method: http.MethodPatch, Path: inThe + "/pods/NAME/ephemeralcontainers" + trial, Body: nothing}, "pods/ephemeralcontainers", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"pod", "what pods are allowed to do", apiserver.Request{Method: http.MethodPost, Path: inThe + "/pods" + trial, Body: trialPod}, "pods", auditv1.Level_LEVEL_REQUEST_RESPONSE, 0, false},
	{"workload", "what workloads make pods do", apiserver.Request{Method: http.MethodPost, Path: "/apis/apps/v1/namespaces/NAMESPACE/deployments" + trial, Body: trialWeb}, "deployments.apps", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"cron job", "what runs again and again", apiserver.Request{Method: http.MethodPost, Path: "/apis/batch/v1/namespaces/NAMESPACE/cronjobs" + trial, Body: trialNone}, "cronjobs.batch", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"pod template", "what pods may be made of", apiserver.Request{Method: http.MethodPost, Path: inThe + "/podtemplates" + trial, Body: trialNone}, "podtemplates", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"volume", "folders of hosts as volumes", apiserver.Request{Method: http.MethodPost, Path: "/api/v1/persistentvolumes" + trial, Body: trialNone}, "persistentvolumes", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"changed workload", "what workloads are changed to", apiserver.Request{Method: http.MethodPatch, Path: "/apis/apps/v1/namespaces/NAMESPACE/daemonsets/NAME" + trial, Body: nothing}, "daemonsets.apps", auditv1.Level_LEVEL_REQUEST_RESPONSE, 0, false},
	{"rights", "who gives rights to whom", apiserver.Request{Method: http.MethodPatch, Path: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/NAME" + trial, Body: nothing}, "clusterrolebindings.rbac.authorization.k8s.io", auditv1.Level_LEVEL_REQUEST_RESPONSE, 0, false},
	{"role", "what rights there are", apiserver.Request{Method: http.MethodPost, Path: "/apis/rbac.authorization.k8s.io/v1/clusterroles" + trial, Body: trialNone}, "clusterroles.rbac.authorization.k8s.io", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"certificate", "who wants to be somebody else", apiserver.Request{Method: http.MethodPost, Path: "/apis/certificates.k8s.io/v1/certificatesigningrequests" + trial, Body: trialNone}, "certificatesigningrequests.certificates.k8s.io", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"namespace", "what is allowed in a namespace", apiserver.Request{Method: http.MethodPatch, Path: "/api/v1/namespaces/NAME" + trial, Body: nothing}, "namespaces", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"admission webhook", "who stands in the way of requests", apiserver.Request{Method: http.MethodPatch, Path: "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/NAME" + trial, Body: nothing}, "mutatingwebhookconfigurations.admissionregistration.k8s.io", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"service", "what is opened to the outside", apiserver.Request{Method: http.MethodPatch, Path: inThe + "/services/NAME" + trial, Body: nothing}, "services", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"address of a service", "whose traffic is taken", apiserver.Request{Method: http.MethodPatch, Path: inThe + "/services/NAME/status" + trial, Body: nothing}, "services/status", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"ingress", "what is opened to the outside", apiserver.Request{Method: http.MethodPost, Path: "/apis/networking.k8s.io/v1/namespaces/NAMESPACE/ingresses" + trial, Body: trialNone}, "ingresses.networking.k8s.io", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"network policy", "what is opened inside", apiserver.Request{Method: http.MethodPatch, Path: "/apis/networking.k8s.io/v1/namespaces/NAMESPACE/networkpolicies/NAME" + trial, Body: nothing}, "networkpolicies.networking.k8s.io", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"cluster's settings", "changes to DNS and to who is who", apiserver.Request{Method: http.MethodPatch, Path: "/api/v1/namespaces/kube-system/configmaps/NAME" + trial, Body: nothing}, "configmaps", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"secret", "who reads secrets", apiserver.Request{Method: http.MethodGet, Path: inThe + "/secrets/NAME"}, "secrets", auditv1.Level_LEVEL_METADATA, auditv1.Level_LEVEL_METADATA, false},
	{"token", "who makes tokens for service accounts", apiserver.Request{Method: http.MethodPost, Path: inThe + "/serviceaccounts/NAME/token", Body: whatMayBe}, "serviceaccounts/token", auditv1.Level_LEVEL_METADATA, auditv1.Level_LEVEL_METADATA, false},
	{"access review", "who asks what he may do", apiserver.Request{Method: http.MethodPost, Path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" + trial, Body: mayI}, "selfsubjectaccessreviews.authorization.k8s.io", auditv1.Level_LEVEL_REQUEST, 0, false},
	{"deleted events", "who wipes traces", apiserver.Request{Method: http.MethodDelete, Path: inThe + "/events/NAME"}, "events", auditv1.Level_LEVEL_METADATA, 0, false},
	{"wrong token", "who guesses tokens", apiserver.Request{Method: http.MethodGet, Path: inThe + "/pods/NAME", Token: "NAME"}, "pods", auditv1.Level_LEVEL_METADATA, 0, true},
	{"anything else", "everything else", apiserver.Request{Method: http.MethodGet, Path: inThe + "/configmaps/NAME"}, "configmaps", auditv1.Level_LEVEL_METADATA, 0, false},
}

// verdict on what came of a probe.
type verdict string

const (
	complete verdict = "ok"
	missing  verdict = "MISSING"  // nothing came
	coarse   verdict = "COARSE"   // the level leaves out what rules look at
	late     verdict = "LATE"     // only the end comes: who is in is known when he has left
	fragile  verdict = "FRAGILE"  // only the end comes, which is lost if what was sent is no JSON
	leaking  verdict = "LEAKING"  // the level writes secrets into the API server's log
	unsent   verdict = "NOT SENT" // the API server could not be asked
)

// checked is a probe and what came of it.
type checked struct {
	Name     string   `json:"name"`
	Finds    string   `json:"finds"`
	Verb     string   `json:"method"`
	Path     string   `json:"path"`
	Resource string   `json:"resource"`
	Want     string   `json:"want"`
	Got      string   `json:"got,omitempty"`
	Stages   []string `json:"stages,omitempty"`
	Sources  []string `json:"sources,omitempty"`
	// Code of the API server's answer, and after how many seconds the collector had the event.
	Code    int      `json:"code,omitempty"`
	After   *float64 `json:"after_seconds,omitempty"`
	Verdict verdict  `json:"verdict"`
	Error   string   `json:"error,omitempty"`

	probe probe
	sent  time.Time
	level auditv1.Level
}

// send sends all probes, one after the other. What the API server answers is of no matter:
// what it refuses it records as well.
func send(ctx context.Context, c *apiserver.Client, nonce, namespace string, now func() time.Time) []*checked {
	fill := strings.NewReplacer("NAMESPACE", namespace, "NAME", probeMark+nonce)
	out := make([]*checked, 0, len(probes))
	for _, p := range probes {
		r := p.request
		r.Path, r.Body, r.Token = fill.Replace(r.Path), fill.Replace(r.Body), fill.Replace(r.Token)
		one := &checked{Name: p.name, Finds: p.finds, Verb: r.Method, Path: r.Path, Resource: p.resource, Want: levelName(p.want), Verdict: missing, probe: p, sent: now()}
		code, _, err := c.Do(ctx, r)
		if one.Code = code; err != nil {
			one.Verdict, one.Error = unsent, err.Error()
		}
		out = append(out, one)
	}
	return out
}

// took judges the probes by what came, and says whether all came as they should. Events
// that come twice, by two sources, count once.
func took(probes []*checked, events []*collectorv1.ProbeEvent) (all bool) {
	all = true
	for _, one := range probes {
		if one.Verdict == unsent {
			continue
		}
		one.Got, one.Stages, one.Sources, one.After, one.level = "", nil, nil, nil, 0
		for _, e := range events {
			if one.isOf(e) {
				one.take(e)
			}
		}
		one.Verdict = one.judge()
		all = all && one.Verdict != missing && one.Verdict != late && one.Verdict != fragile
	}
	return all
}

// isOf says whether an event is of the probe: the collector keeps the path and query.
func (c *checked) isOf(e *collectorv1.ProbeEvent) bool {
	return sameRequest(e.GetRequestUri(), c.Path) && e.GetVerb() == verbs[c.Verb]
}

// verbs of the requests that probes are, as the audit names them.
var verbs = map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPatch: "patch", http.MethodDelete: "delete"}

// sameRequest compares addresses; the collector may have written the query anew.
func sameRequest(a, b string) bool {
	a, _, _ = strings.Cut(a, "?")
	b, _, _ = strings.Cut(b, "?")
	return a == b
}

func (c *checked) take(e *collectorv1.ProbeEvent) {
	c.level = max(c.level, e.Level)
	c.Got = levelName(c.level)
	c.Stages = addNew(c.Stages, strings.ToLower(strings.TrimPrefix(e.Stage.String(), "STAGE_")))
	c.Sources = addNew(c.Sources, e.Source)
	after := e.Received.AsTime().Sub(c.sent).Seconds()
	if c.After == nil || after < *c.After {
		c.After = &after
	}
}

func (c *checked) judge() verdict {
	switch {
	case c.level == 0:
		return missing
	case c.level < c.probe.want:
		return coarse
	case c.probe.most != 0 && c.level > c.probe.most:
		return leaking
	case c.probe.started && !slices.Contains(c.Stages, "started"):
		return late
	case c.Verb == http.MethodPatch && c.level > auditv1.Level_LEVEL_METADATA && !slices.Contains(c.Stages, "received"):
		return fragile
	}
	return complete
}

// addNew adds a text to a list that does not have it.
func addNew(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// levelName is a level as audit policies write it.
func levelName(l auditv1.Level) string {
	switch l {
	case auditv1.Level_LEVEL_METADATA:
		return "Metadata"
	case auditv1.Level_LEVEL_REQUEST:
		return "Request"
	case auditv1.Level_LEVEL_REQUEST_RESPONSE:
		return "RequestResponse"
	}
	return "None"
}
