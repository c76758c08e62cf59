// Package testkube gives a test a Kubernetes control plane of its own: etcd and an API
// server, as make kube builds them from their Go modules, on loopback, with certificates,
// RBAC and the audit that the test asks for. No controllers and no scheduler run: nothing
// is in it but what the test puts there. [Cluster.Node] stands for a node's kubelet, so
// that requests into pods are answered, and recorded as they are elsewhere.
//
// What a [Cluster] started ends with its test, by process id. Its methods belong to the
// goroutine of that test; [Client.Do] may be called by any.
package testkube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/testpriv"
)

const (
	readyTimeout = 3 * time.Minute // on a machine that does much else
	stopTimeout  = 30 * time.Second
	pollEvery    = 50 * time.Millisecond // what has no signal to wait for
)

// Cluster is a control plane. Its API server may be stopped and started again, with
// another audit; etcd keeps what is in it.
type Cluster struct {
	// URL is the API server's.
	URL string

	dir      string
	address  string
	port     string
	ca       *authority
	frontend *authority // of the API server's own calls to other API servers
	etcd     *program
	server   *program
	database string // etcd's URL
}

// Options are an API server's.
type Options struct {
	// Policy is the audit policy's file; empty: there is no audit.
	Policy string
	// Log is the audit log's file; empty: there is none. It is rotated at LogMegabytes, and
	// LogBackups rotated ones are kept; 0: never, all.
	Log                      string
	LogMegabytes, LogBackups int
	// Webhook is where audit events are posted; nil: nowhere.
	Webhook *Webhook
	// Flags are more of the API server's.
	Flags []string
}

// Webhook is an audit webhook as an API server knows it.
type Webhook struct {
	URL string
	// CA vouches for it, in PEM.
	CA []byte
	// Token is the bearer's; empty: none. Certificate and Key are the client's, in PEM; nil: none.
	Token            string
	Certificate, Key []byte
	// Wait is how long a batch may take to fill; 0: 100 ms.
	Wait time.Duration
}

// New starts a control plane without an API server.
func New(t testing.TB) *Cluster {
	t.Helper()
	return NewAt(t, "127.0.0.1")
}

// NewAt starts a control plane whose API server is going to listen on an address of this
// machine.
func NewAt(t testing.TB, address string) *Cluster {
	t.Helper()
	etcd := binary(t, "etcd")
	c := &Cluster{dir: t.TempDir(), address: address, port: freePort(t), ca: newAuthority(t, "kubernetes"), frontend: newAuthority(t, "front-proxy")}
	c.URL = "https://" + net.JoinHostPort(address, c.port)
	c.database = "http://127.0.0.1:" + freePort(t)
	peers := "http://127.0.0.1:" + freePort(t)
	c.prepare(t)
	c.etcd = start(t, c.dir, etcd,
		"--name", "test", "--data-dir", filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", c.database, "--advertise-client-urls", c.database,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "test="+peers)
	c.etcd.ready(t, http.DefaultClient, c.database+"/health")
	return c
}

// Start starts a control plane with an API server.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := New(t)
	c.Serve(t, o)
	return c
}

// Serve starts the API server and waits until it serves.
func (c *Cluster) Serve(t testing.TB, o Options) {
	t.Helper()
	if c.server != nil {
		t.Fatal("the API server runs already")
	}
	c.server = start(t, c.dir, binary(t, "kube-apiserver"), append(c.flags(), c.audit(t, o)...)...)
	admin := c.Client(t, Admin)
	c.server.ready(t, admin.http, c.URL+"/readyz")
	// The service account controller would make it; pods are not admitted without.
	for _, namespace := range []string{"default", "kube-system"} {
		code, body := admin.Do(t, http.MethodPost, "/api/v1/namespaces/"+namespace+"/serviceaccounts", `{"metadata":{"name":"default"}}`)
		if code != http.StatusCreated && code != http.StatusConflict {
			t.Fatalf("make the service account of %s: %d: %s", namespace, code, body)
		}
	}
}

// Stop ends the API server as its host would; it writes and posts what it still has.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	if c.server == nil {
		return
	}
	c.server.stop(t, syscall.SIGTERM)
	c.server = nil
}

// Kill ends the API server at once.
func (c *Cluster) Kill(t testing.TB) {
	t.Helper()
	c.server.stop(t, syscall.SIGKILL)
	c.server = nil
}

// Refuses starts an API server that is expected to end by itself, and returns the end of
// what it said.
func (c *Cluster) Refuses(t testing.TB, o Options) string {
	t.Helper()
	p := start(t, c.dir, binary(t, "kube-apiserver"), append(c.flags(), c.audit(t, o)...)...)
	select {
	case <-p.ended:
		return p.said()
	case <-time.After(readyTimeout):
		p.stop(t, syscall.SIGKILL)
		t.Fatalf("it did not end\n%s", p.said())
		return ""
	}
}

// Said is the end of what the API server logged.
func (c *Cluster) Said() string { return c.server.said() }

func (c *Cluster) flags() []string {
	file := func(name string) string { return filepath.Join(c.dir, name) }
	return []string{
		"--etcd-servers=" + c.database, "--bind-address=" + c.address, "--advertise-address=" + c.address, "--secure-port=" + c.port,
		"--tls-cert-file=" + file("server.crt"), "--tls-private-key-file=" + file("server.key"), "--client-ca-file=" + file("ca.crt"),
		"--kubelet-client-certificate=" + file("kubelet-client.crt"), "--kubelet-client-key=" + file("kubelet-client.key"),
		"--kubelet-certificate-authority=" + file("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + file("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + file("front-proxy-client.crt"), "--proxy-client-key-file=" + file("front-proxy-client.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + file("accounts.key"), "--service-account-signing-key-file=" + file("accounts.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--service-cluster-ip-range=10.96.0.0/16", "--profiling=false",
	}
}

// audit are the flags of an audit.
func (c *Cluster) audit(t testing.TB, o Options) []string {
	t.Helper()
	flags := o.Flags
	if o.Policy != "" {
		flags = append(flags, "--audit-policy-file="+o.Policy)
	}
	if o.Log != "" {
		flags = append(flags, "--audit-log-path="+o.Log, fmt.Sprint("--audit-log-maxsize=", o.LogMegabytes), fmt.Sprint("--audit-log-maxbackup=", o.LogBackups))
	}
	if w := o.Webhook; w != nil {
		wait := w.Wait
		if wait == 0 {
			wait = 100 * time.Millisecond
		}
		path := filepath.Join(c.dir, "webhook.kubeconfig")
		writeFile(t, path, kubeconfig(w.URL, w.CA, w.Token, w.Certificate, w.Key))
		flags = append(flags, "--audit-webhook-config-file="+path, "--audit-webhook-batch-max-wait="+wait.String())
	}
	return flags
}

// prepare writes certificates and keys.
func (c *Cluster) prepare(t testing.TB) {
	t.Helper()
	put := func(name string, p pair) {
		writeFile(t, filepath.Join(c.dir, name+".crt"), p.certificate)
		writeFile(t, filepath.Join(c.dir, name+".key"), p.key)
	}
	writeFile(t, filepath.Join(c.dir, "ca.crt"), c.ca.pem)
	writeFile(t, filepath.Join(c.dir, "ca.key"), encodeKey(t, c.ca.key))
	writeFile(t, filepath.Join(c.dir, "front-proxy-ca.crt"), c.frontend.pem)
	writeFile(t, filepath.Join(c.dir, "accounts.key"), accountKey(t))
	put("server", c.ca.server(t, "kube-apiserver", c.address))
	put("kubelet-client", c.ca.client(t, User{"kube-apiserver-kubelet-client", []string{"system:masters"}}))
	put("front-proxy-client", c.frontend.client(t, User{Name: "front-proxy-client"}))
}

// Run starts another program of Kubernetes beside the API server, until the test ends.
func (c *Cluster) Run(t testing.TB, name string, args ...string) {
	t.Helper()
	start(t, c.dir, Program(t, name), args...)
}

// Log is the end of what a program of [Cluster.Run] logged.
func (c *Cluster) Log(name string) string {
	return (&program{log: filepath.Join(c.dir, name+".log")}).said()
}

// File is the path of a file of the cluster's: ca.crt, ca.key, accounts.key.
func (c *Cluster) File(name string) string { return filepath.Join(c.dir, name) }

// ServerFiles writes a certificate for a server at an address and returns its paths.
func (c *Cluster) ServerFiles(t testing.TB, name, address string) (certificate, key string) {
	t.Helper()
	p := c.ca.server(t, name, address)
	certificate, key = filepath.Join(c.dir, name+".crt"), filepath.Join(c.dir, name+".key")
	writeFile(t, certificate, p.certificate)
	writeFile(t, key, p.key)
	return certificate, key
}

// Program is the path of a program of Kubernetes that make kube-node builds.
func Program(t testing.TB, name string) string {
	t.Helper()
	return built(t, name, "make kube-node")
}

func binary(t testing.TB, name string) string {
	t.Helper()
	return built(t, name, "make kube")
}

// built is the path of a program that a target of the Makefile builds.
func built(t testing.TB, name, target string) string {
	t.Helper()
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for ; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Fatal("the test runs outside the source tree")
		}
	}
	return testpriv.Built(t, filepath.Join(root, "build", "kube", name), target)
}

// freePort is one that nobody listens on now.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// program is one that was started.
type program struct {
	name    string
	log     string
	process *exec.Cmd
	ended   chan struct{} // closed when it is gone
}

// start starts a program that ends with the test, and with this process whatever ends that.
func start(t testing.TB, dir, path string, args ...string) *program {
	t.Helper()
	p := &program{name: filepath.Base(path), ended: make(chan struct{})}
	p.log = filepath.Join(dir, p.name+".log")
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.process = exec.Command(path, args...)
	p.process.Dir, p.process.Stdout, p.process.Stderr = dir, out, out
	p.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.process.Wait() // who waits looks at what it said
		close(p.ended)
	}()
	t.Cleanup(func() { p.stop(t, syscall.SIGKILL) })
	return p
}

// stop asks a program to end, waits, and insists.
func (p *program) stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := p.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case <-p.ended:
		return
	case <-time.After(stopTimeout):
	}
	t.Errorf("%s did not end within %s\n%s", p.name, stopTimeout, p.said())
	_ = p.process.Process.Kill()
	<-p.ended
}

// ready waits until the program answers with 200.
func (p *program) ready(t testing.TB, client *http.Client, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			t.Fatalf("%s ended\n%s", p.name, p.said())
		case <-ctx.Done():
			t.Fatalf("%s is not ready: %v\n%s", p.name, ctx.Err(), p.said())
		case <-tick.C:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			continue
		}
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return
		}
	}
}

// said is the end of the program's log.
func (p *program) said() string {
	text, _ := os.ReadFile(p.log)
	return strings.TrimSpace(string(text[max(0, len(text)-6000):]))
}
