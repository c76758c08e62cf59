package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/redact"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// world is what an intake stands between.
type world struct {
	t        testing.TB
	intake   *Intake
	health   *Health
	store    *store.Store
	now      time.Time
	states   []*collectorv1.AuditState
	batches  [][]byte // as they are in the log
	registry *prometheus.Registry

	mu        sync.Mutex
	fail      error // of Append
	ids       []string
	largest   int
	positions map[string]Position
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, positions: map[string]Position{}, now: time.Unix(1_795_285_400, 0).UTC()}
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	w.store = s
	w.restart()
	return w
}

// sources of every world.
var sources = []Source{{"webhook", KindWebhook}, {"file", KindFile}}

// restart forgets what an intake and its health remember.
func (w *world) restart() { w.t.Helper(); w.restartWith(sources...) }

func (w *world) restartWith(sources ...Source) {
	w.t.Helper()
	w.registry = prometheus.NewRegistry()
	masks, err := redact.New(bytes.Repeat([]byte{7}, redact.KeyBytes))
	if err != nil {
		w.t.Fatal(err)
	}
	now := func() time.Time { return w.now }
	w.health, err = NewHealth(w.t.Context(), HealthOptions{Cluster: "harbour", Sources: sources, Store: w.store, Log: w, Metrics: w.registry, Now: now, Logger: zap.NewNop()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.intake = NewIntake("harbour", w, audit.NewRedactor(masks), w.health, now)
}

// Append implements Log.
func (w *world) Append(_ context.Context, message []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	w.largest = max(w.largest, len(message))
	m := &collectorv1.LogMessage{}
	if err := proto.Unmarshal(message, m); err != nil {
		w.t.Error(err)
	}
	w.batches = append(w.batches, message)
	if state := m.GetAuditState(); state != nil {
		w.states = append(w.states, state)
	}
	for _, e := range m.GetAudit().GetEvents() {
		w.ids = append(w.ids, e.AuditId)
	}
	return nil
}

func (w *world) Load(_ context.Context, source string) (Position, error) {
	return w.positions[source], nil
}

func (w *world) Save(_ context.Context, source string, p Position) error {
	w.positions[source] = p
	return nil
}

// failing has the log refuse what comes.
func (w *world) failing(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

var errFull = errors.New("event log is full")

func (w *world) tail(path string) *Tail {
	stop := func(context.Context, time.Duration) error { return context.Canceled }
	tail := NewTail("file", path, w.intake, w, stop, zap.NewNop())
	tail.at = w.positions["file"]
	tail.kept = tail.at
	return tail
}

// count is the sum of a metric over its labels.
func (w *world) count(name string, labels map[string]string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	sum := 0.
	for _, f := range families {
		for _, m := range f.Metric {
			matches := f.GetName() == name
			for _, l := range m.Label {
				if want, asked := labels[l.GetName()]; asked && want != l.GetValue() {
					matches = false
				}
			}
			if matches {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// line is an event of the log; its id is within the fingerprint.
func line(id string) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods",`+
		`"verb":"list","user":{"username":"alice@example.test"},"sourceIPs":["10.77.0.11"],"objectRef":{"resource":"pods","namespace":"shop"},"responseStatus":{"code":200},`+
		`"requestReceivedTimestamp":"2026-11-21T18:22:29.631271Z","stageTimestamp":"2026-11-21T18:22:29.643179Z"}`, id)
}
