package audit

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// bring has a source bring an event of a stage time.
func (w *world) bring(source string, stages ...time.Time) {
	w.t.Helper()
	w.bringOf(source, "", stages...)
}

// bringOf has one API server of a source bring it.
func (w *world) bringOf(source, server string, stages ...time.Time) {
	w.t.Helper()
	var events []*auditv1.Event
	for _, at := range stages {
		events = append(events, &auditv1.Event{AuditId: server + at.Format(time.RFC3339Nano), Stage: auditv1.Stage_STAGE_COMPLETE, Verb: "get",
			RequestUri: "/api", StageTime: timestamppb.New(at), RequestTime: timestamppb.New(at)})
	}
	if _, err := w.intake.Take(w.t.Context(), source, server, events); err != nil {
		w.t.Fatal(err)
	}
}

// second lets one pass.
func (w *world) second() { w.t.Helper(); w.step(time.Second) }

func (w *world) step(d time.Duration) {
	w.t.Helper()
	w.now = w.now.Add(d)
	if err := w.health.tell(w.t.Context(), w.now); err != nil {
		w.t.Fatal(err)
	}
}

// lasts lets time pass; do is called every second with it, of long times every ten, and may
// be nil.
func (w *world) lasts(d time.Duration, do func(now time.Time)) {
	w.t.Helper()
	step := time.Second
	if d > 15*time.Minute {
		step = 10 * time.Second
	}
	for end := w.now.Add(d); w.now.Before(end); w.step(step) {
		if do != nil {
			do(w.now)
		}
	}
}

// by has a source bring what happens, a little later.
func (w *world) by(source string) func(time.Time) {
	return func(now time.Time) { w.bring(source, now.Add(-300*time.Millisecond)) }
}

// kill ends the collector as if by kill -9: what it has not stored or logged is gone.
func (w *world) kill(after time.Duration, sources ...Source) {
	w.t.Helper()
	w.now = w.now.Add(after)
	w.restartWith(sources...)
	if err := w.intake.Resume(w.t.Context(), func(_ context.Context, _ time.Duration, handle func([]byte) error) error {
		for _, message := range w.batches {
			if err := handle(message); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
}

// gaps are those that were told, as they were told last.
func (w *world) gaps() string {
	last, ids := map[string]string{}, []string{}
	for _, s := range w.states {
		for _, g := range s.Gaps {
			if _, known := last[g.Id]; !known {
				ids = append(ids, g.Id)
			}
			text := fmt.Sprintf("%s %s", g.Gap.Reason, g.Source)
			if g.Gap.Count > 0 {
				text += fmt.Sprintf(" %d", g.Gap.Count)
			} else {
				text += fmt.Sprintf(" %s to %s", g.Gap.Since.AsTime().Format("15:04:05.000"), g.Gap.Until.AsTime().Format("15:04:05.000"))
			}
			if g.Filled {
				text += " filled"
			}
			last[g.Id] = text
		}
	}
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = last[id]
	}
	return strings.Join(out, "; ")
}

// conditions are what was told of all sources together, changes only.
func (w *world) conditions() string {
	var out []string
	last := collectorv1.AuditCondition_AUDIT_CONDITION_UNSPECIFIED
	for _, s := range w.states {
		if s.Condition != last {
			last = s.Condition
			out = append(out, fmt.Sprintf("%s %s", words[s.Condition], s.Since.AsTime().Format("15:04:05")))
		}
	}
	return strings.Join(out, ", ")
}

func (w *world) wantGaps(want string) {
	w.t.Helper()
	if got := w.gaps(); got != want {
		w.t.Errorf("gaps: %s\n want: %s", got, want)
	}
}

func clockAt(t time.Time) string { return t.Format("15:04:05.000") }

var (
	onlyWebhook = Source{"webhook", KindWebhook}
	onlyFile    = Source{"file", KindFile}
)

// An hour without the webhook is a gap from the last event to the first one behind it,
// whether the collector ran or not, was stopped or killed.
func TestGapOfAnHour(t *testing.T) {
	for name, test := range map[string]struct {
		outage func(*world)
		reason string
	}{
		"the webhook was away":     {func(w *world) { w.lasts(time.Hour, nil) }, "silent"},
		"the collector was killed": {func(w *world) { w.kill(time.Hour, onlyWebhook) }, "down"},
		"the collector was stopped": {func(w *world) {
			stopped, stop := context.WithCancel(w.t.Context())
			stop()
			if err := w.health.Run(stopped); err != nil {
				w.t.Fatal(err)
			}
			w.batches = nil // the log was trimmed
			w.kill(time.Hour, onlyWebhook)
		}, "down"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.restartWith(onlyWebhook)
			w.lasts(10*time.Minute, w.by("webhook"))
			last := w.now.Add(-300 * time.Millisecond)
			w.bring("webhook", last)
			test.outage(w)
			begun := w.now
			w.lasts(40*time.Second, w.by("webhook"))
			first := begun.Add(-75 * time.Second) // of a batch that was tried again
			w.bring("webhook", first.Add(20*time.Second), first, first.Add(50*time.Second))
			w.lasts(3*time.Minute, w.by("webhook"))
			w.wantGaps(fmt.Sprintf("%s webhook %s to %s", test.reason, clockAt(last), clockAt(first)))
			if got := w.health.State(); len(got.Gaps) != 1 || got.Gaps[0].Gap.Since.AsTime() != last {
				t.Errorf("asked it says %v", got.Gaps)
			}
			// It is told once, and stays known.
			w.lasts(5*time.Minute, w.by("webhook"))
			told := 0
			for _, s := range w.states {
				told += len(s.Gaps)
			}
			w.kill(time.Second, onlyWebhook)
			if got := w.health.State(); told != 1 || len(got.Gaps) != 1 {
				t.Errorf("it was told %d times; after a restart there are %v", told, got.Gaps)
			}
		})
	}
}

// What the file brings is no gap: meanwhile, or as it catches up.
func TestFileFillsTheGap(t *testing.T) {
	t.Run("the webhook was away", func(t *testing.T) {
		w := newWorld(t)
		both := func(now time.Time) { w.by("webhook")(now); w.by("file")(now); w.health.drained("file") }
		w.lasts(5*time.Minute, both)
		w.lasts(time.Hour, func(now time.Time) { w.by("file")(now); w.health.drained("file") })
		w.lasts(5*time.Minute, both)
		w.wantGaps("")
		for _, s := range w.states[1:] {
			if s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING {
				t.Errorf("it was %v at %v", s.Condition, s.Time.AsTime())
			}
		}
	})
	t.Run("the collector was killed", func(t *testing.T) {
		w := newWorld(t)
		w.lasts(5*time.Minute, func(now time.Time) { w.by("webhook")(now); w.by("file")(now); w.health.drained("file") })
		at := w.now
		w.kill(time.Hour, sources...)
		w.lasts(5*time.Minute, w.by("webhook"))      // it cannot hand on what it reads
		w.lasts(8*time.Minute, func(now time.Time) { // it reads for long
			w.by("webhook")(now)
			for range 10 {
				if at.Before(now.Add(-time.Second)) {
					w.bring("file", at)
					at = at.Add(time.Second)
				}
			}
		})
		w.health.drained("file")
		w.lasts(5*time.Minute, func(now time.Time) { w.by("webhook")(now); w.by("file")(now); w.health.drained("file") })
		w.wantGaps("")
	})
	t.Run("it came after the gap was told", func(t *testing.T) {
		w := newWorld(t)
		w.lasts(5*time.Minute, func(now time.Time) { w.by("webhook")(now); w.by("file")(now); w.health.drained("file") })
		last := w.now.Add(-1300 * time.Millisecond)
		w.lasts(time.Hour, nil) // the API server's disk is away, too
		first := w.now.Add(-300 * time.Millisecond)
		w.lasts(5*time.Minute, w.by("webhook"))
		w.wantGaps(fmt.Sprintf("silent  %s to %s", clockAt(last), clockAt(first)))
		w.bring("file", last.Add(time.Minute), last.Add(30*time.Minute), first.Add(time.Minute))
		w.health.drained("file")
		w.lasts(time.Minute, w.by("webhook"))
		w.wantGaps(fmt.Sprintf("silent  %s to %s filled", clockAt(last), clockAt(first)))
		if got := w.health.State().Gaps; len(got) != 0 {
			t.Errorf("asked it says %v", got)
		}
	})
	t.Run("a part of it was rotated away", func(t *testing.T) {
		w := newWorld(t)
		w.lasts(5*time.Minute, func(now time.Time) { w.by("webhook")(now); w.by("file")(now); w.health.drained("file") })
		last := w.now.Add(-1300 * time.Millisecond)
		w.kill(time.Hour, sources...)
		first := last.Add(40 * time.Minute)
		w.health.hole("file")
		for at := first; at.Before(w.now); at = at.Add(time.Second) {
			w.bring("file", at)
		}
		w.lasts(5*time.Minute, func(now time.Time) { w.by("webhook")(now); w.by("file")(now); w.health.drained("file") })
		got := w.gaps()
		if !strings.HasSuffix(got, fmt.Sprintf("%s to %s", clockAt(last), clockAt(first))) || strings.Contains(got, ";") {
			t.Errorf("gaps: %s, want one from %s to %s", got, clockAt(last), clockAt(first))
		}
	})
}

// A log file alone has pauses when its server has; a gap is only what was rotated away.
func TestFileAlone(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyFile)
	w.lasts(5*time.Minute, w.by("file"))
	w.lasts(30*time.Minute, nil) // nobody asks the API server anything
	w.lasts(5*time.Minute, w.by("file"))
	w.wantGaps("")
	last := w.now.Add(-1300 * time.Millisecond)
	w.now = w.now.Add(10 * time.Second)
	w.health.hole("file")
	first := w.now.Add(-300 * time.Millisecond)
	w.lasts(5*time.Minute, w.by("file"))
	w.wantGaps(fmt.Sprintf("rotated file %s to %s", clockAt(last), clockAt(first)))
}

// Sources are stale when they are silent for longer than usual, and each has its usual.
func TestConditions(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	begun := w.now.Add(time.Second)
	w.lasts(5*time.Second, nil)
	w.lasts(5*time.Minute, w.by("webhook"))
	last := w.now.Add(-time.Second)
	w.lasts(88*time.Second, nil)
	received := begun.Add(5 * time.Second)
	if got, want := w.conditions(), fmt.Sprintf("configured %s, receiving %s", begun.Format("15:04:05"), received.Format("15:04:05")); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	w.lasts(5*time.Minute, nil)
	again := w.now.Add(time.Second)
	w.lasts(time.Minute, w.by("webhook"))
	want := fmt.Sprintf("configured %s, receiving %s, stale %s, receiving %s", begun.Format("15:04:05"), received.Format("15:04:05"), last.Format("15:04:05"), again.Format("15:04:05"))
	if got := w.conditions(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, s := range w.states {
		if (s.Condition == collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING) != (s.Reason == "") {
			t.Errorf("%v says %q", s.Condition, s.Reason)
		}
	}
	// While it receives, that is told every minute.
	n := len(w.states)
	w.lasts(10*time.Minute, w.by("webhook"))
	if got := len(w.states) - n; got < 10 || got > 11 {
		t.Errorf("%d messages in 10 minutes", got)
	}
}

// A source that pauses for a minute or two by its nature is neither stale nor full of gaps.
func TestQuietSource(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	for pause := 20; pause <= 140; pause += 20 { // evening comes
		for range 5 {
			w.by("webhook")(w.now)
			w.lasts(time.Duration(pause)*time.Second, nil)
		}
	}
	w.by("webhook")(w.now)
	w.second()
	w.wantGaps("")
	if got := w.conditions(); strings.Contains(got, "stale") {
		t.Error(got)
	}
	// What was usual in the evening is not usual for ever.
	w.lasts(8*time.Hour, w.by("webhook"))
	w.lasts(2*time.Minute, nil)
	if got := w.conditions(); !strings.Contains(got, "stale") {
		t.Error(got)
	}
}

// Nobody was ever configured: nothing is said. A source that was taken away: that is.
func TestOff(t *testing.T) {
	w := newWorld(t)
	w.restartWith()
	w.lasts(5*time.Minute, nil)
	if len(w.states) != 0 {
		t.Errorf("%v", w.states)
	}
	w.kill(time.Second, onlyWebhook)
	w.lasts(time.Minute, w.by("webhook"))
	w.kill(time.Second)
	w.lasts(time.Minute, nil)
	if got := w.states[len(w.states)-1]; got.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_OFF || got.Reason == "" {
		t.Errorf("%v", got)
	}
}

// Files are each one server's: one that is silent makes all of them stale, but not a webhook.
func TestSourcesTogether(t *testing.T) {
	w := newWorld(t)
	second := Source{"file-2", KindFile}
	w.restartWith(onlyFile, second)
	both := func(now time.Time) { w.by("file")(now); w.by("file-2")(now.Add(-time.Millisecond)) }
	w.lasts(2*time.Minute, both)
	behind := w.now
	w.lasts(4*time.Minute, w.by("file"))
	s := w.health.State()
	if s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_STALE || s.Newest.AsTime().After(behind) || !strings.Contains(s.Reason, "file-2: nothing has come for") {
		t.Errorf("%v", s)
	}
	w.kill(time.Second, onlyFile, second, onlyWebhook)
	w.lasts(time.Minute, w.by("webhook"))
	s = w.health.State()
	if s.Condition != collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING || s.Newest.AsTime().Before(behind) {
		t.Errorf("%v", s)
	}
}

func TestSkew(t *testing.T) {
	for name, test := range map[string]struct {
		bring       func(w *world, now time.Time)
		skewed      bool
		skew, delay time.Duration
	}{
		"in step":        {func(w *world, now time.Time) { w.bring("webhook", now.Add(-300*time.Millisecond)) }, false, 300 * time.Millisecond, 0},
		"an hour ahead":  {func(w *world, now time.Time) { w.bring("webhook", now.Add(time.Hour)) }, true, -time.Hour, 0},
		"an hour behind": {func(w *world, now time.Time) { w.bring("webhook", now.Add(-time.Hour)) }, true, time.Hour, 0},
		"late": {func(w *world, now time.Time) {
			late := time.Duration(now.Unix()%11) * time.Minute
			w.bring("webhook", now.Add(-time.Second-late-time.Duration(now.Unix()%7)))
		}, false, time.Second, 10 * time.Minute},
		"half a minute late, as batches are": {func(w *world, now time.Time) {
			if now.Unix()%30 == 0 {
				w.bring("webhook", now.Add(-30*time.Second), now.Add(-29*time.Second))
			}
		}, false, 29 * time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.restartWith(onlyWebhook)
			w.lasts(15*time.Minute, func(now time.Time) { test.bring(w, now) })
			s := w.health.State()
			if got := s.Sources[0]; got.Skewed != test.skewed || (got.Reason != "") != test.skewed {
				t.Errorf("skewed %v: %s", got.Skewed, got.Reason)
			}
			if skew, delay := s.Skew.AsDuration().Round(time.Millisecond), s.Delay.AsDuration().Round(time.Millisecond); skew != test.skew || delay != test.delay {
				t.Errorf("skew %v, delay %v, want %v, %v", skew, delay, test.skew, test.delay)
			}
			w.wantGaps("")
		})
	}
}

// What comes again after an outage is late, and no sign of a wrong clock.
func TestLateAtFirst(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	w.bring("webhook", w.now.Add(-80*time.Second))
	if s := w.health.State(); s.Sources[0].Skewed {
		t.Errorf("%v", s)
	}
	w.lasts(15*time.Minute, w.by("webhook"))
	if s := w.health.State(); s.Sources[0].Skewed || s.Delay.AsDuration() > time.Second {
		t.Errorf("%v", s)
	}
}

// Requests that were refused and came again are no loss; the others are counted, each once
// however often it was tried.
func TestRefusedRequests(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	h := w.webhook()
	tries := func(body string) {
		for range 5 {
			post(t, h, http.MethodPost, good, body)
			w.lasts(20*time.Second, w.by("webhook"))
		}
	}
	w.failing(errFull)
	post(t, h, http.MethodPost, good, body("a"))
	w.failing(nil)
	w.lasts(20*time.Second, w.by("webhook"))
	post(t, h, http.MethodPost, good, body("a"))
	post(t, h, http.MethodPost, "", body("somebody's"))
	w.lasts(5*time.Minute, w.by("webhook"))
	w.wantGaps("")
	tries(strings.Repeat(" ", MaxBodyBytes+1))
	tries("garbage")
	w.lasts(5*time.Minute, w.by("webhook"))
	w.wantGaps("refused webhook 1; refused webhook 1")
	post(t, h, http.MethodPost, good, list(line("x"), `{"auditID":7}`, `{"auditID":8}`))
	w.lasts(2*time.Minute, w.by("webhook"))
	w.wantGaps("refused webhook 1; refused webhook 1; unreadable webhook 2")
}

// A clock that went mad once does not spoil what is known.
func TestStageTimesOfNoSense(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	w.lasts(time.Minute, w.by("webhook"))
	w.bring("webhook", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(1969, 1, 2, 0, 0, 0, 0, time.UTC))
	w.lasts(5*time.Minute, w.by("webhook"))
	w.wantGaps("")
	if s := w.health.State(); s.Newest.AsTime().After(w.now) {
		t.Errorf("%v", s.Newest.AsTime())
	}
	w.kill(time.Second, onlyWebhook)
	w.second()
}

// A log that is full hears of everything once there is room.
func TestStateWaitsForTheLog(t *testing.T) {
	w := newWorld(t)
	w.restartWith(onlyWebhook)
	w.lasts(5*time.Minute, w.by("webhook"))
	last := w.now.Add(-1300 * time.Millisecond)
	w.lasts(time.Hour, nil)
	first := w.now.Add(-300 * time.Millisecond)
	w.lasts(119*time.Second, w.by("webhook"))
	w.failing(errFull)
	refused := 0
	for range 30 {
		w.now = w.now.Add(time.Second)
		if err := w.health.tell(t.Context(), w.now); err != nil {
			refused++
		}
	}
	if refused < 20 {
		t.Errorf("the log refused %d times", refused)
	}
	w.failing(nil)
	w.wantGaps("")
	w.second()
	w.wantGaps(fmt.Sprintf("silent webhook %s to %s", clockAt(last), clockAt(first)))
}

// A tail says by itself when it is through, and what was gone.
func TestTailAndHealth(t *testing.T) {
	w, s := newWorld(t), newServer(t)
	w.restartWith(onlyFile)
	tail := w.tail(s.path())
	at := w.now
	write := func(n int) {
		for range n {
			at = at.Add(time.Second)
			s.append(strings.Replace(line(id(s.written)), "2026-11-21T18:22:29.643179Z", at.Format(time.RFC3339Nano), 1) + "\n")
			s.written++
		}
	}
	write(3)
	w.failing(errFull)
	full, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_ = tail.pass(full)
	if w.health.source("file").drained {
		t.Error("it is through, and nothing was taken")
	}
	w.failing(nil)
	w.pass(tail)
	if f := w.health.source("file"); !f.drained || f.events != 3 || !f.newest.Equal(at) {
		t.Errorf("%+v", f)
	}
	since := at
	write(2)
	s.check(os.Remove(s.rotate()))
	write(2)
	w.pass(tail)
	w.pass(tail)
	w.lasts(3*time.Minute, nil)
	w.wantGaps(fmt.Sprintf("rotated file %s to %s", clockAt(since), clockAt(at.Add(-time.Second))))
}

func TestPositionsAreKept(t *testing.T) {
	w := newWorld(t)
	rows := NewRows(w.store)
	if p, err := rows.Load(t.Context(), "a"); err != nil || p != (Position{}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, p := range []Position{{"f", 1}, {"g", 1 << 40}} {
		if err := rows.Save(t.Context(), "a", p); err != nil {
			t.Fatal(err)
		}
		if got, err := NewRows(w.store).Load(t.Context(), "a"); err != nil || got != p {
			t.Errorf("%+v, %v", got, err)
		}
	}
}
