package collecting

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/deploy"
	"github.com/seawall-security/seawall/internal/testkube"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

const bearer = "a-token-that-only-the-test-knows"

// harbour is a collector and the control plane of its cluster.
type harbour struct {
	*node
	cluster *testkube.Cluster
	log     string // the API server's audit log
	webhook testkube.Webhook
}

// newHarbour starts neither; settings are more of the collector's, below audit.
func newHarbour(t *testing.T, settings string) *harbour {
	t.Helper()
	h := &harbour{cluster: testkube.New(t), log: filepath.Join(t.TempDir(), "audit.log")}
	address := unused(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(bearer), 0o600); err != nil {
		t.Fatal(err)
	}
	settings = strings.NewReplacer("ADDRESS", address, "TOKEN", token, "LOG", h.log).Replace(settings)
	h.node = newNode(t, "cluster: harbour\nnames: [127.0.0.1]\naudit:\n"+settings).measured()
	ca, err := os.ReadFile(filepath.Join(h.client("viewer", "viewer"), "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	h.webhook = testkube.Webhook{URL: "https://" + address + "/", CA: ca, Token: bearer}
	return h
}

// policy writes an audit policy and returns its path.
func policy(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var metadata = []byte(`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}`)

// unused is an address that nobody listens on now.
func unused(t *testing.T) string {
	t.Helper()
	n := (&node{T: t}).measured()
	return n.admin
}

// asked sends requests side by side, each with an audit id of its own, which it returns.
func (h *harbour) asked(name string, n int) []string {
	h.Helper()
	const clients = 8
	ids := make([]string, n)
	var all sync.WaitGroup
	for c := range clients {
		client := h.cluster.Client(h.T, testkube.User{Name: fmt.Sprint("user-", c), Groups: []string{"system:masters"}})
		all.Go(func() {
			for i := c; i < n; i += clients {
				ids[i] = fmt.Sprintf("%s-%05d", name, i)
				if code, answer := client.Do(h.T, http.MethodPost, "/api/v1/namespaces/default/configmaps?dryRun=All",
					`{"metadata":{"name":"`+ids[i]+`"},"data":{"a":"`+strings.Repeat("b", 1000)+`"}}`, "Audit-ID", ids[i]); code != http.StatusCreated {
					h.Errorf("%d: %s", code, answer)
				}
			}
		})
	}
	all.Wait()
	return ids
}

// logged is what the event log of a collector that does not run has of audit: how often
// each id is there, and all gaps by their id.
func (h *harbour) logged() (ids map[string]int, gaps map[string]*collectorv1.AuditGap) {
	h.Helper()
	l, err := eventlog.Open(h.Context(), eventlog.Options{Dir: filepath.Join(h.folder, "data", "events"), Log: zap.NewNop()})
	if err != nil {
		h.Fatal(err)
	}
	defer l.Close()
	state, err := l.State(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	ids, gaps = map[string]int{}, map[string]*collectorv1.AuditGap{}
	done := errors.New("read to the end")
	err = l.Read(h.Context(), 0, func(m eventlog.Message) error {
		var message collectorv1.LogMessage
		if err := proto.Unmarshal(m.Data, &message); err != nil {
			return err
		}
		for _, e := range message.GetAudit().GetEvents() {
			ids[e.AuditId]++
		}
		for _, gap := range message.GetAuditState().GetGaps() {
			gaps[gap.Id] = gap
		}
		if m.Position == state.Last {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		h.Fatal(err)
	}
	return ids, gaps
}

// eachOnce checks that every id is there, and no id twice.
func eachOnce(t *testing.T, logged map[string]int, want []string) {
	t.Helper()
	lost, twice := 0, 0
	for _, id := range want {
		switch logged[id] {
		case 0:
			lost++
		case 1:
		default:
			twice++
		}
	}
	if lost > 0 || twice > 0 {
		t.Errorf("of %d requests %d are lost and %d are there more than once", len(want), lost, twice)
	}
}

// Requests that a real API server records, in a log that it rotates and by its webhook at
// the same time, are in the event log once each, whatever becomes of the collector; also
// one whose audit id was used before, and one whose audit id is as long as can be.
func TestKubeAuditIntake(t *testing.T) {
	t.Parallel()
	h := newHarbour(t, "  webhook: {listen: ADDRESS, token_file: TOKEN}\n  files: [{name: cp-1, path: LOG}]\n")
	h.start()
	h.cluster.Serve(t, testkube.Options{Policy: policy(t, []byte(`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[{"level":"RequestResponse"}]}`)),
		Log: h.log, LogMegabytes: 1, LogBackups: 50, Webhook: &h.webhook})
	want := h.asked("before", 300)
	h.kill()
	want = append(want, h.asked("while-it-was-dead", 900)...)
	h.start()
	want = append(want, h.asked("after", 300)...)
	// What is harmless does not hide what follows under its name.
	admin := h.cluster.Client(t, testkube.Admin)
	admin.Must(t, http.MethodGet, "/api/v1/namespaces/default", "", "Audit-ID", "borrowed")
	admin.Do(t, http.MethodGet, "/api/v1/namespaces/default/pods/none/exec?command=id", "", "Audit-ID", "borrowed")
	admin.Must(t, http.MethodGet, "/api/v1/namespaces/default", "", "Audit-ID", strings.Repeat("<", 1_000_000)) // 6 MB in JSON
	h.mark("the-last-request")
	h.cluster.Stop(t) // it sends what it still has
	rotated, err := filepath.Glob(strings.TrimSuffix(h.log, ".log") + "-*")
	if err != nil || len(rotated) < 3 {
		t.Fatalf("the log was rotated to %v: %v", rotated, err)
	}
	h.brought("cp-1", "the-last-request")
	h.stop()
	ids, gaps := h.logged()
	eachOnce(t, ids, want)
	if ids["borrowed"] != 3 { // one get, and two stages of an exec
		t.Errorf("of two requests with one audit id %d events are there, want 3", ids["borrowed"])
	}
	long := 0
	for id, n := range ids {
		if strings.HasPrefix(id, "<<<<") {
			long += n
		}
	}
	if long != 1 {
		t.Errorf("a request with a long audit id is there %d times", long)
	}
	for _, gap := range gaps {
		if !gap.Filled {
			t.Errorf("a gap is told: %v", gap)
		}
	}
}

// mark sends a request that the collector can be asked about.
func (h *harbour) mark(nonce string) {
	h.Helper()
	h.cluster.Client(h.T, testkube.Admin).Do(h.T, http.MethodGet, "/api/v1/namespaces/default/configmaps/seawall-verify-"+nonce, "")
}

// brought waits until a source has brought what was marked, and so what was before it.
func (h *harbour) brought(source, nonce string) {
	h.Helper()
	client := collectorv1.NewManagementClient(h.dialAs(filepath.Join(h.folder, "viewer")))
	for end := time.Now().Add(waiting); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		answer, err := client.AuditProbe(h.Context(), &collectorv1.AuditProbeRequest{Nonce: nonce})
		if err != nil {
			h.Fatal(err)
		}
		if slices.ContainsFunc(answer.Events, func(e *collectorv1.ProbeEvent) bool { return e.Source == source }) {
			return
		}
	}
	h.Fatalf("%s does not bring %s\n%v", source, nonce, h.node.log())
}

// What only the webhook could bring while the collector was away for longer than API
// servers try is lost, and told as a gap from the last event before to the first one after.
// A patch that the API server cannot write the end of is an alert.
func TestKubeOutage(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	h := newHarbour(t, "  webhook: {listen: ADDRESS, client_ca_file: "+ca+", client_names: [api-server]}\n")
	if err := os.WriteFile(ca, h.cluster.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	h.webhook.Token = ""
	h.webhook.Certificate, h.webhook.Key = h.cluster.Certificate(t, testkube.User{Name: "api-server"})
	h.start()
	h.cluster.Serve(t, testkube.Options{Policy: policy(t, deploy.AuditPolicy), Webhook: &h.webhook, Flags: []string{"--audit-webhook-initial-backoff=200ms", "--audit-webhook-truncate-enabled"}})
	before := h.asked("before", 50)
	h.mark("before-it-went")
	h.brought("webhook", "before-it-went")
	h.kill()
	from := time.Now()
	lost := h.asked("lost", 50)
	until := time.Now()
	// Shorter pauses are no gaps: what was not delivered for less than that comes again.
	const pause = time.Minute
	time.Sleep(time.Until(from.Add(pause + 20*time.Second)))
	h.start()
	if code, answer := h.cluster.Client(t, testkube.User{Name: "mallory", Groups: []string{"system:masters"}}).Do(t, http.MethodPatch, "/api/v1/namespaces/default/pods/unseen?fieldManager=me",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: unseen}\nspec: {hostPID: true, containers: [{name: main, image: registry.test/main:1}]}\n", "Content-Type", "application/apply-patch+yaml"); code != http.StatusCreated {
		t.Errorf("a pod in YAML: %d: %s", code, answer)
	}
	after := h.asked("after", 50)
	h.mark("after-it-came")
	h.brought("webhook", "after-it-came")
	back := time.Now()
	h.awaitGap()
	h.until("seawall_collector_audit_unfinished_total", func(n float64) bool { return n == 1 })
	h.alerts("Patch without a record of what it did", "pod default/unseen")
	h.cluster.Stop(t)
	h.stop()
	ids, gaps := h.logged()
	eachOnce(t, ids, slices.Concat(before, after))
	for _, id := range lost {
		if ids[id] != 0 {
			t.Fatalf("%s came, after %s: the test proves nothing", id, pause)
		}
	}
	found := 0
	for _, gap := range gaps {
		since, end := gap.GetGap().GetSince().AsTime(), gap.GetGap().GetUntil().AsTime()
		t.Logf("gap: %s %s to %s (away from %s, back by %s)", gap.GetGap().GetReason(), since.Format(time.TimeOnly), end.Format(time.TimeOnly), from.Format(time.TimeOnly), back.Format(time.TimeOnly))
		if gap.Filled || since.After(from) || from.Sub(since) > 15*time.Second || end.Before(until) || end.After(back) {
			t.Errorf("the gap is %v", gap)
		}
		found++
	}
	if found != 1 {
		t.Errorf("%d gaps are told, want one", found)
	}
}

// awaitGap waits until the collector tells of a gap: it waits itself for what may come late.
func (h *harbour) awaitGap() {
	h.Helper()
	client := collectorv1.NewManagementClient(h.dialAs(filepath.Join(h.folder, "viewer")))
	for end := time.Now().Add(4 * waiting); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		status, err := client.AuditStatus(h.Context(), &collectorv1.AuditStatusRequest{})
		if err != nil {
			h.Fatal(err)
		}
		if len(status.GetState().GetGaps()) > 0 {
			return
		}
	}
	h.Errorf("no gap is told\n%v", h.node.log())
}

// alerts waits for an alert with all of these texts.
func (h *harbour) alerts(want ...string) {
	h.Helper()
	out := ""
	for end := time.Now().Add(waiting); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var err error
		if out, err = h.tells(filepath.Join(h.folder, "viewer"), "alerts list"); err != nil {
			h.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if !slices.ContainsFunc(want, func(text string) bool { return !strings.Contains(line, text) }) {
				return
			}
		}
	}
	h.Errorf("no alert has %q\n%s", want, out)
}

// ran is how seawallctl ended, and what it reported.
type ran struct {
	status int
	report struct {
		Result, Version string
		Checks          []struct{ Name, Got, Verdict string }
		Advice          []string
	}
	text string
}

func (h *harbour) verifies(more ...string) ran {
	h.Helper()
	kubeconfig := h.cluster.Kubeconfig(h.T, testkube.Admin)
	out, err := h.tells(filepath.Join(h.folder, "viewer"), "audit verify", append(more, "--kubeconfig", kubeconfig)...)
	var r ran
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.status = exit.ExitCode()
	} else if err != nil {
		h.Fatal(err)
	}
	if r.text = out; slices.Contains(more, "json") {
		if err := json.Unmarshal([]byte(out), &r.report); err != nil {
			h.Fatalf("%v: %s", err, out)
		}
	}
	return r
}

// verdicts are the names of the checks with a verdict.
func (r ran) verdicts(verdict string) (names []string) {
	for _, c := range r.report.Checks {
		if c.Verdict == verdict {
			names = append(names, c.Name)
		}
	}
	return names
}

// seawallctl audit verify finds out what is wrong between a real API server and the collector.
func TestKubeAuditVerify(t *testing.T) {
	t.Parallel()
	h := newHarbour(t, "  webhook: {listen: ADDRESS, token_file: TOKEN}\n  files: [{name: cp-1, path: LOG}]\n")
	h.start()
	shipped := policy(t, deploy.AuditPolicy)
	stranger := h.webhook
	stranger.CA = h.cluster.CA()
	guesser := h.webhook
	guesser.Token = "another-token-than-the-right-one"
	bodies := []string{"debug", "pod", "workload", "cron job", "pod template", "volume", "changed workload", "rights", "role", "certificate", "namespace", "admission webhook",
		"service", "address of a service", "ingress", "network policy", "cluster's settings", "access review"}
	patches := []string{"debug", "changed workload", "rights", "namespace", "admission webhook", "service", "address of a service", "network policy", "cluster's settings"}
	ends := policy(t, bytes.Replace(deploy.AuditPolicy, []byte("\nrules:"), []byte("\nomitStages: [RequestReceived]\nrules:"), 1))
	for _, test := range []struct {
		name    string
		options testkube.Options
		end     func(testing.TB) // of the API server; one that cannot deliver tries for a minute before it ends
		wait    string
		status  int
		result  string
		wrong   map[string][]string // by verdict; all others are ok
		says    string              // in the advice
	}{
		{"no audit", testkube.Options{}, h.cluster.Stop, "2s", 4, "silent", nil, "none ever came"},
		{"a wrong CA", testkube.Options{Policy: shipped, Webhook: &stranger}, h.cluster.Kill, "3s", 4, "silent", nil, "certificate-authority"},
		{"a wrong token", testkube.Options{Policy: shipped, Webhook: &guesser}, h.cluster.Kill, "3s", 4, "silent", nil, "a wrong token"},
		{"metadata only", testkube.Options{Policy: policy(t, metadata), Webhook: &h.webhook}, h.cluster.Stop, "30s", 3, "partial", map[string][]string{"COARSE": bodies}, "seawallctl audit policy"},
		{"ends alone", testkube.Options{Policy: ends, Webhook: &h.webhook}, h.cluster.Stop, "4s", 3, "partial", map[string][]string{"FRAGILE": patches}, "lost if what was sent is no JSON"},
		{"shipped policy, webhook", testkube.Options{Policy: shipped, Webhook: &h.webhook}, h.cluster.Stop, "30s", 0, "complete", nil, ""},
		{"shipped policy, log", testkube.Options{Policy: shipped, Log: h.log}, h.cluster.Stop, "30s", 0, "complete", nil, ""},
		{"audit is off again", testkube.Options{}, h.cluster.Stop, "2s", 4, "silent", nil, "--audit-policy-file"},
	} {
		h.cluster.Serve(t, test.options)
		got := h.verifies("-o", "json", "--wait", test.wait)
		if got.status != test.status || got.report.Result != test.result {
			t.Errorf("%s: status %d, %s; want %d, %s\n%s", test.name, got.status, got.report.Result, test.status, test.result, got.text)
		}
		for verdict, names := range test.wrong {
			if found := got.verdicts(verdict); !slices.Equal(found, names) {
				t.Errorf("%s: %s are %q, want %q", test.name, verdict, found, names)
			}
		}
		if advice := strings.Join(got.report.Advice, "\n"); !strings.Contains(advice, test.says) || (test.says == "") != (advice == "") {
			t.Errorf("%s: no %q in the advice\n%s", test.name, test.says, advice)
		}
		if !strings.HasPrefix(got.report.Version, "v1.") {
			t.Errorf("%s: the API server's version is %q", test.name, got.report.Version)
		}
		if test.result == "complete" {
			t.Log("\n" + h.verifies("--wait", test.wait).text)
		}
		test.end(t)
	}
	if left := h.left(); left != "" {
		t.Errorf("verifying left %s in the cluster", left)
	}
}

// left is what verifying left in the cluster.
func (h *harbour) left() string {
	h.Helper()
	h.cluster.Serve(h.T, testkube.Options{})
	admin := h.cluster.Client(h.T, testkube.Admin)
	var found []string
	for _, path := range []string{"/api/v1/pods", "/apis/apps/v1/deployments", "/apis/batch/v1/cronjobs", "/api/v1/podtemplates", "/api/v1/persistentvolumes", "/apis/networking.k8s.io/v1/ingresses", "/api/v1/configmaps", "/api/v1/secrets", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/certificates.k8s.io/v1/certificatesigningrequests"} {
		if strings.Contains(string(admin.Must(h.T, http.MethodGet, path, "")), "seawall-verify-") {
			found = append(found, path)
		}
	}
	return strings.Join(found, ", ")
}
