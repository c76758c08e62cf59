package enrol

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func wantCode(t *testing.T, err error, code codes.Code, says string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), says) {
		t.Errorf("got %v, want %v: %s", err, code, says)
	}
}

func leafOf(t *testing.T, answer *sensorv1.EnrolResponse) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(answer.GetCertificatesDer()[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestEnrol(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token(2)
	key := p256(t)
	answer, err := w.stranger().Enrol(t.Context(), enrolRequest(token.Proof(), request(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	leaf := leafOf(t, answer)
	id, err := tlsconf.IdentityOf(leaf)
	if err != nil || id != (tlsconf.Identity{Cluster: "prod", Role: tlsconf.Agent, Name: answer.GetAgentId()}) || answer.GetCluster() != "prod" {
		t.Errorf("identity %v, %v, agent id %s", id, err, answer.GetAgentId())
	}
	if !leaf.NotBefore.Equal(today.Add(-5*time.Minute)) || !leaf.NotAfter.Equal(today.Add(24*time.Hour)) || !answer.GetNotAfter().AsTime().Equal(leaf.NotAfter) {
		t.Errorf("runs from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
	if leaf.IsCA || len(leaf.DNSNames) != 0 || !cmp.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("certificate: CA %v, names %v, usage %v, serial %v", leaf.IsCA, leaf.DNSNames, leaf.ExtKeyUsage, leaf.SerialNumber)
	}
	if !bytes.Equal(answer.GetRedactionKey(), w.authority.RedactionKey()) || len(answer.GetRootsDer()) != 1 || !bytes.Equal(answer.GetRootsDer()[0], w.authority.Roots()[0].Raw) {
		t.Error("redaction key or roots are others")
	}
	again, err := w.stranger().Enrol(t.Context(), enrolRequest(token.Proof(), request(t, ed(t))))
	if err != nil || again.GetAgentId() == answer.GetAgentId() {
		t.Errorf("the next enrolment: %v, agent %s like the first", err, again.GetAgentId())
	}
	want := []Enrolment{
		{AgentID: answer.GetAgentId(), TokenID: token.ID, Node: "node-1", MachineID: "m-1", At: today},
		{AgentID: again.GetAgentId(), TokenID: token.ID, Node: "node-1", MachineID: "m-1", At: today},
	}
	got := append([]Enrolment(nil), w.store.enrolments...)
	for i := range got {
		got[i].KeyHash = [32]byte{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("booked (-want +got):\n%s", diff)
	}
}

func TestEnrolRefuses(t *testing.T) {
	w := newWorld(t, nil)
	good, der := w.token(1).Proof(), request(t, p256(t))
	otherSecret := tlsconf.NewJoinToken(tlsconf.Pin{}).Proof()
	revoked := w.token(1)
	if err := w.tokens.Revoke(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	client := w.stranger()
	for _, test := range []struct {
		name    string
		request *sensorv1.EnrolRequest
		code    codes.Code
		says    string
	}{
		{"nothing", &sensorv1.EnrolRequest{}, codes.PermissionDenied, "there is no proof"},
		{"no token", enrolRequest("", der), codes.PermissionDenied, "is unknown"},
		{"a whole token", enrolRequest(w.token(1).Reveal(), der), codes.PermissionDenied, "is unknown"},
		{"unknown id", enrolRequest(otherSecret, der), codes.PermissionDenied, "is unknown"},
		{"wrong secret", enrolRequest(good[:17]+otherSecret[17:], der), codes.PermissionDenied, "is unknown"},
		{"revoked", enrolRequest(revoked.Proof(), der), codes.PermissionDenied, "is unknown"},
		{"endless token", enrolRequest(strings.Repeat("a", 1<<20), der), codes.PermissionDenied, "is unknown"},
		{"truncated request", enrolRequest(good, der[:100]), codes.InvalidArgument, "no PKCS #10"},
		{"garbage request", enrolRequest(good, []byte("garbage")), codes.InvalidArgument, "no PKCS #10"},
		{"oversized request", enrolRequest(good, make([]byte, 64<<10)), codes.InvalidArgument, "larger than"},
		{"long node", &sensorv1.EnrolRequest{Node: strings.Repeat("n", 257)}, codes.InvalidArgument, "too long"},
		{"service account", &sensorv1.EnrolRequest{Proof: &sensorv1.EnrolRequest_ServiceAccountToken{ServiceAccountToken: "x"}}, codes.PermissionDenied, "takes no service account tokens"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := client.Enrol(t.Context(), test.request)
			wantCode(t, err, test.code, test.says)
		})
	}
	// None of it has cost the good token its use.
	if _, err := client.Enrol(t.Context(), enrolRequest(good, der)); err != nil {
		t.Errorf("the good one: %v", err)
	}
	late := w.token(1)
	w.advance(time.Hour)
	_, err := client.Enrol(t.Context(), enrolRequest(late.Proof(), der))
	wantCode(t, err, codes.PermissionDenied, "the join token expired on 2030-05-01T13:00:00Z")
	if err := testutil.GatherAndCompare(w.registry, strings.NewReader(`
# HELP seawall_collector_enrol_refused_total Calls of Enrol and Renew that were refused, by reason.
# TYPE seawall_collector_enrol_refused_total counter
seawall_collector_enrol_refused_total{reason="account"} 1
seawall_collector_enrol_refused_total{reason="expired"} 1
seawall_collector_enrol_refused_total{reason="identity"} 0
seawall_collector_enrol_refused_total{reason="internal"} 0
seawall_collector_enrol_refused_total{reason="proof"} 7
seawall_collector_enrol_refused_total{reason="rate"} 0
seawall_collector_enrol_refused_total{reason="request"} 4
seawall_collector_enrol_refused_total{reason="revoked"} 0
seawall_collector_enrol_refused_total{reason="used_up"} 0
`), "seawall_collector_enrol_refused_total"); err != nil {
		t.Error(err)
	}
}

func TestOneUseTokenIsUsedOnce(t *testing.T) {
	w := newWorld(t, nil)
	proof, key := w.token(1).Proof(), p256(t)
	client := w.stranger()
	first, err := client.Enrol(t.Context(), enrolRequest(proof, request(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Enrol(t.Context(), enrolRequest(proof, request(t, p256(t))))
	wantCode(t, err, codes.PermissionDenied, "used up")
	// The answer got lost: the same key asks again, and is the same agent. A thief of
	// the request gets a certificate for a key he does not have.
	again, err := client.Enrol(t.Context(), enrolRequest(proof, request(t, key)))
	if err != nil || again.GetAgentId() != first.GetAgentId() {
		t.Errorf("asked again: %v, agent %s, was %s", err, again.GetAgentId(), first.GetAgentId())
	}

	proof = w.token(3).Proof()
	var all sync.WaitGroup
	var mu sync.Mutex
	agents := map[string]bool{}
	for range 20 {
		der := request(t, p256(t))
		all.Go(func() {
			answer, err := client.Enrol(t.Context(), enrolRequest(proof, der))
			if err != nil {
				wantCode(t, err, codes.PermissionDenied, "used up")
				return
			}
			mu.Lock()
			defer mu.Unlock()
			agents[answer.GetAgentId()] = true
		})
	}
	all.Wait()
	if len(agents) != 3 {
		t.Errorf("%d agents by a token of three uses", len(agents))
	}
}

func TestRenew(t *testing.T) {
	w := newWorld(t, nil)
	id, certificate := w.enrolled()
	client := w.dial(certificate, "127.0.0.1")
	key := p256(t)
	w.advance(16 * time.Hour)
	answer, err := client.Renew(t.Context(), &sensorv1.RenewRequest{CertificateRequestDer: request(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	leaf := leafOf(t, answer)
	if answer.GetAgentId() != id || !strings.HasSuffix(leaf.URIs[0].String(), id) || !leaf.NotAfter.Equal(today.Add(40*time.Hour)) {
		t.Errorf("agent %s, certificate of %s until %v; was %s", answer.GetAgentId(), leaf.URIs[0], leaf.NotAfter, id)
	}
	if key, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || key.Equal(certificate.PrivateKey.(crypto.Signer).Public()) {
		t.Error("the key is the old one")
	}

	renew := func(client sensorv1.EnrolmentClient, der []byte) error {
		_, err := client.Renew(t.Context(), &sensorv1.RenewRequest{CertificateRequestDer: der})
		return err
	}
	wantCode(t, renew(client, request(t, certificate.PrivateKey.(crypto.Signer))), codes.InvalidArgument, "not a new one")
	wantCode(t, renew(client, []byte("garbage")), codes.InvalidArgument, "no PKCS #10")
	wantCode(t, renew(w.stranger(), request(t, p256(t))), codes.Unauthenticated, "shows no certificate")

	files, err := w.authority.IssueClient("siem", tlsconf.Operator, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	siem, err := tls.X509KeyPair(files.Certificate, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, renew(w.dial(&siem, "127.0.0.1"), request(t, p256(t))), codes.Unauthenticated, "is a client's, wanted is one of [agent]")

	// The connection is older than the end of its certificate.
	w.advance(9 * time.Hour)
	wantCode(t, renew(client, request(t, p256(t))), codes.Unauthenticated, "has expired")
	// And a new one is not made with it.
	wantCode(t, renew(w.dial(certificate, "127.0.0.1"), request(t, p256(t))), codes.Unavailable, "")
	// The collector says whose it is.
	if err := <-w.failed; !strings.Contains(err.Error(), "certificate of seawall://prod/agent/"+id) || !strings.Contains(err.Error(), "expired on 2030-05-02T12:00:00Z") {
		t.Errorf("handshake: %v", err)
	}
}

// An agent that was off for longer than its certificate's life comes back as who it was.
func TestRenewWithAnExpiredCertificate(t *testing.T) {
	grace := 5 * 24 * time.Hour // the collector's own certificate holds for seven
	w := newWorld(t, func(o *Options) { o.RenewalGrace = grace })
	id, certificate := w.enrolled()
	revokedID, revoked := w.enrolled()
	w.store.mu.Lock()
	w.store.revoked[revokedID] = true
	w.store.mu.Unlock()
	renew := func(client sensorv1.EnrolmentClient) (*sensorv1.EnrolResponse, error) {
		return client.Renew(t.Context(), &sensorv1.RenewRequest{CertificateRequestDer: request(t, p256(t))})
	}
	w.advance(agentLifetime + grace)
	client := w.dial(certificate, "127.0.0.1")
	answer, err := renew(client)
	if err != nil || answer.GetAgentId() != id || !leafOf(t, answer).NotAfter.Equal(w.now().Add(agentLifetime)) {
		t.Errorf("answered %v, %v", answer, err)
	}
	_, err = renew(w.dial(revoked, "127.0.0.1"))
	wantCode(t, err, codes.PermissionDenied, "the agent is revoked")

	// The grace ends on a connection that is older than its end, and for new ones.
	w.advance(time.Second)
	_, err = renew(client)
	wantCode(t, err, codes.Unauthenticated, "has expired")
	_, err = renew(w.dial(certificate, "127.0.0.1"))
	wantCode(t, err, codes.Unavailable, "")
	if err := <-w.failed; !strings.Contains(err.Error(), "expired on 2030-05-02T12:00:00Z") {
		t.Errorf("handshake: %v", err)
	}
}

func TestRevokedAgentsAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	proof, key := w.token(1).Proof(), p256(t)
	answer, err := w.stranger().Enrol(t.Context(), enrolRequest(proof, request(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	client := w.dial(&tls.Certificate{Certificate: answer.GetCertificatesDer(), PrivateKey: key}, "127.0.0.1")
	w.store.mu.Lock()
	w.store.revoked[answer.GetAgentId()] = true
	w.store.mu.Unlock()
	_, err = client.Renew(t.Context(), &sensorv1.RenewRequest{CertificateRequestDer: request(t, p256(t))})
	wantCode(t, err, codes.PermissionDenied, "the agent is revoked")
	_, err = w.stranger().Enrol(t.Context(), enrolRequest(proof, request(t, key)))
	wantCode(t, err, codes.PermissionDenied, "the agent is revoked")
}

func TestRenewalsAreLimitedPerAgent(t *testing.T) {
	w := newWorld(t, nil)
	_, one := w.enrolled()
	_, other := w.enrolled()
	renew := func(certificate *tls.Certificate) error {
		_, err := w.dial(certificate, "127.0.0.1").Renew(t.Context(), &sensorv1.RenewRequest{CertificateRequestDer: request(t, p256(t))})
		return err
	}
	for range renewalsBurst {
		if err := renew(one); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, renew(one), codes.ResourceExhausted, "too many")
	if err := renew(other); err != nil {
		t.Errorf("another agent pays for it: %v", err)
	}
}

// reviewer is one that answers what it is told.
type reviewer struct {
	account ServiceAccount
	err     error
}

func (r *reviewer) Review(context.Context, string) (ServiceAccount, error) { return r.account, r.err }

func TestServiceAccounts(t *testing.T) {
	signer := p256(t)
	keys := keySet(t, map[string]crypto.PublicKey{"ec": signer.Public()})
	w := newWorld(t, func(o *Options) {
		var err error
		if o.Reviewer, err = NewKeyReviewer(keys, issuer, audience, newClock().now); err != nil {
			t.Fatal(err)
		}
		o.ServiceAccounts = []string{"seawall/agent"}
	})
	enrol := func(token string, key crypto.Signer) (*sensorv1.EnrolResponse, error) {
		return w.stranger().Enrol(t.Context(), &sensorv1.EnrolRequest{
			Proof: &sensorv1.EnrolRequest_ServiceAccountToken{ServiceAccountToken: token}, CertificateRequestDer: request(t, key),
			Node: "the-agent's-word",
		})
	}
	token, key := issueToken(t, signer, jose.ES256, "ec", podClaims()), p256(t)
	first, err := enrol(token, key)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := enrol(token, key); err != nil || again.GetAgentId() != first.GetAgentId() {
		t.Errorf("the same key again: %v, agent %s, was %s", err, again.GetAgentId(), first.GetAgentId())
	}
	if other, err := enrol(token, p256(t)); err != nil || other.GetAgentId() == first.GetAgentId() {
		t.Errorf("another key: %v, the same agent", err)
	}
	if w.store.enrolments[0].ServiceAccount != "seawall/agent" || w.store.enrolments[0].TokenID != "" || w.store.enrolments[0].Node != "node-1" {
		t.Errorf("booked %+v", w.store.enrolments[0])
	}
	foreign := podClaims()
	foreign["sub"] = "system:serviceaccount:default:web"
	foreign["kubernetes.io"] = map[string]any{"namespace": "default", "serviceaccount": map[string]any{"name": "web"}, "pod": map[string]any{"name": "p"}}
	_, err = enrol(issueToken(t, signer, jose.ES256, "ec", foreign), key)
	wantCode(t, err, codes.PermissionDenied, "default/web is not one that may enrol")
	_, err = enrol("a.b.c", key)
	wantCode(t, err, codes.PermissionDenied, "refused: it is no signed token")
	_, err = enrol(strings.Repeat("a", maxServiceAccountToken+1), key)
	wantCode(t, err, codes.PermissionDenied, "too long")
}

// What breaks here is told the log and not the caller, who may try again.
func TestOwnErrorsAreNoRefusals(t *testing.T) {
	r := &reviewer{err: fmt.Errorf("%w: no route", ErrNotReviewed)}
	w := newWorld(t, func(o *Options) { o.Reviewer = r })
	_, err := w.stranger().Enrol(t.Context(), &sensorv1.EnrolRequest{Proof: &sensorv1.EnrolRequest_ServiceAccountToken{ServiceAccountToken: "x"}})
	wantCode(t, err, codes.Unavailable, "could not look into it")
	proof := w.token(1).Proof()
	w.store.mu.Lock()
	w.store.broken = errors.New("disk full")
	w.store.mu.Unlock()
	_, err = w.stranger().Enrol(t.Context(), enrolRequest(proof, request(t, p256(t))))
	wantCode(t, err, codes.Unavailable, "could not look into it")
	if n := w.logs.FilterMessage("certificate not issued").Len(); n != 2 {
		t.Errorf("%d lines of it", n)
	}
}

func TestLogNamesWhoAndNoSecret(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token(1)
	good := enrolRequest(token.Proof(), request(t, p256(t)))
	answer, err := w.stranger().Enrol(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	good.CertificateRequestDer = request(t, p256(t))
	if _, err := w.stranger().Enrol(t.Context(), good); err == nil {
		t.Fatal("the second is let in")
	}
	lines := map[string]string{}
	for _, entry := range w.logs.All() {
		lines[entry.Message] += fmt.Sprintf("%v", entry.ContextMap())
	}
	for message, facts := range map[string][]string{
		"certificate issued":  {"agent_id:" + answer.GetAgentId(), "token_id:" + token.ID, "address:127.0.0.1", "node:node-1", "serial:", "not_after:"},
		"certificate refused": {"token_id:" + token.ID, "address:127.0.0.1", "reason:the join token is used up"},
	} {
		for _, fact := range facts {
			if !strings.Contains(lines[message], fact) {
				t.Errorf("%s lacks %s: %s", message, fact, lines[message])
			}
		}
	}
	secret := strings.Split(token.Reveal(), ".")[2]
	redaction := w.authority.RedactionKey()
	for message, line := range lines {
		for _, hidden := range []string{secret, hex.EncodeToString(redaction), base64.StdEncoding.EncodeToString(redaction), fmt.Sprint(redaction)} {
			if strings.Contains(line, hidden) {
				t.Errorf("%s tells a secret: %s", message, line)
			}
		}
	}
}

// 10,000 bad calls: nearly all are turned away before anything is looked up, memory and
// log stay small, and somebody else still gets in.
func TestFlood(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Limits = Limits{PerSource: 5, PerSourceBurst: 50, Total: rate.Limit(50), TotalBurst: 200}
	})
	client := w.stranger()
	bad := enrolRequest(tlsconf.NewJoinToken(tlsconf.Pin{}).Proof(), bytes.Repeat([]byte{0x30}, 2<<10))
	if _, err := client.Enrol(t.Context(), bad); err == nil {
		t.Fatal("let in")
	}
	before := heap()
	var all sync.WaitGroup
	var mu sync.Mutex
	got := map[codes.Code]int{}
	for range 10 {
		all.Go(func() {
			for range 1000 {
				_, err := client.Enrol(t.Context(), bad)
				mu.Lock()
				got[status.Code(err)]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if got[codes.PermissionDenied] != 49 || got[codes.ResourceExhausted] != 9951 { // the clock stands
		t.Errorf("answers %v", got)
	}
	if grown := int64(heap()) - int64(before); grown > 2<<20 {
		t.Errorf("%d bytes more are in use", grown)
	}
	if n := w.logs.Len(); n > 60 {
		t.Errorf("%d lines", n)
	}
	if _, err := w.dial(nil, "127.0.0.2").Enrol(t.Context(), enrolRequest(w.token(1).Proof(), request(t, p256(t)))); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
