package rules

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/rule"
)

func TestBundleComesIntoForceAndStays(t *testing.T) {
	h := newHost(t)
	r := h.start()
	mustHold(t, r, "at first", 0)
	h.mustDetect("at first", "shell", "")
	first := sign(t, key(1), 7, ruleOf("netcat", "nc"))
	mustApply(t, r, first)
	mustHold(t, r, "then", 7)
	h.mustDetect("with a rule more", "shell", "netcat")

	mustApply(t, r, first) // as a collector does at every connection
	if h.switches != 1 {
		t.Errorf("what is in force was put in force again: %d switches", h.switches)
	}
	mustRefuse(t, r, sign(t, key(1), 7, ruleOf("other", "nc")), "bundle has serial 7, which is not above 7, the newest that was in force here: sign it with a higher one")
	mustRefuse(t, r, sign(t, key(1), 6, ruleOf("other", "nc")), "bundle has serial 6, which is not above 7")
	h.mustDetect("after older ones", "shell", "netcat")

	mustApply(t, r, sign(t, key(1), 8, ruleOf("shell", "nc")))
	h.mustDetect("with a built-in rule replaced", "", "shell")
	if r.Refused() != 2 {
		t.Errorf("%d bundles are counted as refused", r.Refused())
	}

	r = h.start()
	mustHold(t, r, "after a restart", 8)
	h.mustDetect("after a restart", "", "shell")
	mustRefuse(t, r, first, "bundle has serial 7, which is not above 8")
	mustApply(t, r, sign(t, key(1), 9))
	h.mustDetect("with a bundle of nothing", "shell", "")
}

// Whatever is wrong, the bundle before stays, in force and on disk.
func TestRefusedBundleChangesNothing(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(h *host, s *bundle.Signed)
		why    string
	}{
		{"tampered", func(_ *host, s *bundle.Signed) { s.Bytes[len(s.Bytes)-2] ^= 1 }, "is not what key"},
		{"unknown key", func(h *host, s *bundle.Signed) { *s = sign(t, key(2), 8) }, "is not trusted"},
		{"does not load", func(_ *host, s *bundle.Signed) { *s = sign(t, key(1), 8, ruleOf("Netcat", "nc")) }, "load rules:\nbundle/0.yaml:2:10: rule Netcat: id is missing or not usable"},
		{"touches the floor", func(_ *host, s *bundle.Signed) {
			*s = sign(t, key(1), 8, ruleOf("new", "x"), exceptionTo("floor", "2999-01-01"))
		}, "bundle/1.yaml:2:12: rule floor: exception \"known\" is to a rule of this host in /etc/floor.yaml"},
		{"replaces the floor", func(_ *host, s *bundle.Signed) { *s = sign(t, key(1), 8, ruleOf("floor", "x")) },
			"bundle/0.yaml:2:5: rule floor: this host has a rule of this id in /etc/floor.yaml:2, which a bundle must not replace"},
		{"the kernel refuses", func(h *host, _ *bundle.Signed) { h.refusal = errRefused }, errRefused.Error()},
		{"the reader has ended", func(h *host, _ *bundle.Signed) { h.ended = context.Canceled }, context.Canceled.Error()},
		{"its folder is gone", func(h *host, _ *bundle.Signed) { must(t, os.RemoveAll(h.dir)) }, "keep bundle: "},
		{"its name cannot be taken", func(h *host, _ *bundle.Signed) {
			must(t, errors.Join(os.Remove(filepath.Join(h.dir, bundleFile)), os.MkdirAll(filepath.Join(h.dir, bundleFile, "x"), 0o700)))
		}, "keep bundle: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			floor := rule.Source{Name: "/etc/floor.yaml", Data: []byte(ruleOf("floor", "nc")), Origin: rule.OriginLocal}
			r := h.start(floor)
			mustApply(t, r, sign(t, key(1), 7, ruleOf("seven", "nc")))
			before, err := os.ReadFile(filepath.Join(h.dir, bundleFile))
			must(t, err)
			s := sign(t, key(1), 8, ruleOf("eight", "nc"))
			test.change(h, &s)
			mustRefuse(t, r, s, test.why)
			h.refusal, h.ended = nil, nil
			mustHold(t, r, "then", 7)
			h.mustDetect("then", "shell", "floor seven")
			if diff := cmp.Diff(r.Set().Interest(), h.interest); diff != "" {
				t.Errorf("the kernel has another interest: %s", diff)
			}
			left, err := filepath.Glob(filepath.Join(h.dir, newPattern))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if after, err := os.ReadFile(filepath.Join(h.dir, bundleFile)); err == nil && string(after) != string(before) {
				t.Error("another bundle is kept")
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A kept bundle is looked at again at every start: what is wrong with it costs the
// bundle, not the agent, and lets no older one in.
func TestKeptBundleIsVerifiedAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(h *host)
		again  string // what the same bundle is told now; "": it is in force again
		newer  string // and a newer one
	}{
		{"damaged", func(h *host) { flip(t, filepath.Join(h.dir, bundleFile)) }, "", ""},
		{"gone", func(h *host) { must(t, os.Remove(filepath.Join(h.dir, bundleFile))) }, "", ""},
		{"endless", func(h *host) {
			path := filepath.Join(h.dir, bundleFile)
			must(t, errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)))
		}, "", ""},
		{"its key is trusted no more", func(h *host) { h.keys = trusted(key(2)) }, "is not trusted", "is not trusted"},
		{"no key is trusted", func(h *host) { h.keys = nil },
			"this agent takes no bundles: name the public keys that may sign them as bundle_keys (--bundle-keys)", "takes no bundles"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			kept := sign(t, key(1), 7, ruleOf("netcat", "nc"))
			mustApply(t, h.start(), kept)
			test.change(h)
			r := h.start()
			mustHold(t, r, "after the restart", 0)
			h.mustDetect("after the restart", "shell", "")
			if test.again == "" {
				mustRefuse(t, r, sign(t, key(1), 6, ruleOf("other", "nc")), "bundle has serial 6, which is not above 7")
				mustApply(t, r, kept)
				h.mustDetect("sent again", "shell", "netcat")
			} else {
				mustRefuse(t, r, kept, test.again)
				mustRefuse(t, r, sign(t, key(1), 8), test.newer)
			}
		})
	}
	t.Run("does not load", func(t *testing.T) {
		h := newHost(t)
		mustApply(t, h.start(), sign(t, key(1), 7, ruleOf("netcat", "nc")))
		r := h.start(rule.Source{Name: "local.yaml", Data: []byte(ruleOf("netcat", "ncat")), Origin: rule.OriginLocal})
		mustHold(t, r, "with a rule of this host of that id", 0)
		h.mustDetect("with a rule of this host of that id", "shell", "")
		mustRefuse(t, r, sign(t, key(1), 6), "not above 7")
	})
}

func flip(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	must(t, err)
	data[len(data)/2] ^= 0x10
	must(t, os.WriteFile(path, data, 0o600))
}

// One key takes another's place without a moment in which nothing is in force.
func TestKeysAreRotated(t *testing.T) {
	h := newHost(t)
	mustApply(t, h.start(), sign(t, key(1), 7, ruleOf("netcat", "nc")))
	h.keys = trusted(key(1), key(2))
	r := h.start()
	mustHold(t, r, "with both keys", 7)
	mustApply(t, r, sign(t, key(2), 7, ruleOf("netcat", "nc")))
	h.keys = trusted(key(2))
	r = h.start()
	mustHold(t, r, "with the second key", 7)
	mustRefuse(t, r, sign(t, key(1), 8), "is not trusted")
}

// An exception that came from afar lives until its day and dies then, without a restart,
// and what it took out is known.
func TestExceptionLivesAndDies(t *testing.T) {
	h := newHost(t)
	r := h.start()
	mustApply(t, r, sign(t, key(1), 7, exceptionTo("shell", "2026-12-01")))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	<-h.waits
	minute := func() { // it waits again once the clock was looked at
		h.tick <- struct{}{}
		<-h.waits
	}
	minute()
	h.mustDetect("before its day", "", "")
	if h.switches != 1 {
		t.Errorf("%d switches", h.switches)
	}
	h.now = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	h.refusal = errRefused
	minute()
	h.mustDetect("while the kernel refuses", "", "")
	h.refusal = nil
	minute()
	h.mustDetect("on its day", "shell", "")
	mustHold(t, r, "on its day", 7)
	minute()
	if h.switches != 2 {
		t.Errorf("loaded again for nothing: %d switches", h.switches)
	}
	stop()
	must(t, <-ended)
	if diff := cmp.Diff([]rule.ExceptedCount{{Rule: "shell", Exception: "known", Count: 2}}, h.counts.Counts()); diff != "" {
		t.Error(diff)
	}
}

// An agent beside another has no folder of its own: it leaves the other one's alone.
func TestWithoutAFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	h := newHost(t)
	h.dir = ""
	must(t, os.WriteFile(bundleFile, []byte("not ours"), 0o600))
	r := h.start()
	mustRefuse(t, r, sign(t, key(1), 7, ruleOf("netcat", "nc")), "keep bundle: this agent has no state_dir of its own")
	h.mustDetect("then", "shell", "")
}
