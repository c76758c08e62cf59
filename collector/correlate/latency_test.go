package correlate

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/timestamppb"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// TestRevisionsSayWhatDecidedThem: what raised the alert, then what made it worse, by its
// agent's corrected clock; growth is told late on purpose and decides nothing.
func TestRevisionsSayWhatDecidedThem(t *testing.T) {
	const behind = time.Hour // the agent's clock
	s, l := &scene{container: "c"}, newLog()
	send := func(at time.Duration, r *sensorv1.Record) {
		l.send(t, testAgent, noon.Add(at+behind+100*time.Millisecond), behind, r)
	}
	send(0, s.accept(0, "192.0.2.7"))
	send(time.Second, s.script(time.Second))
	send(2*time.Second, s.exec(2*time.Second, "job", "server", "id")) // grows
	l.tick(t, settle)
	send(9*time.Second, s.shell(9*time.Second)) // becomes worse
	l.tick(t, settle)
	l.tick(t, recount)
	var got []string
	for _, a := range play(t, l.messages) {
		switch d := a.DecidedTime; {
		case d == nil:
			got = append(got, "grew")
		default:
			got = append(got, d.AsTime().Sub(noon.Add(behind)).Round(time.Second).String())
		}
	}
	if got := strings.Join(got, " "); got != "1s grew 9s" {
		t.Errorf("revisions: %s", got)
	}

	// Of two in one batch the first: the reader has waited for that one longest.
	s, l = &scene{container: "d"}, newLog()
	l.send(t, testAgent, noon.Add(3*time.Second), 0, s.script(0), s.shell(time.Second))
	all := play(t, l.messages)
	if len(all) != 1 || !all[0].DecidedTime.AsTime().Equal(noon) {
		t.Errorf("of two at once: %v", all)
	}
}

// TestLatencyIsObservedOnce: each stage of each revision that was decided, and not again
// for messages that come twice, or after a restart; what came late is late.
func TestLatencyIsObservedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, l := &scene{container: "c"}, newLog()
	l.send(t, testAgent, noon.Add(100*time.Millisecond), 0, s.other(0, "first"))
	l.send(t, testAgent, noon.Add(time.Hour), 0, s.other(time.Second, "late")) // from the spool
	l.tick(t, settle)

	st, _, c := openStore(t, path)
	clock := noon.Add(200 * time.Millisecond)
	c.now = func() time.Time { clock = clock.Add(100 * time.Millisecond); return clock }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	apply := func(c *Correlator, messages ...Message) {
		t.Helper()
		if err := c.Apply(t.Context(), messages...); err != nil {
			t.Fatal(err)
		}
	}
	apply(c, l.messages[0])
	clock = noon.Add(time.Hour)
	apply(c, l.messages[1:]...)
	apply(c, l.messages...) // again
	for stage, want := range map[string]struct {
		within map[float64]uint64
		sum    float64
	}{
		stageReceived: {map[float64]uint64{0.1: 1, 300: 1}, 0.1 + 3599},
		stageLogged:   {map[float64]uint64{0.1: 0, 0.5: 1, 300: 1}, 0.3 + 3599.1},
		stageStored:   {map[float64]uint64{0.25: 0, 0.5: 1, 300: 1}, 0.4 + 3599.2},
	} {
		count, sum, buckets := histogram(t, registry, stage)
		if count != 2 || sum < want.sum-0.001 || sum > want.sum+0.001 {
			t.Errorf("%s: %d observations of %v s together, want 2 of %v", stage, count, sum, want.sum)
		}
		for bound, n := range want.within {
			if buckets[bound] != n {
				t.Errorf("%s: %d within %v s, want %d", stage, buckets[bound], bound, n)
			}
		}
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	st, _, c = openStore(t, path)
	defer st.Close()
	apply(c, l.messages...)
	registry = prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	if count, _, _ := histogram(t, registry, stageStored); count != 0 {
		t.Errorf("after a restart %d revisions were observed again", count)
	}
}

// histogram reads one stage.
func histogram(t *testing.T, from prometheus.Gatherer, stage string) (count uint64, sum float64, buckets map[float64]uint64) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() != stage {
				continue
			}
			buckets = map[float64]uint64{}
			for _, b := range m.GetHistogram().GetBucket() {
				buckets[b.GetUpperBound()] = b.GetCumulativeCount()
			}
			return m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum(), buckets
		}
	}
	t.Fatalf("no stage %s", stage)
	return 0, 0, nil
}

// TestClockSetBack: a latency is never below none.
func TestClockSetBack(t *testing.T) {
	st, _, c := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer st.Close()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	at := timestamppb.New(noon).AsTime()
	c.observe([]timing{{decided: at, received: at.Add(time.Second)}}, at.Add(-time.Minute), at.Add(-time.Minute))
	if _, sum, _ := histogram(t, registry, stageStored); sum != 0 {
		t.Errorf("%v s", sum)
	}
}
