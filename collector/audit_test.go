package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/internal/tlsconf"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// asCollector, set, makes the test binary the collector itself, for tests that kill it.
const asCollector = "SEAWALL_TEST_COLLECTOR"

func TestMain(m *testing.M) {
	if os.Getenv(asCollector) != "" {
		os.Exit(start())
	}
	os.Exit(m.Run())
}

const auditToken = "a token that cannot be guessed"

// harbour is a data folder and the collector that runs there.
type harbour struct {
	testing.TB
	folder string
	config string // what the settings say of audit

	process       *exec.Cmd
	ended         chan struct{}
	audit, agents string // where it listens
}

func newHarbour(t testing.TB, config string) *harbour {
	t.Helper()
	h := &harbour{TB: t, folder: t.TempDir()}
	h.write("token", auditToken+"\n")
	h.config = strings.ReplaceAll(config, "$DIR", h.folder)
	return h
}

func (h *harbour) write(name, text string) string {
	h.Helper()
	path := filepath.Join(h.folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
	return path
}

func (h *harbour) settings() config.Config {
	c := config.Default()
	c.Cluster, c.DataDir = "harbour", filepath.Join(h.folder, "data")
	return c
}

// start runs a collector until it is ready.
func (h *harbour) start() {
	h.Helper()
	path := h.write("collector.yaml", fmt.Sprintf("cluster: harbour\ndata_dir: %s\nlisten: 127.0.0.1:0\nnames: [collector.example]\nadmin: {address: \"\"}\n%s\n", h.settings().DataDir, h.config))
	h.process = exec.CommandContext(h.Context(), os.Args[0], "--config", path)
	h.process.Env = append(os.Environ(), asCollector+"=1")
	out, err := h.process.StderrPipe()
	if err != nil {
		h.Fatal(err)
	}
	if err := h.process.Start(); err != nil {
		h.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := ""
	for lines.Scan() {
		said += lines.Text() + "\n"
		if _, address, ok := strings.Cut(lines.Text(), "audit webhook listens on "); ok {
			h.audit = address
		}
		if _, address, ok := strings.Cut(lines.Text(), "ready: cluster harbour listens on "); ok {
			h.agents = address
			break
		}
	}
	if h.agents == "" {
		h.Fatalf("the collector ended: %s", said)
	}
	h.ended = make(chan struct{})
	go func() {
		defer close(h.ended)
		_, _ = io.Copy(io.Discard, out)
	}()
}

// stop ends the collector by a signal.
func (h *harbour) stop(by syscall.Signal) {
	h.Helper()
	if err := h.process.Process.Signal(by); err != nil {
		h.Fatal(err)
	}
	<-h.ended
	if err := h.process.Wait(); err != nil && by != syscall.SIGKILL {
		h.Error(err)
	}
	h.agents = ""
}

// client is an API server's, as its kubeconfig would have it.
func (h *harbour) client(certificate *tls.Certificate) *http.Client {
	h.Helper()
	roots, err := tlsconf.LoadRoots(filepath.Join(h.settings().DataDir, "ca", "ca.crt"))
	if err != nil {
		h.Fatal(err)
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "collector.example"}
	trust.RootCAs.AddCert(roots[0])
	if certificate != nil {
		trust.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	h.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// post sends a body; 0: there was no answer.
func (h *harbour) post(c *http.Client, token, body string) (code int, err error) {
	r, err := http.NewRequestWithContext(h.Context(), http.MethodPost, "https://"+h.audit+"/?timeout=30s", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// auditLine is an event as the API server logs it.
func auditLine(id string, at time.Time) string {
	stamp := at.UTC().Format("2006-01-02T15:04:05.000000Z")
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods?limit=500",`+
		`"verb":"list","user":{"username":"alice@example.test"},"sourceIPs":["10.77.0.11"],"objectRef":{"resource":"pods","namespace":"shop"},"responseStatus":{"code":200},`+
		`"requestReceivedTimestamp":"%s","stageTimestamp":"%s"}`, id, stamp, stamp)
}

// eventList is a webhook's body.
func eventList(lines ...string) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(lines, ",") + `]}`
}

// logged is what of audit the event log has: how often each (id, stage) is there, and states.
func (h *harbour) logged() (events map[string]int, states []*collectorv1.AuditState) {
	h.Helper()
	l, err := eventlog.Open(h.Context(), eventlog.Options{Dir: eventLogPath(h.settings()), Log: zap.NewNop()})
	if err != nil {
		h.Fatal(err)
	}
	defer l.Close()
	events = map[string]int{}
	err = l.Recent(h.Context(), eventlog.Subject{Cluster: "harbour", Kind: eventlog.Audit}, 24*time.Hour, func(m eventlog.Message) error {
		message := &collectorv1.LogMessage{}
		if err := proto.Unmarshal(m.Data, message); err != nil {
			return err
		}
		for _, e := range message.GetAudit().GetEvents() {
			events[fmt.Sprint(e.AuditId, " ", e.Stage)]++
		}
		if s := message.GetAuditState(); s != nil {
			states = append(states, s)
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return events, states
}

// once requires that the log has each of the events once, and no others.
func (h *harbour) once(ids ...string) []*collectorv1.AuditState {
	h.Helper()
	events, states := h.logged()
	for _, id := range ids {
		if n := events[id+" "+auditv1.Stage_STAGE_COMPLETE.String()]; n != 1 {
			h.Errorf("%s is in the log %d times", id, n)
		}
	}
	if len(events) != len(ids) {
		h.Errorf("%d events are in the log, want %d", len(events), len(ids))
	}
	return states
}

// management asks the collector as a viewer.
func (h *harbour) management() collectorv1.ManagementClient {
	h.Helper()
	return collectorv1.NewManagementClient(h.dial(tlsconf.Viewer))
}

// dial connects as a client.
func (h *harbour) dial(as tlsconf.Access) *grpc.ClientConn {
	h.Helper()
	authority, _, err := enrol.OpenAuthority(h.settings().DataDir, "harbour", time.Now)
	if err != nil {
		h.Fatal(err)
	}
	files, err := authority.IssueClient("vera", as, enrol.ClientLifetime)
	if err != nil {
		h.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(files.Certificate, files.Key)
	if err != nil {
		h.Fatal(err)
	}
	source := tlsconf.NewSource(tlsconf.Material{Certificate: &certificate, Roots: authority.Roots()})
	trust := tlsconf.ClientConfig(source, tlsconf.Peers{Roles: []tlsconf.Role{tlsconf.Collector}}, time.Now)
	conn, err := grpc.NewClient(h.agents, grpc.WithTransportCredentials(credentials.NewTLS(trust)))
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { conn.Close() })
	return conn
}

const byToken = "audit:\n  webhook: {listen: \"127.0.0.1:0\", token_file: $DIR/token}\n"

// What an API server with the token sends is in the log when it is answered, and nobody
// else's is.
func TestAuditWebhookByToken(t *testing.T) {
	h := newHarbour(t, byToken)
	h.start()
	c, now := h.client(nil), time.Now()
	for _, test := range []struct {
		name, token, body string
		code              int
	}{
		{"nobody", "", eventList(auditLine("nobody", now)), http.StatusUnauthorized},
		{"another token", auditToken + "x", eventList(auditLine("another", now)), http.StatusUnauthorized},
		{"right", auditToken, eventList(auditLine("a", now), auditLine("b", now)), http.StatusOK},
		{"no list", auditToken, "[]", http.StatusBadRequest},
		{"again and more", auditToken, eventList(auditLine("b", now), auditLine("c", now)), http.StatusOK},
	} {
		if code, err := h.post(c, test.token, test.body); code != test.code {
			t.Errorf("%s: %d, %v", test.name, code, err)
		}
	}
	old := h.client(nil)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	if code, err := h.post(old, auditToken, eventList(auditLine("old", now))); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %d, %v", code, err)
	}
	// The body of somebody who may not send is not read to its end.
	if code, _ := h.post(h.client(nil), "", strings.Repeat(" ", 16<<20)); code == http.StatusOK {
		t.Error("a stranger's body was taken")
	}
	h.stop(syscall.SIGTERM)
	states := h.once("a", "b", "c")
	if len(states) < 2 || states[0].Condition != collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED ||
		states[len(states)-1].Condition != collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING {
		t.Errorf("the log says %v", states)
	}
}

// issue makes a client certificate by a CA of the test's.
func issue(t testing.TB, name string) (ca []byte, client *tls.Certificate) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	rootKey, leafKey := key(), key()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "audit clients"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(rootDER)
	if err != nil {
		t.Fatal(err)
	}
	return tlsconf.EncodeCertificates(parsed), &tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}
}

// A client certificate does it, too: of the CA, with the name, and not one of our own parts'.
func TestAuditWebhookByCertificate(t *testing.T) {
	h := newHarbour(t, "audit:\n  webhook: {listen: \"127.0.0.1:0\", client_ca_file: $DIR/clients.crt, client_names: [apiserver, vera]}\n")
	ca, apiserver := issue(t, "apiserver")
	_, stranger := issue(t, "apiserver")
	authority, _, err := enrol.OpenAuthority(h.settings().DataDir, "harbour", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	files, err := authority.IssueClient("vera", tlsconf.Operator, enrol.ClientLifetime)
	if err != nil {
		t.Fatal(err)
	}
	vera, err := tls.X509KeyPair(files.Certificate, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	other, kubelet := issue(t, "kubelet")
	h.write("clients.crt", string(bytes.Join([][]byte{ca, other, files.Roots}, nil)))
	h.start()
	for _, test := range []struct {
		name        string
		certificate *tls.Certificate
		code        int // 0: there is no connection
	}{
		{"api server", apiserver, http.StatusOK},
		{"none", nil, 0},
		{"of another CA", stranger, 0},
		{"of another name", kubelet, http.StatusUnauthorized},
		{"of a reader of alerts", &vera, http.StatusUnauthorized},
	} {
		code, err := h.post(h.client(test.certificate), auditToken, eventList(auditLine(test.name, time.Now())))
		if code != test.code || (err != nil) != (code == 0) {
			t.Errorf("%s: %d, %v", test.name, code, err)
		}
	}
	h.stop(syscall.SIGTERM)
	h.once("api server")
}

// Both sources bring the same, the collector is killed again and again meanwhile, and what
// got no answer comes again: each event is in the log once.
func TestAuditEachOnce(t *testing.T) {
	h := newHarbour(t, byToken+"  files: [{name: cp-1, path: $DIR/audit.log}]\n")
	path := h.write("audit.log", "")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { file.Close() }()
	var ids []string
	for round := range 4 {
		h.start()
		c := h.client(nil)
		var bodies []string
		for range 12 {
			var lines []string
			for range 25 {
				id := fmt.Sprintf("id-%06d", len(ids))
				ids, lines = append(ids, id), append(lines, auditLine(id, time.Now()))
			}
			bodies = append(bodies, eventList(lines...))
			if _, err := file.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
				t.Fatal(err)
			}
		}
		if round == 2 { // rotated, while both are read
			if err := os.Rename(path, filepath.Join(h.folder, "audit-2026-11-22T02-00-00.000.log")); err != nil {
				t.Fatal(err)
			}
			if file, err = os.Create(path); err != nil {
				t.Fatal(err)
			}
		}
		answered := make(chan string, len(bodies))
		go func() {
			defer close(answered)
			for _, body := range bodies {
				if code, _ := h.post(c, auditToken, body); code == http.StatusOK {
					answered <- body
				}
			}
		}()
		for range 3 + round {
			<-answered
		}
		h.stop(syscall.SIGKILL)
		for range answered { // some more were answered before the end
		}
		h.start()
		c = h.client(nil)
		slices.Reverse(bodies)
		for _, body := range bodies {
			if code, err := h.post(c, auditToken, body); code != http.StatusOK {
				t.Errorf("%d, %v", code, err)
			}
		}
		h.stop(syscall.SIGTERM)
	}
	states := h.once(ids...)
	for _, s := range states {
		if len(s.Gaps) > 0 {
			t.Errorf("gaps are told: %v", s.Gaps)
		}
	}
}

// What cannot be used is said when the settings are checked.
func TestAuditSettingsAreChecked(t *testing.T) {
	h := newHarbour(t, "")
	check := func(w config.AuditWebhook) error {
		c := h.settings()
		c.Audit.Webhook = w
		return checkConfig(c, io.Discard)
	}
	if err := check(config.AuditWebhook{Listen: "127.0.0.1:0", TokenFile: filepath.Join(h.folder, "token")}); err != nil {
		t.Error(err)
	}
	for want, w := range map[string]config.AuditWebhook{
		"no such file":            {TokenFile: filepath.Join(h.folder, "nowhere")},
		"has 5 bytes, fewer than": {TokenFile: h.write("short", " short\n")},
		"no CERTIFICATE block":    {ClientCAFile: h.write("empty", "")},
	} {
		w.Listen = "127.0.0.1:0"
		if err := check(w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What is asked of the collector it answers: how sources are, and what came of a probe.
func TestAuditStatusAndProbe(t *testing.T) {
	h := newHarbour(t, byToken)
	h.start()
	m := h.management()
	status := func() *collectorv1.AuditState {
		t.Helper()
		answer, err := m.AuditStatus(t.Context(), &collectorv1.AuditStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return answer.State
	}
	if s := status(); s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED || s.Newest != nil || len(s.Sources) != 1 {
		t.Errorf("before anything came: %v", s)
	}
	c := h.client(nil)
	probe := strings.Replace(auditLine("probe", time.Now()), "limit=500", "x=seawall-verify-0123abcd", 1)
	other := strings.Replace(auditLine("other", time.Now()), "limit=500", "x=seawall-verify-0123abcde", 1)
	if code, err := h.post(c, auditToken, eventList(auditLine("a", time.Now()), probe, other)); code != http.StatusOK {
		t.Fatal(code, err)
	}
	s := status()
	if s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING || s.Sources[0].Events != 3 || s.Newest == nil || s.Reason != "" {
		t.Errorf("after three events: %v", s)
	}
	for range 2 { // the second time by another collector
		answer, err := m.AuditProbe(t.Context(), &collectorv1.AuditProbeRequest{Nonce: "0123abcd"})
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Events) != 1 || answer.Events[0].AuditId != "probe" || answer.Events[0].Level != auditv1.Level_LEVEL_METADATA || answer.Events[0].Object.Resource != "pods" {
			t.Errorf("the probe brought %v", answer.Events)
		}
		h.stop(syscall.SIGTERM)
		h.start()
		m = h.management()
	}
	for _, nonce := range []string{"", "short", "UPPERCASE", "with/slash", strings.Repeat("a", 65)} {
		_, err := m.AuditProbe(t.Context(), &collectorv1.AuditProbeRequest{Nonce: nonce})
		wantStatus(t, err, codes.InvalidArgument, "nonce")
	}
	h.stop(syscall.SIGTERM)
}

// Rules of a bundle that is pushed hold for what comes next: one of them tells, and one that
// cannot see what it looks for is said to be blind. A restart changes neither.
func TestAuditRulesOfABundle(t *testing.T) {
	const rules = `source: audit
rules:
  - id: pods-listed
    title: Somebody looks around
    severity: medium
    verbs: [list]
    resources: [pods]
    condition: actor.name == "alice@example.test"
    summary: actor.name + " lists pods"
  - id: pods-listed-oddly
    title: Somebody looks around oddly
    severity: medium
    verbs: [list]
    resources: [pods]
    needs: request
    condition: request.odd == "yes"
    summary: actor.name + " lists pods"
`
	h := newHarbour(t, byToken)
	h.start()
	data, err := proto.Marshal(&sensorv1.Bundle{Serial: 1, Version: "v1", Files: []*sensorv1.BundleFile{{Name: "pods.yaml", Data: []byte(rules)}}})
	if err != nil {
		t.Fatal(err)
	}
	signed := &sensorv1.SignedBundle{Bundle: data, Signature: make([]byte, 64), KeyId: make([]byte, 32)}
	if _, err := collectorv1.NewManagementClient(h.dial(tlsconf.Operator)).PushBundle(t.Context(), &collectorv1.PushBundleRequest{Bundle: signed}); err != nil {
		t.Fatal(err)
	}
	if code, err := h.post(h.client(nil), auditToken, eventList(auditLine("a", time.Now()))); code != http.StatusOK {
		t.Fatal(code, err)
	}
	for range 2 {
		alerts, err := alertv1.NewAlertStreamClient(h.dial(tlsconf.Viewer)).Subscribe(t.Context(), &alertv1.SubscribeRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			m, err := alerts.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if a := m.GetAlert(); a != nil {
				if !strings.HasPrefix(a.Summary, "alice@example.test lists pods. ") || len(a.Requests) != 1 || a.Requests[0].AuditId != "a" {
					t.Errorf("the alert says %v", a)
				}
				break
			}
		}
		answer, err := h.management().AuditStatus(t.Context(), &collectorv1.AuditStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		blind := map[string]string{}
		for _, b := range answer.Blind {
			blind[b.Rule] = b.Reason
		}
		if !strings.Contains(blind["pods-listed-oddly"], "records list pods at level Metadata; the rule needs Request") || blind["pods-listed"] != "" {
			t.Errorf("blind are %v", blind)
		}
		h.stop(syscall.SIGTERM)
		h.start()
	}
	h.stop(syscall.SIGTERM)
}
