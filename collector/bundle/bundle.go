// Package bundle keeps the rule bundle that agents are sent, and takes newer ones from
// operators.
//
// Agents judge who signed a bundle; the collector has no keys to check it with. It
// refuses what no agent could use, so that the operator hears of it and not every agent.
// A bundle is on the disk before a push is answered.
//
// It owns the table bundles of the store. All types may be used by several goroutines.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/ingest"
	"github.com/seawall-security/seawall/collector/store"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Pushed is the bundle there is, and who pushed it.
type Pushed struct {
	Serial uint64
	Signed *sensorv1.SignedBundle
	At     time.Time
	By     string
}

// Bundles are the bundle of a store.
type Bundles struct {
	store   *store.Store
	current atomic.Pointer[ingest.Bundle]
}

// Open reads the bundle that a store keeps.
func Open(ctx context.Context, s *store.Store) (*Bundles, error) {
	b := &Bundles{store: s}
	pushed, err := b.Pushed(ctx)
	switch {
	case errors.Is(err, store.ErrNoRows):
	case err != nil:
		return nil, err
	default:
		b.current.Store(ingest.NewBundle(pushed.Serial, pushed.Signed))
	}
	return b, nil
}

// Current is what agents are to have; nil: there is no bundle.
func (b *Bundles) Current() *ingest.Bundle { return b.current.Load() }

// Pushed reads the bundle; store.ErrNoRows says that there is none.
func (b *Bundles) Pushed(ctx context.Context) (p Pushed, err error) {
	var body []byte
	var at int64
	err = b.store.View(ctx, func(tx *store.Tx) error {
		return tx.Row(ctx, "SELECT serial, signed, pushed_ns, pushed_by FROM bundles WHERE only = 1", nil, &p.Serial, &body, &at, &p.By)
	})
	if err != nil {
		return Pushed{}, fmt.Errorf("read bundle: %w", err)
	}
	p.At, p.Signed = time.Unix(0, at), &sensorv1.SignedBundle{}
	if err := proto.Unmarshal(body, p.Signed); err != nil {
		return Pushed{}, fmt.Errorf("read bundle %d: %w", p.Serial, err)
	}
	return p, nil
}

// notAboveError says that a bundle is older than the one there is.
type notAboveError struct{ serial, present uint64 }

func (e *notAboveError) Error() string {
	return fmt.Sprintf("serial %d is not above %d, which agents are sent now", e.serial, e.present)
}

// put keeps a bundle in the place of the one before, and gives it out.
func (b *Bundles) put(ctx context.Context, p Pushed) error {
	body, err := proto.Marshal(p.Signed)
	if err != nil {
		return err
	}
	next := ingest.NewBundle(p.Serial, p.Signed)
	return b.store.Update(ctx, func(tx *store.Tx) error {
		var present uint64
		if err := tx.Row(ctx, "SELECT coalesce(max(serial), 0) FROM bundles", nil, &present); err != nil {
			return err
		}
		if p.Serial <= present {
			return &notAboveError{p.Serial, present}
		}
		tx.AfterCommit(func() { b.raise(next) })
		_, err := tx.Exec(ctx, `INSERT INTO bundles (only, serial, signed, pushed_ns, pushed_by) VALUES (1, ?, ?, ?, ?)
			ON CONFLICT (only) DO UPDATE SET serial = excluded.serial, signed = excluded.signed,
			pushed_ns = excluded.pushed_ns, pushed_by = excluded.pushed_by`, p.Serial, body, p.At.UnixNano(), p.By)
		return err
	})
}

// raise gives a bundle out, unless a newer one came first: commits are in order, what
// follows them need not be.
func (b *Bundles) raise(next *ingest.Bundle) {
	for {
		held := b.current.Load()
		if held != nil && held.Serial >= next.Serial || b.current.CompareAndSwap(held, next) {
			return
		}
	}
}
