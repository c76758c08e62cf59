package testkube

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// everything is a policy that records all stages with bodies.
const everything = `{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"RequestResponse"}]}`

// entry is what these tests read of an audit event.
type entry struct {
	AuditID, Stage, Level, Verb, RequestURI string
	User                                    struct{ Username string }
	ObjectRef                               struct{ Resource, Subresource, Name string }
	ResponseStatus                          struct{ Code int }
	RequestObject, ResponseObject           json.RawMessage
}

// readLog reads an audit log that nobody writes any more.
func readLog(t testing.TB, path string) []entry {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var entries []entry
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return entries
}

// The control plane is a real one: RBAC refuses, entries are upgraded, the audit says all
// of it; what it holds outlives its API server; a policy that is wrong is refused.
func TestKubeControlPlane(t *testing.T) {
	policy, log := filepath.Join(t.TempDir(), "policy"), filepath.Join(t.TempDir(), "audit.log")
	writeFile(t, policy, []byte(everything))
	begun := time.Now()
	c := Start(t, Options{Policy: policy, Log: log})
	t.Logf("ready after %s", time.Since(begun).Round(10*time.Millisecond))
	c.Node(t, "node-1")
	c.Pod(t, "default", "web", "node-1")

	const exec = "/api/v1/namespaces/default/pods/web/exec?command=id&container=main&stdout=true"
	bob, mallory := User{"bob", []string{"system:masters"}}, User{Name: "mallory"}
	code, stream := c.Client(t, bob).Exec(t, exec)
	stream.Close()
	if code != http.StatusSwitchingProtocols {
		t.Errorf("exec was answered with %d", code)
	}
	code, stream = c.Client(t, mallory).Exec(t, exec)
	stream.Close()
	if code != http.StatusForbidden {
		t.Errorf("mallory's exec was answered with %d", code)
	}
	if code, _ := c.Bearer(t, "nonsense").Do(t, http.MethodGet, "/api/v1/pods", ""); code != http.StatusUnauthorized {
		t.Errorf("a wrong token was answered with %d", code)
	}
	c.Stop(t)

	codes := map[string][]int{}
	for _, e := range readLog(t, log) {
		if e.ObjectRef.Subresource == "exec" && strings.HasSuffix(e.RequestURI, exec) && e.Stage == "ResponseComplete" {
			codes[e.User.Username] = append(codes[e.User.Username], e.ResponseStatus.Code)
		}
	}
	if len(codes) != 2 || codes["bob"][0] != http.StatusSwitchingProtocols || codes["mallory"][0] != http.StatusForbidden {
		t.Errorf("the audit has %v", codes)
	}

	writeFile(t, policy, []byte(strings.Replace(everything, "RequestResponse", "Everything", 1)))
	if said := c.Refuses(t, Options{Policy: policy, Log: log}); !strings.Contains(said, "Everything") {
		t.Errorf("a wrong policy was answered with %s", said)
	}
	c.Serve(t, Options{})
	if code, _ := c.Client(t, Admin).Do(t, http.MethodGet, "/api/v1/namespaces/default/pods/web", ""); code != http.StatusOK {
		t.Errorf("the pod is gone: %d", code)
	}
}
