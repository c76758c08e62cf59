package audit

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// patched is a stage of a patch that came at a time.
func patched(id string, at time.Time, stage auditv1.Stage) *auditv1.Event {
	e := &auditv1.Event{AuditId: id, Stage: stage, Verb: "patch", RequestUri: "/api/v1/namespaces/shop/pods/web", User: &auditv1.User{Name: "mallory"},
		RequestTime: timestamppb.New(at), StageTime: timestamppb.New(at), Object: &auditv1.Object{Resource: "pods", Namespace: "shop", Name: "web"}}
	if stage != auditv1.Stage_STAGE_RECEIVED {
		e.Code = http.StatusOK
	}
	return e
}

func (w *world) take(source string, events ...*auditv1.Event) {
	w.t.Helper()
	for i, e := range events {
		events[i] = proto.CloneOf(e)
	}
	if _, err := w.intake.Take(w.t.Context(), source, "", events); err != nil {
		w.t.Fatal(err)
	}
}

// unfinished are the patches that were told, in their order.
func (w *world) unfinished() string {
	var ids []string
	for _, s := range w.states {
		for _, e := range s.Unfinished {
			ids = append(ids, e.AuditId)
		}
	}
	return strings.Join(ids, " ")
}

func TestUnfinished(t *testing.T) {
	const (
		received = auditv1.Stage_STAGE_RECEIVED
		complete = auditv1.Stage_STAGE_COMPLETE
		panicked = auditv1.Stage_STAGE_PANIC
	)
	for _, test := range []struct {
		name string
		do   func(w *world, at time.Time)
		want string
	}{
		{"no end", func(w *world, at time.Time) { w.take("webhook", patched("a", at, received)) }, "a"},
		{"two, the later first", func(w *world, at time.Time) {
			w.take("webhook", patched("b", at, received), patched("a", at.Add(-time.Second), received))
		}, "a b"},
		{"an end at once", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received), patched("a", at, complete))
		}, ""},
		{"a panic", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received), patched("a", at, panicked))
		}, ""},
		{"the end in an earlier batch", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, complete))
			w.take("webhook", patched("a", at, received))
		}, ""},
		{"the end by another source", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.take("file", patched("a", at, received), patched("a", at, complete))
			w.take("webhook", patched("a", at, received))
		}, ""},
		{"an end 100 s later", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.lasts(100*time.Second, w.by("webhook"))
			w.take("webhook", patched("a", at, complete))
		}, ""},
		{"the id of one that ended", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at.Add(-time.Second), received), patched("a", at.Add(-time.Second), complete), patched("a", at, received))
		}, "a"},
		{"no patch", func(w *world, at time.Time) {
			e := patched("a", at, received)
			e.Verb = "create"
			w.take("webhook", e)
		}, ""},
		{"a restart", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.lasts(time.Minute, w.by("webhook"))
			w.kill(time.Second, sources...)
		}, "a"},
		{"a restart before its end", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.kill(time.Second, sources...)
			w.take("webhook", patched("a", at, complete))
		}, ""},
		{"a long time away, and its end in the file", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.kill(patience+time.Minute, sources...)
			w.lasts(10*time.Second, w.by("webhook"))
			w.take("file", patched("a", at, complete))
		}, ""},
		{"then nothing came for two minutes", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.lasts(2*time.Minute, nil)
		}, ""},
		{"then nothing came any more", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.lasts(patience+time.Minute, nil)
		}, ""},
		{"by another source, once it was told", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.lasts(unfinishedAfter+5*time.Second, w.by("webhook"))
			w.take("file", patched("a", at, received))
		}, "a"},
		{"a refused request that does not come again", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.health.answered("webhook", http.StatusServiceUnavailable, request{length: 1000})
		}, ""},
		{"a refused request that comes again", func(w *world, at time.Time) {
			w.take("webhook", patched("a", at, received))
			w.health.answered("webhook", http.StatusServiceUnavailable, request{length: 1000})
			w.lasts(30*time.Second, w.by("webhook"))
			w.health.answered("webhook", http.StatusOK, request{length: 1000})
		}, "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.restartWith(sources...)
			w.lasts(5*time.Second, w.by("webhook"))
			test.do(w, w.now)
			w.lasts(5*time.Minute, w.by("webhook"))
			if got := w.unfinished(); got != test.want {
				t.Errorf("told of %q, want %q", got, test.want)
			}
			if got, want := w.count("seawall_collector_audit_unfinished_total", nil), float64(len(strings.Fields(test.want))); got != want {
				t.Errorf("counted %v, want %v", got, want)
			}
		})
	}
}

// What is told is masked, also where it is stored already.
func TestUnfinishedIsMasked(t *testing.T) {
	const secret = "hunter2-secret"
	w := newWorld(t)
	w.lasts(5*time.Second, w.by("webhook"))
	e := patched("a", w.now, auditv1.Stage_STAGE_RECEIVED)
	e.RequestUri += "?password=" + secret
	w.take("webhook", e)
	w.health.unfinished = newUnfinished() // as after many others
	w.take("file", e)
	w.lasts(5*time.Minute, w.by("webhook"))
	if w.unfinished() != "a" {
		t.Fatalf("told of %q", w.unfinished())
	}
	for _, message := range w.batches {
		if strings.Contains(string(message), secret) {
			t.Errorf("%q is in the log: %q", secret, message)
		}
	}
}

// What cannot be told now is told later, once; many are told over several messages.
func TestUnfinishedAreTold(t *testing.T) {
	w := newWorld(t)
	w.lasts(5*time.Second, w.by("webhook"))
	var events []*auditv1.Event
	for i := range maxUnfinishedTold + 1 {
		events = append(events, patched(fmt.Sprintf("%03d", i), w.now.Add(time.Duration(i)*time.Millisecond), auditv1.Stage_STAGE_RECEIVED))
	}
	w.take("webhook", events...)
	w.lasts(unfinishedAfter-time.Second, w.by("webhook"))
	if got := w.unfinished(); got != "" {
		t.Fatalf("told early: %s", got)
	}
	w.failing(errFull)
	w.now = w.now.Add(2 * time.Second)
	if err := w.health.tell(context.Background(), w.now); err == nil {
		t.Fatal("nothing was to be told")
	}
	w.failing(nil)
	w.second()
	if got := len(w.states[len(w.states)-1].Unfinished); got != maxUnfinishedTold {
		t.Errorf("told of %d at once, want %d", got, maxUnfinishedTold)
	}
	w.lasts(5*time.Second, w.by("webhook"))
	if got := strings.Fields(w.unfinished()); len(got) != maxUnfinishedTold+1 || got[0] != "000" || got[maxUnfinishedTold] != fmt.Sprintf("%03d", maxUnfinishedTold) {
		t.Errorf("told of %v", got)
	}
}

// Clients choose ids, addresses and how many patches they send: what is kept is bounded.
func TestUnfinishedIsBounded(t *testing.T) {
	w := newWorld(t)
	at := w.now
	long := patched(strings.Repeat("<", 1_000_000), at, auditv1.Stage_STAGE_RECEIVED)
	long.RequestUri, long.UserAgent, long.Object.Name = strings.Repeat("u", 500_000), strings.Repeat("a", 500_000), strings.Repeat("n", 500_000)
	long.SourceIps = []string{strings.Repeat("i", 500_000), "192.0.2.1"}
	if got := brief(long); proto.Size(got) > maxUnfinishedBytes || got.SourceIps[0] != "192.0.2.1" || got.User.GetName() != "mallory" || got.Object.GetNamespace() != "shop" {
		t.Errorf("%d bytes are kept: %v", proto.Size(got), got)
	}
	u := newUnfinished()
	for i := range 2 * maxUnfinished {
		u.observe(at, patched(fmt.Sprint(i), at, auditv1.Stage_STAGE_RECEIVED))
	}
	if len(u.begun) != maxUnfinished {
		t.Errorf("%d are waited for, want %d", len(u.begun), maxUnfinished)
	}
	for i := range 2 * maxUnfinished {
		u.observe(at, patched(fmt.Sprint(i), at, auditv1.Stage_STAGE_COMPLETE))
	}
	if len(u.begun) != 0 {
		t.Errorf("%d that ended are waited for", len(u.begun))
	}
	u.observe(at, long)
	ended := proto.CloneOf(long)
	ended.Stage = auditv1.Stage_STAGE_COMPLETE
	reduce(ended) // as what is too long is stored, and read again after a restart
	if u.observe(at, ended); len(u.begun) != 0 {
		t.Error("a long one that was cut is not known again")
	}
}
