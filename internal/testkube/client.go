package testkube

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// Client sends requests as one user.
type Client struct {
	url  string
	http *http.Client
}

// Client makes one with a certificate of the user.
func (c *Cluster) Client(t testing.TB, user User) *Client {
	t.Helper()
	p := c.ca.client(t, user)
	own, err := tls.X509KeyPair(p.certificate, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return c.connect(t, &tls.Config{RootCAs: c.roots(), Certificates: []tls.Certificate{own}}, nil)
}

// Bearer makes one with a token; an empty one is nobody's.
func (c *Cluster) Bearer(t testing.TB, token string) *Client {
	t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return c.connect(t, &tls.Config{RootCAs: c.roots()}, header)
}

func (c *Cluster) connect(t testing.TB, config *tls.Config, header http.Header) *Client {
	// HTTP/1.1 alone: only there can a connection be upgraded.
	transport := &http.Transport{TLSClientConfig: config, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{url: c.URL, http: &http.Client{Transport: with{header, transport}}}
}

// with adds headers to every request.
type with struct {
	header http.Header
	next   http.RoundTripper
}

func (w with) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range w.header {
		r.Header[name] = values
	}
	return w.next.RoundTrip(r)
}

func (c *Cluster) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.ca.certificate)
	return pool
}

// CA is the certificate that vouches for the API server and its users, in PEM.
func (c *Cluster) CA() []byte { return c.ca.pem }

// Certificate is one of a user with its key, in PEM.
func (c *Cluster) Certificate(t testing.TB, user User) (certificate, key []byte) {
	t.Helper()
	p := c.ca.client(t, user)
	return p.certificate, p.key
}

// Kubeconfig writes a kubeconfig of a user and returns its path.
func (c *Cluster) Kubeconfig(t testing.TB, user User) string {
	t.Helper()
	p := c.ca.client(t, user)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	writeFile(t, path, kubeconfig(c.URL, c.ca.pem, "", p.certificate, p.key))
	return path
}

// kubeconfig is a configuration with one cluster and one user. JSON is YAML.
func kubeconfig(url string, ca []byte, token string, certificate, key []byte) []byte {
	user := map[string]any{}
	if token != "" {
		user["token"] = token
	}
	if certificate != nil {
		user["client-certificate-data"] = base64.StdEncoding.EncodeToString(certificate)
		user["client-key-data"] = base64.StdEncoding.EncodeToString(key)
	}
	text, _ := json.Marshal(map[string]any{ // of texts alone: cannot fail
		"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": []any{map[string]any{"name": "test", "cluster": map[string]any{
			"server": url, "certificate-authority-data": base64.StdEncoding.EncodeToString(ca)}}},
		"users":    []any{map[string]any{"name": "test", "user": user}},
		"contexts": []any{map[string]any{"name": "test", "context": map[string]any{"cluster": "test", "user": "test"}}},
	})
	return text
}

// Do sends a request and returns the answer's code and body; code 0: there was none, and
// the test has failed. A body to send is JSON, for PATCH a strategic merge patch.
func (c *Client) Do(t testing.TB, method, path, body string, headers ...string) (code int, answer []byte) {
	t.Helper()
	response, err := c.send(t, method, path, body, headers...)
	if err == nil {
		defer response.Body.Close()
		answer, err = io.ReadAll(response.Body)
	}
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return 0, nil
	}
	return response.StatusCode, answer
}

// Must is Do that fails the test unless the request succeeds.
func (c *Client) Must(t testing.TB, method, path, body string, headers ...string) []byte {
	t.Helper()
	code, answer := c.Do(t, method, path, body, headers...)
	if code/100 != 2 {
		t.Fatalf("%s %s: %d: %s", method, path, code, answer)
	}
	return answer
}

// Exec asks to be let into a container, as kubectl does, and returns the answer's code and
// the connection; who gets 101 closes it.
func (c *Client) Exec(t testing.TB, path string, headers ...string) (code int, stream io.ReadCloser) {
	t.Helper()
	headers = append(headers, "Connection", "Upgrade", "Upgrade", "SPDY/3.1", "X-Stream-Protocol-Version", "v4.channel.k8s.io")
	response, err := c.send(t, http.MethodGet, path, "", headers...)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return response.StatusCode, response.Body
}

// send sends a request; headers are names and values by turns.
func (c *Client) send(t testing.TB, method, path, body string, headers ...string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	switch {
	case method == http.MethodPatch:
		request.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	case body != "":
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Accept", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return c.http.Do(request)
}
