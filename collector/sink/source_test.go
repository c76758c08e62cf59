package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// memory is a source of revisions; positions are indices plus one.
type memory struct {
	mu        sync.Mutex
	revisions []*alertv1.Alert
	more      chan struct{} // closed at every change
	moved     chan struct{} // closed when a cursor moves
	cursors   map[string]uint64
	forgotten uint64 // up to which nothing is kept
	readFails int    // readings, then moves, that fail
	moveFails int
}

func newMemory(n int) *memory {
	m := &memory{more: make(chan struct{}), moved: make(chan struct{}), cursors: map[string]uint64{}}
	m.add(n)
	return m
}

// add stores n alerts more.
func (m *memory) add(n int) {
	alerts := make([]*alertv1.Alert, n)
	for i := range alerts {
		alerts[i] = alertOf(len(m.revisions) + i + 1)
	}
	m.append(alerts...)
}

func (m *memory) append(alerts ...*alertv1.Alert) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revisions = append(m.revisions, alerts...)
	close(m.more)
	m.more = make(chan struct{})
}

func alertOf(n int) *alertv1.Alert {
	kind := "escape"
	if n%2 == 0 {
		kind = "web-shell"
	}
	return &alertv1.Alert{Id: fmt.Sprintf("%032x", n), Revision: 1, Kind: kind, StoredTime: timestamppb.New(time.Unix(int64(n), 0)),
		Title: "Alert " + strconv.Itoa(n)}
}

var errStore = errors.New("store is busy")

func (m *memory) Revisions(_ context.Context, after uint64, f *alertv1.Filter, limit int, visit func(uint64, *alertv1.Alert) error) (uint64, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readFails > 0 {
		m.readFails--
		return after, 0, errStore
	}
	missed := max(m.forgotten, after) - after
	after += missed
	through := after
	for i := after; i < uint64(len(m.revisions)) && limit > 0; i++ {
		if a := m.revisions[i]; len(f.GetKinds()) == 0 || slices.Contains(f.GetKinds(), a.GetKind()) {
			if err := visit(i+1, a); err != nil {
				return through, missed, err
			}
			limit--
		}
		through = i + 1
	}
	return through, missed, nil
}

func (m *memory) Wait(ctx context.Context, after uint64) error {
	for {
		m.mu.Lock()
		there, more := uint64(len(m.revisions)) > after, m.more
		m.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memory) Last(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.revisions)), nil
}

func (m *memory) Cursor(_ context.Context, owner, name string) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	position, known := m.cursors[owner+" "+name]
	return position, known, nil
}

func (m *memory) MoveCursor(ctx context.Context, owner, name string, position uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moveFails > 0 {
		m.moveFails--
		return errStore
	}
	m.cursors[owner+" "+name] = max(m.cursors[owner+" "+name], position)
	close(m.moved)
	m.moved = make(chan struct{})
	return ctx.Err()
}

func (m *memory) saved(name string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursors[CursorOwner+" "+name]
}

// scripted is a sink that does what a test says.
type scripted struct {
	mu           sync.Mutex
	deliver      func(ctx context.Context, batch []Revision) error // nil: takes everything
	acknowledged []uint64
	attempts     []time.Time
	closed       bool
}

// tried is how often it was asked, while it may be asked again.
func (s *scripted) tried() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.attempts)
}

func (s *scripted) Deliver(ctx context.Context, batch []Revision) error {
	s.mu.Lock()
	s.attempts = append(s.attempts, time.Now())
	s.mu.Unlock()
	if s.deliver != nil {
		if err := s.deliver(ctx, batch); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range batch {
		s.acknowledged = append(s.acknowledged, r.Position)
	}
	return nil
}

func (s *scripted) Close() error {
	s.closed = true
	return nil
}

// positions are what was acknowledged, runs as 1-9.
func (s *scripted) positions() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for i := 0; i < len(s.acknowledged); {
		first := i
		for i++; i < len(s.acknowledged) && s.acknowledged[i] == s.acknowledged[i-1]+1; i++ {
		}
		if run := fmt.Sprint(s.acknowledged[first]); i-first > 1 {
			out = append(out, fmt.Sprintf("%s-%d", run, s.acknowledged[i-1]))
		} else {
			out = append(out, run)
		}
	}
	return strings.Join(out, " ")
}

// start runs a delivery; stop ends it and waits.
func start(t *testing.T, o Options) (d *Delivery, stop func()) {
	t.Helper()
	o.Name = or(o.Name, "test")
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewPedanticRegistry()
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the delivery ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return d, stop
}
