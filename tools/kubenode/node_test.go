package kubenode

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/testcontainerd"
	"github.com/seawall-security/seawall/internal/testkube"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// A deployment with one pod, bound to the node: there is no scheduler.
const deployment = `{"metadata":{"name":"web"},"spec":{"replicas":1,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
"spec":{"nodeName":"` + nodeName + `","automountServiceAccountToken":false,"terminationGracePeriodSeconds":0,
"containers":[{"name":"main","image":"` + testcontainerd.ImageName + `","stdin":true,"command":["/bin/busybox","sh","-c","/bin/busybox httpd -p 8080 -h /etc; exec /bin/busybox sh"]}]}}}}`

// pod waits until the deployment's pod runs and returns its name.
func (w *world) pod() string {
	w.Helper()
	var name string
	w.until("the pod runs", func() bool {
		out, _ := w.kubectl(w.cluster.Kubeconfig(w.T, testkube.Admin), "get pods -l app=web -o", `jsonpath={range .items[*]}{.metadata.name} {.status.phase}{end}`).Output()
		found, phase, _ := strings.Cut(string(out), " ")
		name = found
		return phase == "Running"
	})
	return name
}

// alerts are all that the collector has.
func (w *world) alerts() []*alertv1.Alert {
	w.Helper()
	c := exec.CommandContext(w.Context(), filepath.Join(built, "seawallctl"), "alerts", "list", "-limit", "1000", "-o", "json", "-collector", w.listens, "-credentials", w.viewer)
	var all []*alertv1.Alert
	for line := range strings.Lines(w.runs(c)) {
		var a alertv1.Alert
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(line), &a); err != nil {
			w.Fatalf("%v: %s", err, line)
		}
		all = append(all, &a)
	}
	return all
}

// attach types a line into a pod's own shell and returns when its answer has come.
func (w *world) attach(kubeconfig, pod, line, want string) {
	w.Helper()
	c := w.kubectl(kubeconfig, "attach -i "+pod+" -c main")
	in, err := c.StdinPipe()
	if err != nil {
		w.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	fmt.Fprintln(in, line)
	var got []byte
	part := make([]byte, 512)
	for !strings.Contains(string(got), want) {
		n, err := out.Read(part)
		if got = append(got, part[:n]...); err != nil {
			w.Errorf("attach printed %q: %v", got, err)
			break
		}
	}
	_ = c.Process.Signal(syscall.SIGINT) // the shell goes on
	_ = c.Wait()
}

// forward fetches a page through a forwarded port.
func (w *world) forward(kubeconfig, pod, page string) {
	w.Helper()
	c := w.kubectl(kubeconfig, "port-forward "+pod+" 18080:8080")
	out, err := c.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	// It says that it listens, and is ended when the page is there.
	if _, err := io.ReadFull(out, make([]byte, len("Forwarding from"))); err != nil {
		w.Errorf("port-forward: %v", err)
	}
	got := w.runs(w.client.command(w.T, "busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:18080/"+page))
	if !strings.Contains(got, "nothing of interest") {
		w.Errorf("the forwarded port answers %q", got)
	}
	_ = c.Process.Signal(syscall.SIGINT)
	_ = c.Wait()
}

const alice = "alice@example.test"

// audited are the ids of alice's requests by subresource, as the API server wrote them into
// its own log, which the collector does not read.
func (w *world) audited() map[string][]string {
	w.Helper()
	text, err := os.ReadFile(w.path("audit.log"))
	if err != nil {
		w.Fatal(err)
	}
	ids := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		var e struct {
			AuditID   string
			User      struct{ Username string }
			ObjectRef struct{ Subresource string }
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.User.Username == alice && !slices.Contains(ids[e.ObjectRef.Subresource], e.AuditID) {
			ids[e.ObjectRef.Subresource] = append(ids[e.ObjectRef.Subresource], e.AuditID)
		}
	}
	return ids
}

// told waits for an alert about the pod that says of an entry of this kind that alice made
// it, from her machine, by exactly this request.
func (w *world) told(pod, kind string, attribution alertv1.Attribution, auditID string, words ...string) {
	w.Helper()
	last := ""
	fits := func(e *alertv1.Entry) bool {
		if e.GetKind() != kind || !strings.Contains(strings.Join(e.GetArgs(), " "), strings.Join(words, " ")) {
			return false
		}
		last = protojson.Format(e)
		r := e.GetRequests()
		return e.GetAttribution() == attribution && len(r) == 1 && r[0].GetAuditId() == auditID && r[0].GetUser().GetName() == alice &&
			r[0].GetSourceIp() == clientAddress && r[0].GetRole() == "entry"
	}
	for end := time.Now().Add(waiting); time.Now().Before(end); time.Sleep(time.Second) {
		for _, a := range w.alerts() {
			if a.GetAsset().GetContainer().GetPod().GetName() == pod && slices.ContainsFunc(a.GetEntries(), fits) {
				w.Logf("%s by request %s: %s", kind, auditID, a.GetTitle())
				return
			}
		}
	}
	w.Errorf("no alert says that %s of request %s began it; the last said %s", kind, auditID, last)
}

// What people do with kubectl in a real pod is seen on the node and in the audit, and the
// two are told as one; what nobody asked the API for is told as that.
func TestKubeNode(t *testing.T) {
	w := newWorld(t)
	w.admin.Must(t, http.MethodPost, "/apis/apps/v1/namespaces/default/deployments", deployment)
	pod := w.pod()
	kubeconfig := w.cluster.Kubeconfig(t, testkube.User{Name: alice, Groups: []string{"system:masters", "developers"}})
	w.verify()

	secret := "/bin/busybox cat " + testcontainerd.SecretFile
	if out := w.runs(w.kubectl(kubeconfig, "exec "+pod+" -c main -- "+secret)); !strings.HasPrefix(out, "root:") {
		t.Errorf("exec printed %q", out)
	}
	w.attach(kubeconfig, pod, secret, "root:")
	w.runs(w.kubectl(kubeconfig, "debug "+pod+" --image="+testcontainerd.ImageName+" -c look --target=main -- "+secret))
	w.until("the debug container has run", func() bool {
		return strings.Contains(string(w.admin.Must(t, http.MethodGet, "/api/v1/namespaces/default/pods/"+pod, "")), `"terminated":`)
	})
	w.forward(kubeconfig, pod, filepath.Base(testcontainerd.OrdinaryFile))
	w.pastTheAPI(pod, unaskedWords)

	ids := w.audited()
	for _, kind := range []string{"exec", "attach", "ephemeralcontainers", "portforward"} {
		if len(ids[kind]) != 1 {
			t.Fatalf("the API server recorded %v", ids)
		}
	}
	w.told(pod, "exec", alertv1.Attribution_ATTRIBUTION_JOINED, ids["exec"][0], secret)
	w.told(pod, "debug", alertv1.Attribution_ATTRIBUTION_JOINED, ids["ephemeralcontainers"][0], secret)
	// What was typed through attach cannot be told from what the shell does by itself.
	w.told(pod, "attach", alertv1.Attribution_ATTRIBUTION_AMBIGUOUS, ids["attach"][0])
	w.reached(ids["portforward"][0], 8080)
	w.restart(kubeconfig, pod)
	w.unasked()
	for _, a := range w.alerts() {
		t.Logf("%s %s %v: %s", a.GetKind(), a.GetSeverity(), a.GetTags(), a.GetTitle())
	}
}

// reached waits for an alert that says of a request that a port of the pod was connected to
// while it stood, and that nobody else can have done it.
func (w *world) reached(auditID string, port uint32) {
	w.Helper()
	last := ""
	w.until("a port-forward has its connection", func() bool {
		for _, a := range w.alerts() {
			for _, r := range a.GetRequests() {
				if r.GetAuditId() != auditID {
					continue
				}
				last = protojson.Format(r)
				if c := r.GetConnections(); len(c) == 1 && c[0].GetPort() == port && c[0].GetCount() > 0 && c[0].GetAmbiguous() == 0 && r.GetUser().GetName() == alice {
					w.Logf("%s %s: %v", a.GetTitle(), auditID, c[0])
					return true
				}
			}
		}
		return false
	})
	if w.Failed() {
		w.Log(last)
	}
}

// restart stops the agent, as an update of its DaemonSet does, and starts it again. Of who
// came in meanwhile nothing is known: what then comes past the API, alike, is not taken for it,
// and the time is one gap.
func (w *world) restart(kubeconfig, pod string) {
	w.Helper()
	// It stands for longer than the agent is away, so that it may have begun what comes then.
	const space = "${IFS}"
	words := "/bin/busybox sh -c " + strings.Join([]string{"/bin/busybox", "cat", testcontainerd.SecretFile + ";/bin/busybox", "sleep", "15"}, space)
	stopped := time.Now()
	w.stopAgent()
	c := w.kubectl(kubeconfig, "exec "+pod+" -c main -- "+words)
	out, err := c.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("root:"))); err != nil {
		w.Errorf("exec printed nothing: %v", err)
	}
	w.runAgent()
	started := time.Now()
	w.pastTheAPI(pod, words)
	_, _ = io.Copy(io.Discard, out)
	if err := c.Wait(); err != nil {
		w.Error(err)
	}
	ids := w.audited()["exec"]
	if len(ids) != 2 {
		w.Fatalf("the API server recorded %v", ids)
	}
	w.told(pod, "exec", alertv1.Attribution_ATTRIBUTION_AMBIGUOUS, ids[1], words)
	var gaps []*sensorv1.Gap
	for _, a := range w.alerts() {
		if !slices.ContainsFunc(a.GetEntries(), func(e *alertv1.Entry) bool { return strings.Join(e.GetArgs(), " ") == words }) {
			continue
		}
		for _, g := range a.GetGaps() {
			if g.GetStage() == "agent" && g.GetSince() != nil && !slices.ContainsFunc(gaps, func(known *sensorv1.Gap) bool { return proto.Equal(known, g) }) {
				gaps = append(gaps, g)
			}
		}
	}
	const clocks = 5 * time.Second // the collector corrects what agents' clocks show
	if len(gaps) != 1 || gaps[0].GetClass() != "all" || gaps[0].GetSince().AsTime().After(stopped.Add(clocks)) || gaps[0].GetUntil().AsTime().After(started.Add(clocks)) ||
		gaps[0].GetUntil().AsTime().Before(stopped) {
		w.Errorf("the agent was away from %v to %v, and is told to have been: %v", stopped, started, gaps)
	}
}

// unaskedWords are what runs in a container without the API's knowledge.
const unaskedWords = "/bin/busybox uname -a"

// pastTheAPI enters the pod's main container as crictl does, by its runtime alone, under an
// id as the runtime's Kubernetes part gives.
func (w *world) pastTheAPI(pod, words string) {
	w.Helper()
	c, err := containerd.New(w.path("c.sock"))
	if err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	ctx := namespaces.WithNamespace(w.Context(), "k8s.io")
	found, err := c.Containers(ctx, fmt.Sprintf(`labels."io.kubernetes.pod.name"==%s,labels."io.kubernetes.container.name"==main`, pod))
	if err != nil || len(found) != 1 {
		w.Fatalf("%d containers: %v", len(found), err)
	}
	task, err := found[0].Task(ctx, nil)
	if err != nil {
		w.Fatal(err)
	}
	spec, err := found[0].Spec(ctx)
	if err != nil {
		w.Fatal(err)
	}
	spec.Process.Args, spec.Process.Terminal = strings.Fields(words), false
	process, err := task.Exec(ctx, strings.Repeat("c0de", 16), spec.Process, cio.NullIO)
	if err != nil {
		w.Fatal(err)
	}
	ended, err := process.Wait(ctx)
	if err != nil {
		w.Fatal(err)
	}
	if err := process.Start(ctx); err != nil {
		w.Fatal(err)
	}
	if status := <-ended; status.ExitCode() != 0 {
		w.Errorf("%s ended with %d: %v", words, status.ExitCode(), status.Error())
	}
	if _, err := process.Delete(ctx); err != nil {
		w.Error(err)
	}
}

// unasked waits for the one alert about an entry that nobody asked the API for, and has no
// other entry be told so.
func (w *world) unasked() {
	w.Helper()
	of := func() (found []*alertv1.Alert) {
		for _, a := range w.alerts() {
			if a.GetKind() == "entry" && slices.Contains(a.GetTags(), "unattributed") {
				found = append(found, a)
			}
		}
		return found
	}
	begun, events, size := time.Now(), 0, 0
	measure := func(sign int) {
		text, err := os.ReadFile(w.path("audit.log"))
		if err != nil {
			w.Fatal(err)
		}
		events, size = events+sign*strings.Count(string(text), "\n"), size+sign*len(text)
	}
	measure(-1)
	w.until("an entry that nobody asked for is told", func() bool { return len(of()) > 0 })
	measure(+1)
	w.Logf("meanwhile, at rest, the API server recorded %d events, %d bytes in %s", events, size, time.Since(begun).Round(time.Second))
	all := of()
	if len(all) != 1 || len(all[0].GetEntries()) != 1 || strings.Join(all[0].GetEntries()[0].GetArgs(), " ") != unaskedWords {
		w.Errorf("told as asked by nobody: %v", all)
	}
}

// verify has seawallctl see that everything arrives that rules look at.
func (w *world) verify() {
	w.Helper()
	c := exec.CommandContext(w.Context(), filepath.Join(built, "seawallctl"), "audit", "verify", "-o", "json", "-kubeconfig", w.cluster.Kubeconfig(w.T, testkube.Admin),
		"-collector", w.listens, "-credentials", w.viewer)
	var found struct{ Result string }
	if out := w.runs(c); json.Unmarshal([]byte(out), &found) != nil || found.Result != "complete" {
		w.Errorf("audit verify: %s", out)
	}
}
