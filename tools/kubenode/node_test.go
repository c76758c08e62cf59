package kubenode

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/seawall-security/seawall/internal/testcontainerd"
	"github.com/seawall-security/seawall/internal/testkube"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
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

// alertWith waits for an alert that fits, and returns its last revision.
func (w *world) alertWith(what string, fits func(*alertv1.Alert) bool) (found *alertv1.Alert) {
	w.Helper()
	w.until(what, func() bool {
		all := w.alerts()
		i := slices.IndexFunc(all, fits)
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	return found
}

// begunBy is the request of an entry that alice made from her machine; nil: it is not so.
func begunBy(e *alertv1.Entry, kind string) *alertv1.Request {
	for _, r := range e.GetRequests() {
		if e.GetKind() == kind && r.GetUser().GetName() == alice && r.GetSourceIp() == clientAddress && r.GetAuditId() != "" {
			return r
		}
	}
	return nil
}

// hasEntry says whether an alert has an entry of alice's, with words among its arguments.
func hasEntry(a *alertv1.Alert, kind string, words ...string) bool {
	return slices.ContainsFunc(a.GetEntries(), func(e *alertv1.Entry) bool {
		return begunBy(e, kind) != nil && strings.Contains(strings.Join(e.GetArgs(), " "), strings.Join(words, " "))
	})
}

const alice = "alice@example.test"

// What people do with kubectl in a real pod is seen on the node and in the audit, and the
// two are told as one.
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
	if out := w.runs(w.kubectl(kubeconfig, "debug "+pod+" --image="+testcontainerd.ImageName+" -c look --target=main -- "+secret)); out != "" {
		t.Logf("debug printed %q", out)
	}
	w.until("the debug container has run", func() bool {
		return strings.Contains(string(w.admin.Must(t, http.MethodGet, "/api/v1/namespaces/default/pods/"+pod, "")), `"terminated":`)
	})
	w.forward(kubeconfig, pod, filepath.Base(testcontainerd.OrdinaryFile))

	of := func(a *alertv1.Alert) bool { return a.GetAsset().GetContainer().GetPod().GetName() == pod }
	found := w.alertWith("an alert that names who ran cat by exec", func(a *alertv1.Alert) bool { return of(a) && hasEntry(a, "exec", secret) })
	t.Logf("exec: %s\n%s", found.GetTitle(), text(found))
	found = w.alertWith("an alert that names who made the debug container", func(a *alertv1.Alert) bool { return of(a) && hasEntry(a, "debug") })
	t.Logf("debug: %s\n%s", found.GetTitle(), text(found))
	for _, a := range w.alerts() {
		t.Logf("%s %s %s: %s", a.GetKind(), a.GetSeverity(), a.GetAsset().GetContainer().GetPod().GetName(), a.GetTitle())
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

func text(a *alertv1.Alert) string {
	return protojson.MarshalOptions{Multiline: true}.Format(&alertv1.Alert{Entries: a.GetEntries(), Requests: a.GetRequests()})
}
