package siem

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// memory is a store of revisions; positions are indices plus one.
type memory struct {
	mu        sync.Mutex
	revisions []*alertv1.Alert
	more      chan struct{} // closed at every change
	cursors   map[string]uint64
	scan      int // how many revisions a reading looks at; 0: all
	visited   int
	fails     error
	forgotten uint64 // up to which nothing is kept
}

func newMemory(alerts ...*alertv1.Alert) *memory {
	return &memory{revisions: alerts, more: make(chan struct{}), cursors: map[string]uint64{}}
}

func (m *memory) add(alerts ...*alertv1.Alert) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revisions = append(m.revisions, alerts...)
	close(m.more)
	m.more = make(chan struct{})
}

func (m *memory) Revisions(ctx context.Context, after uint64, f *alertv1.Filter, limit int, visit func(uint64, *alertv1.Alert) error) (uint64, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return after, 0, m.fails
	}
	missed := max(m.forgotten, after) - after
	after += missed
	through, n := after, 0
	for i := after; i < uint64(len(m.revisions)) && n < limit && (m.scan == 0 || i-after < uint64(m.scan)); i++ {
		if Passes(f, m.revisions[i]) {
			m.visited++
			if err := visit(i+1, m.revisions[i]); err != nil {
				return through, missed, err
			}
			n++
		}
		through = i + 1
	}
	return through, missed, ctx.Err()
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
	return uint64(len(m.revisions)), m.fails
}

func (m *memory) List(_ context.Context, f *alertv1.Filter, size uint32, token string) (alerts []*alertv1.Alert, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.revisions) + 1
	if token != "" {
		if before, err = strconv.Atoi(token); err != nil {
			return nil, "", err
		}
	}
	first, latest := map[string]int{}, map[string]*alertv1.Alert{}
	var ids []string
	for i, a := range m.revisions {
		if _, seen := first[a.GetId()]; !seen {
			first[a.GetId()] = i + 1
			ids = append(ids, a.GetId())
		}
		latest[a.GetId()] = a
	}
	for _, id := range slices.Backward(ids) {
		if first[id] >= before || !Passes(f, latest[id]) {
			continue
		}
		if len(alerts) == int(size) {
			return alerts, strconv.Itoa(before), m.fails
		}
		before = first[id]
		alerts = append(alerts, latest[id])
	}
	return alerts, "", m.fails
}

func (m *memory) Alert(_ context.Context, id string) (*alertv1.Alert, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range slices.Backward(m.revisions) {
		if a.GetId() == id {
			return a, nil
		}
	}
	return nil, m.fails
}

func (m *memory) Cursor(_ context.Context, client, subscription string) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	position, known := m.cursors[client+"/"+subscription]
	return position, known, m.fails
}

func (m *memory) Cursors(_ context.Context, client string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for key := range m.cursors {
		if len(key) > len(client) && key[:len(client)+1] == client+"/" {
			n++
		}
	}
	return n, m.fails
}

func (m *memory) MoveCursor(_ context.Context, client, subscription string, position uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := client + "/" + subscription
	m.cursors[key] = max(m.cursors[key], position)
	return m.fails
}

func alertOf(n, revision int, namespace string) *alertv1.Alert {
	a := &alertv1.Alert{Id: fmt.Sprintf("%032x", n), Revision: uint32(revision), Kind: "web-shell", Cluster: "prod"}
	a.Asset = inNamespace(namespace)
	return a
}
