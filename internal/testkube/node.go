package testkube

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Kubelet is one that a test's API server asks. Nothing runs behind it.
type Kubelet struct {
	mu    sync.Mutex // guards asked
	asked []string
}

// Asked is what the API server asked for so far, as paths with queries.
func (k *Kubelet) Asked() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.asked...)
}

// Node registers a node whose kubelet lets everybody into every container: whoever asks
// for another protocol gets it, and a connection that stays until he closes it.
func (c *Cluster) Node(t testing.TB, name string) *Kubelet {
	t.Helper()
	k := &Kubelet{}
	p := c.ca.server(t, "system:node:"+name, "127.0.0.1")
	own, err := tls.X509KeyPair(p.certificate, p.key)
	if err != nil {
		t.Fatal(err)
	}
	kubelet := httptest.NewUnstartedServer(http.HandlerFunc(k.letIn))
	kubelet.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	kubelet.StartTLS()
	t.Cleanup(kubelet.Close)
	_, port, err := net.SplitHostPort(kubelet.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	admin := c.Client(t, Admin)
	admin.Must(t, http.MethodPost, "/api/v1/nodes", fmt.Sprintf(`{"metadata":{"name":%q},"spec":{}}`, name))
	admin.Must(t, http.MethodPatch, "/api/v1/nodes/"+name+"/status", fmt.Sprintf(
		`{"status":{"addresses":[{"type":"InternalIP","address":"127.0.0.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":%s}}}}`, port))
	return k
}

// Pod makes a pod with one container, main, on a node.
func (c *Cluster) Pod(t testing.TB, namespace, name, node string) {
	t.Helper()
	c.Client(t, Admin).Must(t, http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods", fmt.Sprintf(
		`{"metadata":{"name":%q},"spec":{"nodeName":%q,"containers":[{"name":"main","image":"registry.test/main:1"}]}}`, name, node))
}

func (k *Kubelet) letIn(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	k.asked = append(k.asked, r.URL.RequestURI())
	k.mu.Unlock()
	protocol := r.Header.Get("Upgrade")
	if protocol == "" {
		fmt.Fprintln(w, "ok")
		return
	}
	connection, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer connection.Close()
	fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Stream-Protocol-Version: %s\r\n\r\n",
		protocol, r.Header.Get("X-Stream-Protocol-Version"))
	if buffered.Flush() == nil {
		_, _ = buffered.ReadByte() // until the other end closes
	}
}
