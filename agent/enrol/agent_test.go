package enrol

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func TestAgentEnrolsAndRemembers(t *testing.T) {
	c := &clock{time: today}
	server := listen(t, c, newAuthority(t))
	o := server.options(t)
	o.JoinToken = server.token()
	fresh := open(t, o)
	select {
	case <-fresh.Ready():
		t.Error("ready before it has enrolled")
	default:
	}
	if _, ok := fresh.Identity(); ok || fresh.TLS() != nil || fresh.RedactionKey() != nil {
		t.Error("knows who it is before it has enrolled")
	}

	if open(t, o).Certificate() != nil {
		t.Error("a certificate before there is one")
	}
	a := settled(t, o)
	<-a.Ready()
	want := tlsconf.Identity{Cluster: "prod", Role: tlsconf.Agent, Name: firstID}
	if id, ok := a.Identity(); !ok || id != want || len(a.RedactionKey()) != 32 {
		t.Errorf("identity %v, %v", id, ok)
	}
	if r := server.enrolled[0]; r.GetJoinToken() != o.JoinToken.Proof() || r.GetNode() != "node-1" || r.GetMachineId() != "m-1" {
		t.Errorf("asked %v", r)
	}
	entries, err := os.ReadDir(o.StateDir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("state folder has %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Name() != identityFile || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}

	// Another start asks nobody.
	server.set(func() { server.id = secondID })
	again := settled(t, o)
	if id, _ := again.Identity(); id != want || len(server.enrolled) != 1 || !bytes.Equal(again.RedactionKey(), a.RedactionKey()) {
		t.Errorf("after a restart %v, %d enrolments", id, len(server.enrolled))
	}
}

// Ninety hours of an agent's life: some renewals, each with a new key, under one id.
func TestAgentRenewsAtTwoThirds(t *testing.T) {
	for random, renewals := range map[float64]int{0: 6, 0.5: 5, 0.999: 5} {
		c := &clock{time: today}
		server := listen(t, c, newAuthority(t))
		o := server.options(t)
		o.JoinToken = server.token()
		o.Random = func() float64 { return random }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o.Wait = func(ctx context.Context, d time.Duration) error {
			if d <= 0 || d > longestWait {
				t.Errorf("waits for %v", d)
				cancel()
			}
			c.advance(d)
			if c.now().After(today.Add(90 * time.Hour)) {
				cancel()
			}
			return ctx.Err()
		}
		a := open(t, o)
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(server.enrolled) != 1 || len(server.renewed) != renewals {
			t.Fatalf("random %v: %d enrolments, %d renewals", random, len(server.enrolled), len(server.renewed))
		}
		if shown := server.renewed[renewals-1].Certificate; !a.Certificate().NotBefore.After(shown.NotBefore) {
			t.Errorf("random %v: the certificate is of %v, the one that was renewed last of %v", random, a.Certificate().NotBefore, shown.NotBefore)
		}
		keys := map[string]bool{}
		for i, peer := range server.renewed {
			if peer.Name != firstID {
				t.Errorf("renews for %s", peer.Name)
			}
			keys[string(peer.Certificate.RawSubjectPublicKeyInfo)] = true
			if i == 0 {
				continue
			}
			// It was made when the one before was due; of 24 h 5 min two thirds are 16 h 3 min.
			life := peer.Certificate.NotBefore.Sub(server.renewed[i-1].Certificate.NotBefore)
			at := 16*time.Hour + 3*time.Minute + time.Duration((random-0.5)*spread*float64(24*time.Hour))
			if life < at-time.Hour/10 || life > at+time.Hour/10 {
				t.Errorf("random %v: renewed after %v, want about %v", random, life, at)
			}
		}
		if len(keys) != renewals {
			t.Errorf("%d keys in %d renewals", len(keys), renewals)
		}
		if id, ok := settled(t, o).Identity(); !ok || id.Name != firstID {
			t.Errorf("after a restart %v", id)
		}
	}
}

func TestExpiredWhileOff(t *testing.T) {
	c := &clock{time: today}
	server := listen(t, c, newAuthority(t))
	o := server.options(t)
	o.JoinToken = server.token()
	settled(t, o)
	c.advance(25 * time.Hour)
	server.set(func() { server.id = secondID })

	without := o
	without.JoinToken = nil
	a := open(t, without)
	err := a.Run(t.Context())
	var cannot *CannotEnrolError
	if !errors.As(err, &cannot) || !strings.Contains(err.Error(), "the certificate of seawall://prod/agent/"+firstID+" expired on 2030-05-02T12:00:00Z") ||
		!strings.Contains(err.Error(), "make a join token on the collector") {
		t.Errorf("without a token: %v", err)
	}
	if len(server.enrolled) != 1 {
		t.Error("it asked all the same")
	}

	if id, _ := settled(t, o).Identity(); id.Name != secondID || len(server.renewed) != 0 {
		t.Errorf("with a token it is %v; %d renewals", id, len(server.renewed))
	}
	if keyOf(t, server.enrolled[0]).Equal(keyOf(t, server.enrolled[1])) {
		t.Error("it enrols anew with the old key")
	}
}

// A node that was off over the weekend comes back as who it was, with a token or without.
func TestRenewsLate(t *testing.T) {
	c := &clock{time: today}
	server := listenLate(t, c, newAuthority(t), 5*24*time.Hour)
	o := server.options(t)
	o.JoinToken = server.token()
	settled(t, o)
	server.set(func() { server.id = secondID })
	for i := range 2 {
		c.advance(4 * 24 * time.Hour)
		if id, _ := settled(t, o).Identity(); id.Name != firstID || len(server.renewed) != i+1 || len(server.enrolled) != 1 {
			t.Errorf("it is %v; %d renewals, %d enrolments", id, len(server.renewed), len(server.enrolled))
		}
		o.JoinToken = nil
	}

	// A collector that is away, or has no time, says nothing about the certificate.
	c.advance(2 * 24 * time.Hour)
	a := open(t, o)
	var cannot *CannotEnrolError
	server.set(func() { server.refuse = status.Error(codes.ResourceExhausted, "too many") })
	if _, err := a.step(t.Context()); err == nil || errors.As(err, &cannot) {
		t.Errorf("a collector without time: %v", err)
	}
	a.options.Collector = "127.0.0.1:1"
	if _, err := a.step(t.Context()); err == nil || errors.As(err, &cannot) {
		t.Errorf("a collector that is away: %v", err)
	}
	a.options.Collector = server.address
	server.set(func() { server.refuse = status.Error(codes.PermissionDenied, "the agent is revoked") })
	if _, err := a.step(t.Context()); !errors.As(err, &cannot) || !strings.Contains(err.Error(), "the agent is revoked") {
		t.Errorf("revoked: %v", err)
	}
}

func TestNeverEnrolledAndNoToken(t *testing.T) {
	server := listen(t, &clock{time: today}, newAuthority(t))
	err := open(t, server.options(t)).Run(t.Context())
	var cannot *CannotEnrolError
	if !errors.As(err, &cannot) || !strings.Contains(err.Error(), "this agent has no certificate") {
		t.Error(err)
	}
}

// The answer to the first attempt gets lost; so does the process. The second attempt
// comes with the same key, for the collector to know it by.
func TestLostAnswerIsAskedForWithTheSameKey(t *testing.T) {
	server := listen(t, &clock{time: today}, newAuthority(t))
	o := server.options(t)
	o.JoinToken = server.token()
	server.set(func() { server.refuse = status.Error(codes.Unavailable, "cut") })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Wait = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
	if err := open(t, o).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(o.StateDir, pendingFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	server.set(func() { server.refuse = nil })
	settled(t, o)
	if !keyOf(t, server.enrolled[0]).Equal(keyOf(t, server.enrolled[1])) {
		t.Error("another key")
	}
	if _, err := os.Stat(filepath.Join(o.StateDir, pendingFile)); err == nil {
		t.Error("the key of the attempt is still there")
	}
}

func TestAttemptsBackOff(t *testing.T) {
	server := listen(t, &clock{time: today}, newAuthority(t))
	o := server.options(t)
	o.JoinToken = server.token()
	logs := observe(&o)
	server.set(func() { server.refuse = status.Error(codes.PermissionDenied, "the join token is used up") })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waits []time.Duration
	o.Wait = func(ctx context.Context, d time.Duration) error {
		if waits = append(waits, d); len(waits) == 12 {
			cancel()
		}
		return ctx.Err()
	}
	if err := open(t, o).Run(ctx); err != nil {
		t.Fatal(err)
	}
	for i, d := range waits {
		if want := min(time.Second<<i, backoffMax); d != want {
			t.Errorf("attempt %d is followed by %v, want %v", i, d, want)
		}
	}
	lines := logs.FilterMessage("certificate wanted").All()
	if len(lines) != 12 || !strings.Contains(lines[0].ContextMap()["error"].(string), "used up") {
		t.Errorf("log %v", lines)
	}
}

// This machine's clock is far ahead: each new certificate is due as it comes.
func TestCertificateThatIsDueAtOnceMakesNoStorm(t *testing.T) {
	server := listen(t, &clock{time: today}, newAuthority(t))
	server.set(func() {
		server.spoil = func(r *sensorv1.EnrolResponse) {
			key := keyOf(t, server.enrolled[0])
			r.CertificatesDer[0] = server.ca.leaf(t, "seawall://prod/agent/"+firstID, key, today.Add(-20*time.Hour), today.Add(4*time.Hour)).Raw
		}
	})
	o := server.options(t)
	o.JoinToken = server.token()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Wait = func(ctx context.Context, d time.Duration) error {
		if d < time.Minute || len(server.renewed) != 0 {
			t.Errorf("waits for %v, after %d renewals", d, len(server.renewed))
		}
		cancel()
		return ctx.Err()
	}
	if err := open(t, o).Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestOpenChecksOptions(t *testing.T) {
	server := listen(t, &clock{time: today}, newAuthority(t))
	for name, change := range map[string]func(*Options){
		"no collector":       func(o *Options) { o.Collector = "" },
		"two proofs":         func(o *Options) { o.ServiceAccountToken, o.Roots = "a", "b" },
		"no roots":           func(o *Options) { o.JoinToken, o.ServiceAccountToken = nil, "a" },
		"roots only":         func(o *Options) { o.Roots = "a" },
		"state dir a file":   func(o *Options) { o.StateDir = "/dev/null" },
		"unreadable, lonely": func(o *Options) { o.JoinToken = nil; spoil(t, o.StateDir) },
	} {
		o := server.options(t)
		o.JoinToken = server.token()
		change(&o)
		if _, err := Open(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	o := server.options(t)
	o.JoinToken = server.token()
	spoil(t, o.StateDir)
	if id, ok := settled(t, o).Identity(); !ok || id.Name != firstID {
		t.Errorf("with a token, an unreadable identity is replaced: %v, %v", id, ok)
	}
}

func spoil(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, identityFile), []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A disk that takes nothing costs the memory of a restart, not the certificate.
func TestDiskThatTakesNothing(t *testing.T) {
	c := &clock{time: today}
	server := listen(t, c, newAuthority(t))
	o := server.options(t)
	o.JoinToken = server.token()
	settled(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	logs := observe(&o)
	path := filepath.Join(o.StateDir, identityFile)
	rounds := 0
	o.Wait = func(ctx context.Context, d time.Duration) error {
		switch rounds++; rounds {
		case 1: // renewed; a folder in the file's place stands for the full disk
			if len(logs.FilterMessage("certificate wanted").All()) != 1 {
				t.Error("it does not say that it cannot keep it")
			}
		case 2:
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		default:
			if d == longestWait {
				cancel()
			}
		}
		return ctx.Err()
	}
	a := open(t, o)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.advance(17 * time.Hour)
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if len(server.renewed) != 1 {
		t.Errorf("%d renewals for one certificate", len(server.renewed))
	}
	if end := a.source.Material().Certificate.Leaf.NotAfter; !end.Equal(today.Add(41 * time.Hour)) {
		t.Errorf("the certificate in use ends on %v", end)
	}
	s, err := readState(o.StateDir)
	if err != nil || s == nil || !s.leaf().NotAfter.Equal(today.Add(41*time.Hour)) {
		t.Errorf("kept at last: %v, %v", s, err)
	}
}

func TestAnswersAreChecked(t *testing.T) {
	foreign := newAuthority(t)
	for name, test := range map[string]struct {
		spoil func(*collector, *sensorv1.EnrolResponse)
		want  string
	}{
		"nothing":           {func(_ *collector, r *sensorv1.EnrolResponse) { r.Reset() }, "0 certificates and 0 roots"},
		"garbage":           {func(_ *collector, r *sensorv1.EnrolResponse) { r.CertificatesDer[0] = []byte("x") }, "read certificate"},
		"cut":               {func(_ *collector, r *sensorv1.EnrolResponse) { r.CertificatesDer[0] = r.CertificatesDer[0][:200] }, "read certificate"},
		"garbage root":      {func(_ *collector, r *sensorv1.EnrolResponse) { r.RootsDer[0] = nil }, "read root"},
		"many certificates": {func(_ *collector, r *sensorv1.EnrolResponse) { r.RootsDer = make([][]byte, 9) }, "too many"},
		"foreign root":      {func(_ *collector, r *sensorv1.EnrolResponse) { r.RootsDer[0] = foreign.certificate.Raw }, "unknown authority"},
		"leaf as root":      {func(_ *collector, r *sensorv1.EnrolResponse) { r.RootsDer[0] = r.CertificatesDer[0] }, "no CA's"},
		"short redaction":   {func(_ *collector, r *sensorv1.EnrolResponse) { r.RedactionKey = make([]byte, 31) }, "redaction key has 31"},
		"other id":          {func(_ *collector, r *sensorv1.EnrolResponse) { r.AgentId = secondID }, "another agent's"},
		"other cluster":     {func(_ *collector, r *sensorv1.EnrolResponse) { r.Cluster = "test" }, "another agent's"},
		"other key": {func(s *collector, r *sensorv1.EnrolResponse) {
			r.CertificatesDer[0] = s.ca.leaf(s.t, "seawall://prod/agent/"+firstID, s.ca.key.Public(), today, today.Add(time.Hour)).Raw
		}, "not for our key"},
		"ended": {func(s *collector, r *sensorv1.EnrolResponse) {
			request := s.enrolled[len(s.enrolled)-1]
			r.CertificatesDer[0] = s.ca.leaf(s.t, "seawall://prod/agent/"+firstID, keyOf(s.t, request), today.Add(-time.Hour), today.Add(-time.Minute)).Raw
		}, "is this machine's clock right"},
		"all of another CA": {func(s *collector, r *sensorv1.EnrolResponse) {
			key := keyOf(s.t, s.enrolled[len(s.enrolled)-1])
			r.CertificatesDer[0] = foreign.leaf(s.t, "seawall://prod/agent/"+firstID, key, today, today.Add(time.Hour)).Raw
			r.RootsDer[0] = foreign.certificate.Raw
		}, "the CA of the join token is not among the roots"},
		"collector's": {func(s *collector, r *sensorv1.EnrolResponse) {
			request := s.enrolled[len(s.enrolled)-1]
			r.CertificatesDer[0] = s.ca.leaf(s.t, "seawall://prod/collector", keyOf(s.t, request), today, today.Add(time.Hour)).Raw
		}, "no agent's"},
	} {
		t.Run(name, func(t *testing.T) {
			server := listen(t, &clock{time: today}, newAuthority(t))
			server.set(func() { server.spoil = func(r *sensorv1.EnrolResponse) { test.spoil(server, r) } })
			o := server.options(t)
			o.JoinToken = server.token()
			a := open(t, o)
			if _, err := a.step(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %q, got %v", test.want, err)
			}
			if _, ok := a.Identity(); ok {
				t.Error("it counts")
			}
			if s, err := readState(o.StateDir); s != nil || err != nil {
				t.Errorf("it is kept: %v, %v", s, err)
			}
		})
	}
	t.Run("renewed as another", func(t *testing.T) {
		c := &clock{time: today}
		server := listen(t, c, newAuthority(t))
		o := server.options(t)
		o.JoinToken = server.token()
		a := settled(t, o)
		c.advance(17 * time.Hour)
		server.set(func() { server.renewAs = secondID })
		if _, err := a.step(t.Context()); err == nil || !strings.Contains(err.Error(), "is seawall://prod/agent/"+secondID+"'s, not ours") {
			t.Errorf("taken: %v", err)
		}
		if id, _ := a.Identity(); id.Name != firstID {
			t.Errorf("it is %v now", id)
		}
	})
}
