package audit

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

var control = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}

// leases has API servers send what each does by itself: its lease, every ten seconds.
func (w *world) leases(servers ...string) func(time.Time) {
	sent := make(map[string]time.Time)
	return func(now time.Time) {
		for i, server := range servers {
			if now.Sub(sent[server]) >= 10*time.Second {
				sent[server] = now
				w.bringOf("webhook", server, now.Add(-time.Second-time.Duration(i)*time.Millisecond))
			}
		}
	}
}

// told is how the webhook was told to be, changes only.
func (w *world) told() (conditions []string) {
	last := ""
	for _, s := range w.states {
		if text := words[s.Condition]; text != last {
			last = text
			conditions = append(conditions, text)
		}
	}
	return conditions
}

func (w *world) wantTold(want ...string) {
	w.t.Helper()
	if got := w.told(); strings.Join(got, " ") != strings.Join(want, " ") {
		w.t.Errorf("it was told to be %v, want %v", got, want)
	}
}

// One of three API servers that sends no more is not hidden by the others, and what it did
// not send is a gap when it is back.
func TestOneServerIsSilent(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	w.lasts(10*time.Minute, w.leases(control...))
	last := w.health.sources[0].server(control[2])
	received, newest := last.received, last.newest
	w.lasts(5*time.Minute, w.leases(control[:2]...))
	s := w.health.State()
	want := fmt.Sprintf("API server at 10.0.0.3 since %s; it is taken to be gone at %s", clock(received), clock(received.Add(forgetAfter)))
	if s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_STALE || !s.Since.AsTime().Equal(received) || !strings.Contains(s.Reason, want) || !s.Newest.AsTime().Equal(newest) {
		t.Errorf("%v", s)
	}
	for i, one := range s.Sources[0].Servers {
		if stale := i == 2; one.Name != control[i] || stale != (one.Condition == collectorv1.AuditCondition_AUDIT_CONDITION_STALE) || stale != (one.Forgotten != nil) {
			t.Errorf("%v", one)
		}
	}
	// It stays so across a restart and a kill.
	w.batches = nil // the log was trimmed
	w.kill(20*time.Second, onlyWebhook)
	w.lasts(3*time.Minute, w.leases(control[:2]...))
	if s := w.health.State(); s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_STALE {
		t.Errorf("after a restart: %v", s)
	}
	w.lasts(10*time.Second, w.leases(control...))
	first := w.health.sources[0].server(control[2]).newest
	w.lasts(5*time.Minute, w.leases(control...))
	if s := w.health.State(); s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING || s.Reason != "" {
		t.Errorf("%v", s)
	}
	w.wantGaps(fmt.Sprintf("down webhook %s to %s", clockAt(newest), clockAt(first)))
	// The gap is one after the next restart, too.
	w.batches = nil
	w.kill(time.Second, onlyWebhook)
	w.lasts(3*time.Minute, w.leases(control...))
	w.wantGaps(fmt.Sprintf("down webhook %s to %s", clockAt(newest), clockAt(first)))
}

// Idle servers, a restart, and an outage of all do not make one of them stale.
func TestServersDoNotFlap(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	w.lasts(10*time.Minute, func(now time.Time) {
		w.leases(control...)(now)
		w.bringOf("webhook", control[0], now.Add(-300*time.Millisecond)) // all that happens is there
	})
	w.lasts(time.Hour, w.leases(control...))
	w.kill(10*time.Minute, onlyWebhook)
	w.lasts(80*time.Second, w.leases(control[0])) // the others try again later
	w.lasts(10*time.Minute, w.leases(control...))
	w.wantTold("receiving")
	w.lasts(10*time.Minute, nil)
	w.lasts(80*time.Second, w.leases(control[1]))
	w.lasts(10*time.Minute, w.leases(control...))
	w.wantTold("receiving", "stale", "receiving")
}

// A server whose policy leaves leases out has its own usual silence, and addresses that are
// dealt out anew are no servers.
func TestServersThatCannotBeKnown(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	w.lasts(15*time.Minute, w.leases(control...))
	sparse, next := 20*time.Second, w.now
	w.lasts(2*time.Hour, func(now time.Time) {
		w.leases(control[0], control[1])(now)
		if !now.Before(next) {
			w.bringOf("webhook", control[2], now.Add(-time.Second))
			next, sparse = now.Add(sparse), min(sparse+10*time.Second, 3*time.Minute)
		}
		w.bringOf("webhook", fmt.Sprintf("100.64.0.%d", now.Unix()/60%5), now.Add(-2*time.Second))
	})
	w.wantTold("receiving")
	if n := len(w.health.sources[0].servers); n > maxServers {
		t.Errorf("%d servers", n)
	}
	for i := range 2 * maxServers {
		w.bringOf("webhook", fmt.Sprintf("100.65.0.%d", i), w.now.Add(-time.Second))
	}
	if n := len(w.health.sources[0].servers); n > maxServers {
		t.Errorf("%d servers", n)
	}
}

// A control plane's node that was removed is forgotten after the time that was said; one
// that comes back after all has a gap.
func TestServerThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	w.lasts(10*time.Minute, w.leases(control...))
	newest := w.health.sources[0].server(control[2]).newest
	w.lasts(forgetAfter+time.Minute, w.leases(control[:2]...))
	s := w.health.State()
	if s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING || len(s.Sources[0].Servers) != 2 || s.Newest.AsTime().Before(w.now.Add(-time.Minute)) {
		t.Errorf("%v", s)
	}
	w.wantTold("receiving", "stale", "receiving")
	w.wantGaps("")
	w.lasts(10*time.Second, w.leases(control...))
	first := w.health.sources[0].server(control[2]).newest
	w.lasts(5*time.Minute, w.leases(control...))
	w.wantGaps(fmt.Sprintf("silent webhook %s to %s", clockAt(newest), clockAt(first)))
	w.wantTold("receiving", "stale", "receiving")
}

// Files that have all of it make up for a server that sends nothing.
func TestFilesStandInForAServer(t *testing.T) {
	w := newWorld(t)
	both := func(servers ...string) func(time.Time) {
		return func(now time.Time) {
			w.leases(servers...)(now)
			w.by("file")(now)
			w.health.drained("file")
		}
	}
	w.lasts(10*time.Minute, both(control...))
	w.lasts(5*time.Minute, both(control[:2]...))
	w.lasts(5*time.Minute, both(control...))
	w.wantTold("receiving")
	w.wantGaps("")
}

// A request's connection says which server it is.
func TestServerOf(t *testing.T) {
	named := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "kube-apiserver-\xff"}}}}
	for _, test := range []struct {
		address string
		tls     *tls.ConnectionState
		want    string
	}{
		{"10.0.0.3:40000", nil, "10.0.0.3"},
		{"[fd00::3]:40000", &tls.ConnectionState{}, "fd00::3"},
		{"10.0.0.3:40001", named, "10.0.0.3 (kube-apiserver-)"},
		{"@", nil, "@"},
	} {
		if got := serverOf(&http.Request{RemoteAddr: test.address, TLS: test.tls}); got != test.want {
			t.Errorf("%s is %s, want %s", test.address, got, test.want)
		}
	}
	w := newWorld(t)
	post(t, w.webhook(), http.MethodPost, good, body("a"))
	if s := w.health.sources[0].servers; len(s) != 1 || s[0].name != "192.0.2.1" {
		t.Errorf("%v", s)
	}
}

// Requests of one length are told apart by what is in them and by who sends them.
func TestRefusedRequestsOfOneLength(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	h := w.webhook()
	send := func(address, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Authorization", good)
		r.RemoteAddr = address + ":1"
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	w.failing(errFull)
	for _, address := range control[:2] {
		for _, id := range []string{"a", "b"} {
			send(address, body(id))
		}
	}
	w.failing(nil)
	send(control[0], body("a"))
	send(control[0], body("c")) // of the same length, and never refused
	w.lasts(5*time.Minute, w.by("webhook"))
	w.wantGaps("refused webhook 3")
}
