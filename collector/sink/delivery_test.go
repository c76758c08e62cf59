package sink

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// pass lets the clock of the test's bubble run, and whoever it wakes.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var errDown = errors.New("receiver is down")

func TestDeliversInOrderAndGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, s := newMemory(10), &scripted{}
		_, stop := start(t, Options{Source: source, Sink: s, BatchRevisions: 4})
		synctest.Wait()
		source.add(3)
		synctest.Wait()
		if got := s.positions(); got != "1-13" || source.saved("test") != 13 {
			t.Errorf("acknowledged %s, saved %d", got, source.saved("test"))
		}
		stop()
		if !s.closed {
			t.Error("the sink is still open")
		}
		source.add(2)
		again := &scripted{}
		start(t, Options{Source: source, Sink: again})
		synctest.Wait()
		if got := again.positions(); got != "14-15" {
			t.Errorf("after a restart: %s", got)
		}
	})
}

func TestRetriesWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		failures := 8
		s.deliver = func(context.Context, []Revision) error {
			if failures--; failures >= 0 {
				return errDown
			}
			return nil
		}
		d, _ := start(t, Options{Source: newMemory(3), Sink: s, MinBackoff: time.Second, MaxBackoff: 16 * time.Second})
		pass(5 * time.Minute)
		if got := s.positions(); got != "1-3" || testutil.ToFloat64(d.metrics.retried) != 8 || testutil.ToFloat64(d.metrics.delivered) != 3 {
			t.Fatalf("acknowledged %q", got)
		}
		for i, most := range []time.Duration{1, 2, 4, 8, 16, 16, 16, 16} {
			if pause := s.attempts[i+1].Sub(s.attempts[i]); pause < most*time.Second/2 || pause > most*time.Second {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, most*time.Second/2, most*time.Second)
			}
		}
	})
}

func TestReceiverSaysWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, begin := &scripted{}, time.Now()
		s.deliver = func(context.Context, []Revision) error {
			switch len(s.attempts) {
			case 1:
				return &LaterError{After: 90 * time.Second, Err: errDown}
			case 2:
				return fmt.Errorf("post: %w", &LaterError{After: 365 * 24 * time.Hour, Err: errDown})
			}
			return nil
		}
		start(t, Options{Source: newMemory(1), Sink: s})
		pass(3 * time.Hour)
		if len(s.attempts) != 3 || s.attempts[1].Sub(begin) != 90*time.Second || s.attempts[2].Sub(s.attempts[1]) != maxRetryAfter {
			t.Errorf("attempts at %v", s.attempts)
		}
	})
}

// refuse refuses batches that have any of the positions.
func refuse(positions ...uint64) func(context.Context, []Revision) error {
	return func(_ context.Context, batch []Revision) error {
		for _, r := range batch {
			if slices.Contains(positions, r.Position) {
				return &RefusedError{Reason: fmt.Sprint("poison ", r.Position)}
			}
		}
		return nil
	}
}

func deadLettersOf(t *testing.T, path string) []deadLetter {
	t.Helper()
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var letters []deadLetter
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var l deadLetter
		if json.Unmarshal(lines.Bytes(), &l) == nil {
			letters = append(letters, l)
		}
	}
	return letters
}

func TestPoisonIsFoundAndGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, path := newMemory(64), filepath.Join(t.TempDir(), "dead")
		if err := os.WriteFile(path, []byte(`{"cut by a cra`), 0o600); err != nil {
			t.Fatal(err)
		}
		s := &scripted{deliver: refuse(17, 18, 64)}
		d, _ := start(t, Options{Source: source, Sink: s, DeadLetterPath: path})
		pass(time.Minute)
		if got := s.positions(); got != "1-16 19-63" || source.saved("test") != 64 {
			t.Errorf("acknowledged %s, saved %d", got, source.saved("test"))
		}
		letters := deadLettersOf(t, path)
		if len(letters) != 3 || testutil.ToFloat64(d.metrics.dead) != 3 {
			t.Fatalf("%d dead letters, counted %v", len(letters), testutil.ToFloat64(d.metrics.dead))
		}
		l := letters[0]
		if l.Position != 17 || l.ID != alertOf(17).GetId() || l.Revision != 1 || l.Reason != "poison 17" || l.Tries != DefaultTries || l.Sink != "test" ||
			!strings.Contains(string(l.Alert), `"title":"Alert 17"`) {
			t.Errorf("dead letter %+v", l)
		}
		if len(s.attempts) > 40 { // 3 × log2(64) halvings and 3 × 3 tries, some shared
			t.Errorf("%d attempts", len(s.attempts))
		}
	})
}

// decline is a receiver that fails for good over some positions, and for all while down.
func decline(down *atomic.Bool, positions ...uint64) func(context.Context, []Revision) error {
	return func(_ context.Context, batch []Revision) error {
		if down.Load() || slices.ContainsFunc(batch, func(r Revision) bool { return slices.Contains(positions, r.Position) }) {
			return &DeclinedError{errors.New("500")}
		}
		return nil
	}
}

// A receiver that answers 500 to one alert for ever must not keep it from all others.
func TestOneThatIsAlwaysDeclinedHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, path := newMemory(1), filepath.Join(t.TempDir(), "dead")
		var down atomic.Bool
		s := &scripted{deliver: decline(&down, 1, 5)}
		_, stop := start(t, Options{Source: source, Sink: s, DeadLetterPath: path})
		pass(time.Hour) // alone nobody can say whether it or the receiver is wrong
		if len(deadLettersOf(t, path)) != 0 || source.saved("test") != 0 {
			t.Error("given up though nothing else was taken")
		}
		for n := range 12 {
			source.add(1)
			pass(10 * time.Minute)
			if n == 8 && source.saved("test") != 4 {
				t.Errorf("saved %d while 5 is waited for", source.saved("test"))
			}
		}
		if got := s.positions(); got != "2-4 6-13" || source.saved("test") != 13 {
			t.Errorf("acknowledged %s, saved %d", got, source.saved("test"))
		}
		letters := deadLettersOf(t, path)
		if len(letters) != 2 || letters[0].Position != 1 || letters[1].Position != 5 || letters[0].Tries != DefaultDeclines || !strings.Contains(letters[0].Reason, "500") {
			t.Errorf("dead letters %+v", letters)
		}
		stop()
	})
}

// A receiver whose token has run out, or that is broken for a day, loses nothing.
func TestADecliningReceiverIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, path := newMemory(40), filepath.Join(t.TempDir(), "dead")
		var down atomic.Bool
		down.Store(true)
		s := &scripted{deliver: decline(&down)}
		start(t, Options{Source: source, Sink: s, DeadLetterPath: path})
		for range 24 {
			pass(time.Hour)
			source.add(1)
		}
		if n := s.tried(); n > 24*24*65 { // at least 2.5 minutes between rounds of 64, and one for all
			t.Errorf("%d attempts", n)
		}
		down.Store(false)
		pass(10 * time.Minute)
		if got := s.positions(); got != "1-64" || source.saved("test") != 64 || len(deadLettersOf(t, path)) != 0 {
			t.Errorf("acknowledged %s, saved %d, %d dead letters", got, source.saved("test"), len(deadLettersOf(t, path)))
		}
	})
}

// What was taken ahead of one that is taken at last does not come again.
func TestOneThatIsTakenAtLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newMemory(5)
		left := 6
		s := &scripted{}
		s.deliver = func(_ context.Context, batch []Revision) error {
			if batch[0].Position == 1 {
				if left--; left >= 0 {
					return &DeclinedError{errors.New("500")}
				}
			}
			return nil
		}
		start(t, Options{Source: source, Sink: s, DeadLetterPath: filepath.Join(t.TempDir(), "dead")})
		pass(time.Hour)
		if got := s.positions(); got != "2-5 1" || source.saved("test") != 5 {
			t.Errorf("acknowledged %s, saved %d", got, source.saved("test"))
		}
	})
}

func TestFullDeadLetterFileHoldsTheSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, path := newMemory(6), filepath.Join(t.TempDir(), "dead")
		s := &scripted{deliver: refuse(2, 4)}
		start(t, Options{Source: source, Sink: s, DeadLetterPath: path, DeadLetterBytes: 400})
		pass(time.Hour)
		if got := s.positions(); got != "1 3" || source.saved("test") != 3 || len(deadLettersOf(t, path)) != 1 {
			t.Errorf("acknowledged %s, saved %d, %d dead letters", got, source.saved("test"), len(deadLettersOf(t, path)))
		}
		if err := os.Rename(path, path+".old"); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		if got := s.positions(); got != "1 3 5-6" || source.saved("test") != 6 || deadLettersOf(t, path)[0].Position != 4 {
			t.Errorf("once it was moved away: acknowledged %s, saved %d", got, source.saved("test"))
		}
	})
}

func TestStopLetsAnAttemptEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, s := newMemory(2), &scripted{}
		s.deliver = func(ctx context.Context, _ []Revision) error {
			select {
			case <-time.After(3 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		_, stop := start(t, Options{Source: source, Sink: s})
		pass(time.Second)
		stop()
		if got := s.positions(); got != "1-2" || source.saved("test") != 2 {
			t.Errorf("acknowledged %q, saved %d", got, source.saved("test"))
		}
		source.add(1)
		s.deliver = func(ctx context.Context, _ []Revision) error { <-ctx.Done(); return ctx.Err() }
		_, stop = start(t, Options{Source: source, Sink: s})
		synctest.Wait()
		begin := time.Now()
		stop()
		if got := time.Since(begin); got != DefaultStopGrace || source.saved("test") != 2 {
			t.Errorf("a hanging attempt held the end up for %v, saved %d", got, source.saved("test"))
		}
	})
}

func TestHangingSinkIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		s.deliver = func(ctx context.Context, _ []Revision) error {
			if len(s.attempts) == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		start(t, Options{Source: newMemory(1), Sink: s})
		pass(2 * DefaultAttemptTimeout)
		if got := s.positions(); got != "1" || s.attempts[1].Sub(s.attempts[0]) < DefaultAttemptTimeout {
			t.Errorf("acknowledged %q, attempts at %v", got, s.attempts)
		}
	})
}

func TestFilterAndBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, s := newMemory(8), &scripted{}
		o := Options{Source: source, Sink: s, Filter: &alertv1.Filter{Kinds: []string{"web-shell"}}, FromNow: true}
		_, stop := start(t, o)
		synctest.Wait()
		if got := source.saved("test"); got != 8 {
			t.Errorf("the beginning is saved as %d", got)
		}
		stop()
		source.add(5)
		start(t, o)
		synctest.Wait()
		if got := fmt.Sprint(s.acknowledged); got != "[10 12]" || source.saved("test") != 13 {
			t.Errorf("acknowledged %s, saved %d", got, source.saved("test"))
		}
	})
}

func TestStoreThatFailsCostsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, s := newMemory(5), &scripted{}
		source.readFails, source.moveFails = 3, 4
		_, stop := start(t, Options{Source: source, Sink: s, BatchRevisions: 1})
		pass(time.Hour)
		stop()
		if got := s.positions(); got != "1-5" || source.saved("test") != 5 {
			t.Errorf("acknowledged %s, saved %d", got, source.saved("test"))
		}
	})
}

func TestWhatTheStoreForgotIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, s := newMemory(10), &scripted{}
		source.forgotten = 4
		failures := 3
		s.deliver = func(context.Context, []Revision) error {
			if failures--; failures >= 0 {
				return errDown
			}
			return nil
		}
		d, _ := start(t, Options{Source: source, Sink: s})
		pass(time.Minute)
		if got := testutil.ToFloat64(d.metrics.missed); got != 4 || s.positions() != "5-10" {
			t.Errorf("%v missed, acknowledged %s", got, s.positions())
		}
	})
}

func TestBatchIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newMemory(5)
		source.revisions[2].Summary = strings.Repeat("x", 5000)
		var sizes []int
		s := &scripted{deliver: func(_ context.Context, batch []Revision) error { sizes = append(sizes, len(batch)); return nil }}
		start(t, Options{Source: source, Sink: s, BatchBytes: 1000})
		synctest.Wait()
		if got := fmt.Sprint(sizes); got != "[2 1 2]" {
			t.Errorf("batches of %s", got)
		}
	})
}

func TestLagIsTheAgeOfWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, s := newMemory(0), &scripted{}
		var down atomic.Bool
		down.Store(true)
		s.deliver = func(context.Context, []Revision) error {
			if down.Load() {
				return errDown
			}
			return nil
		}
		registry := prometheus.NewPedanticRegistry()
		start(t, Options{Source: source, Sink: s, Metrics: registry, MaxBackoff: time.Second})
		synctest.Wait()
		lag := func(want float64) {
			t.Helper()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() != "seawall_collector_sink_lag_seconds" {
					continue
				}
				if got := f.GetMetric()[0].GetGauge().GetValue(); got < want || got > want+5 {
					t.Errorf("lag %v, want %v", got, want)
				}
				return
			}
			t.Error("no metric of the lag")
		}
		lag(0)
		source.append(&alertv1.Alert{StoredTime: timestamppb.Now(), DecidedTime: timestamppb.Now()}, &alertv1.Alert{StoredTime: timestamppb.Now()})
		pass(100 * time.Second)
		lag(100)
		if n, _ := latency(t, registry); n != 0 {
			t.Errorf("%d delivered in no time", n)
		}
		down.Store(false)
		pass(2 * time.Second)
		lag(0)
		// The one that a fact decided, and when it was there: the other one only grew.
		if n, took := latency(t, registry); n != 1 || took < 100 || took > 105 {
			t.Errorf("%d delivered within %v s", n, took)
		}
		if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
			t.Errorf("metrics: %v, %v", problems, err)
		}
	})
}

// latency is how many deliveries were timed, and how long they took together.
func latency(t *testing.T, from prometheus.Gatherer) (n uint64, seconds float64) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "seawall_collector_sink_latency_seconds" {
			h := f.GetMetric()[0].GetHistogram()
			return h.GetSampleCount(), h.GetSampleSum()
		}
	}
	t.Fatal("no metric of the latency")
	return 0, 0
}

func TestNamesOfSinks(t *testing.T) {
	for name, good := range map[string]bool{"splunk-1": true, "": false, "a/b": false, "A": false, strings.Repeat("x", 64): false} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
