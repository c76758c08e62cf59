// Package agents keeps what agents say of themselves, for people: which node, version,
// kernel and hooks, when they were first and last seen, and how they are.
//
// A stream that begins is on disk at once. A status comes every few seconds from each
// of thousands of agents; it is kept in memory and written by [Agents.Run], all of them
// in one transaction, so a crash takes the statuses of the last [flushEvery].
//
// It owns the table agents of the store. An Agents may be used by several goroutines.
package agents

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/ingest"
	"github.com/seawall-security/seawall/collector/store"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// flushEvery is how long a status may wait in memory: above the pause between two of
// one agent, so that most are never written.
const flushEvery = 15 * time.Second

// Bounds of what one agent may have kept here: some hundred hooks or classes take a tenth.
const (
	maxMessageBytes = 64 << 10
	maxErrorBytes   = 1024
)

// errorColumns say why each part is not in force.
var errorColumns = map[sensorv1.Part]string{
	sensorv1.Part_PART_BUNDLE:   "bundle_error",
	sensorv1.Part_PART_SETTINGS: "settings_error",
}

var errTooLarge = fmt.Errorf("it has more than %d bytes", maxMessageBytes)

// Agents implements ingest.Agents.
type Agents struct {
	store *store.Store
	log   *zap.Logger

	flushing sync.Mutex // one flush at a time, so that an older status never comes after a newer one
	mu       sync.Mutex // guards waiting; held with nothing else
	waiting  map[ingest.Peer]news
}

// news is what came since the last flush.
type news struct {
	at     time.Time
	status []byte                   // nil: none came
	errors map[sensorv1.Part]string // why parts that came down are not in force
}

// New returns the agents that a store knows.
func New(s *store.Store, log *zap.Logger) *Agents {
	return &Agents{store: s, log: log.Named("agents"), waiting: make(map[ingest.Peer]news)}
}

// Seen implements ingest.Agents.
func (a *Agents) Seen(ctx context.Context, p ingest.Peer, hello *sensorv1.Hello, at time.Time) error {
	body, err := encode(hello)
	if err != nil {
		return fmt.Errorf("keep Hello of agent: %w", err)
	}
	return a.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO agents (id, cluster, first_seen_ns, last_seen_ns, hello, status, bundle_error, settings_error) VALUES (?, ?, ?, ?, ?, ?, '', '')
			ON CONFLICT (id) DO UPDATE SET last_seen_ns = excluded.last_seen_ns, hello = excluded.hello`,
			p.AgentID, p.Cluster, at.UnixNano(), at.UnixNano(), body, []byte{})
		return err
	})
}

// Status implements ingest.Agents.
func (a *Agents) Status(_ context.Context, p ingest.Peer, status *sensorv1.AgentStatus, at time.Time) error {
	body, err := encode(status)
	if err != nil {
		return fmt.Errorf("keep status of agent: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.waiting[p]
	n.at, n.status = at, body
	a.waiting[p] = n
	return nil
}

// Applied implements ingest.Agents.
func (a *Agents) Applied(_ context.Context, p ingest.Peer, applied *sensorv1.Applied) error {
	if _, known := errorColumns[applied.GetPart()]; !known {
		return nil // a newer agent's
	}
	text := applied.GetError()
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.waiting[p]
	if n.errors == nil {
		n.errors = make(map[sensorv1.Part]string, len(errorColumns))
	}
	n.errors[applied.GetPart()] = text
	a.waiting[p] = n
	return nil
}

// BundleOf implements ingest.Agents.
func (a *Agents) BundleOf(ctx context.Context, p ingest.Peer) (uint64, error) {
	a.mu.Lock()
	body := a.waiting[p].status
	a.mu.Unlock()
	if body == nil {
		err := a.store.View(ctx, func(tx *store.Tx) error {
			return tx.Row(ctx, "SELECT status FROM agents WHERE id = ?", []any{p.AgentID}, &body)
		})
		if err != nil {
			return 0, fmt.Errorf("read status of agent: %w", err)
		}
	}
	status := &sensorv1.AgentStatus{}
	if err := proto.Unmarshal(body, status); err != nil {
		return 0, fmt.Errorf("decode status of agent %s: %w", p.AgentID, err)
	}
	return status.BundleSerial, nil
}

func encode(message proto.Message) ([]byte, error) {
	if proto.Size(message) > maxMessageBytes {
		return nil, errTooLarge
	}
	body, err := proto.Marshal(message)
	if body == nil {
		body = []byte{} // an empty message; NULL would be none
	}
	return body, err
}

// Run writes what came until ctx is done, and what is left then.
func (a *Agents) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := a.flush(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn("statuses of agents wait for the store", zap.Error(err))
			}
		case <-ctx.Done():
			return a.flush(context.WithoutCancel(ctx))
		}
	}
}

// flush writes what waits. What could not be written waits on, unless newer came.
func (a *Agents) flush(ctx context.Context) error {
	a.flushing.Lock()
	defer a.flushing.Unlock()
	a.mu.Lock()
	taken := a.waiting
	a.waiting = make(map[ingest.Peer]news)
	a.mu.Unlock()
	if len(taken) == 0 {
		return nil
	}
	err := a.store.Update(ctx, func(tx *store.Tx) error {
		var errs []error
		for p, n := range taken {
			errs = append(errs, n.write(ctx, tx, p))
		}
		return errors.Join(errs...)
	})
	if err == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, old := range taken {
		a.waiting[p] = old.then(a.waiting[p])
	}
	return err
}

// then is the newer news, with what only the older has.
func (n news) then(newer news) news {
	if newer.status != nil {
		n.at, n.status = newer.at, newer.status
	}
	if newer.errors != nil {
		older := n.errors
		n.errors = make(map[sensorv1.Part]string, len(errorColumns))
		maps.Copy(n.errors, older)
		maps.Copy(n.errors, newer.errors)
	}
	return n
}

func (n news) write(ctx context.Context, tx *store.Tx, p ingest.Peer) error {
	if n.status != nil {
		if _, err := tx.Exec(ctx, "UPDATE agents SET status = ?, last_seen_ns = ? WHERE id = ?",
			n.status, n.at.UnixNano(), p.AgentID); err != nil {
			return err
		}
	}
	for part, column := range errorColumns {
		if text, ok := n.errors[part]; ok {
			if _, err := tx.Exec(ctx, "UPDATE agents SET "+column+" = ? WHERE id = ?", text, p.AgentID); err != nil {
				return err
			}
		}
	}
	return nil
}
