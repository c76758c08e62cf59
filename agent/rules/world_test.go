package rules

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
)

// host is kernel, pipeline and clock of an agent: a switch that succeeds shows in the
// matcher, as in a real one.
type host struct {
	t        testing.TB
	dir      string
	now      time.Time
	keys     bundle.Keys
	interest rule.Interest
	matcher  *rule.Matcher
	switches int
	refusal  error // of the kernel
	ended    error // of the reader
	counts   rule.Excepted
	waits    chan struct{} // Wait was called
	tick     chan struct{} // and may return
}

func (h *host) Switch(next rule.Interest, between func() error) error {
	if h.refusal != nil {
		return h.refusal
	}
	if err := between(); err != nil {
		return err
	}
	h.interest = next
	return nil
}

// reader is the host's pipeline.
type reader struct{ *host }

func (r reader) Switch(_ context.Context, set *rule.Set) error {
	if r.ended != nil {
		return r.ended
	}
	r.switches++
	r.matcher = set.NewMatcher(&r.counts)
	return nil
}

func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func trusted(keys ...ed25519.PrivateKey) bundle.Keys {
	k := bundle.Keys{}
	for _, one := range keys {
		public := one.Public().(ed25519.PublicKey)
		k[bundle.IDOf(public)] = public
	}
	return k
}

func newHost(t testing.TB) *host {
	return &host{t: t, dir: t.TempDir(), now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), keys: trusted(key(1)), waits: make(chan struct{}), tick: make(chan struct{})}
}

// start is an agent's start; sources are its own files.
func (h *host) start(sources ...rule.Source) *Rules {
	h.t.Helper()
	r, err := Open(Options{
		StateDir: h.dir, Keys: h.keys, Sources: append([]rule.Source{{Name: "builtin.yaml", Data: []byte(ruleOf("shell", "bash"))}}, sources...),
		Now: func() time.Time { return h.now }, Log: zap.NewNop(),
		Wait: func(ctx context.Context, _ time.Duration) error {
			h.waits <- struct{}{}
			select {
			case <-h.tick:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.matcher, h.interest = r.Set().NewMatcher(&h.counts), r.Set().Interest()
	r.Attach(h, reader{h})
	return r
}

// detects are the rules that fire when a program starts.
func (h *host) detects(program string) string {
	var ids []string
	h.matcher.Match(&event.Event{Header: event.Header{Kind: event.KindProcessExec}, Payload: &event.Exec{}, Process: &event.Process{Name: program}},
		func(r *rule.Rule) { ids = append(ids, r.ID) })
	return strings.Join(ids, " ")
}

// mustDetect says what fires for bash, which a built-in rule is about, and for nc, which
// none is.
func (h *host) mustDetect(when, bash, nc string) {
	h.t.Helper()
	if got := h.detects("bash"); got != bash {
		h.t.Errorf("%s bash raises %q, not %q", when, got, bash)
	}
	if got := h.detects("nc"); got != nc {
		h.t.Errorf("%s nc raises %q, not %q", when, got, nc)
	}
}

// mustHold says which bundle is in force.
func mustHold(t testing.TB, r *Rules, when string, want uint64) {
	t.Helper()
	version, serial := r.InForce()
	if wanted := fmt.Sprint("v", want); serial != want || want != 0 && version != wanted || want == 0 && version != "" {
		t.Errorf("%s bundle %q with serial %d is in force, not %d", when, version, serial, want)
	}
}

func ruleOf(id, program string) string {
	return fmt.Sprintf("rules:\n  - {id: %s, title: T, severity: low, kinds: [process_exec], condition: process.name == %q, summary: process.name}\n", id, program)
}

func exceptionTo(id, expires string) string {
	return fmt.Sprintf("exceptions:\n  - {rule: %s, name: known, condition: process.pid == 0u, author: a, reason: r, expires: %s}\n", id, expires)
}

func sign(t testing.TB, by ed25519.PrivateKey, serial uint64, files ...string) bundle.Signed {
	t.Helper()
	b := bundle.Bundle{Serial: serial, Version: fmt.Sprint("v", serial)}
	for i, text := range files {
		b.Files = append(b.Files, bundle.File{Name: fmt.Sprintf("%d.yaml", i), Data: []byte(text)})
	}
	s, err := bundle.Sign(b, by)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustApply(t testing.TB, r *Rules, s bundle.Signed) {
	t.Helper()
	if _, err := r.Apply(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// mustRefuse applies what must not come into force.
func mustRefuse(t testing.TB, r *Rules, s bundle.Signed, why string) {
	t.Helper()
	if _, err := r.Apply(t.Context(), s); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want %s", err, why)
	}
}

var errRefused = errors.New("the kernel refuses")
