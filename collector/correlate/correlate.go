// Package correlate makes alerts of what agents report.
//
// [Machine] reads the event log message by message and is a function of it: it knows no
// clock but the log's own times, and no state but what the log gave it. The same log
// gives the same alerts and revisions, byte for byte.
//
// What the machine remembers are rows (anchors, agents, high-water marks, its place in
// the log), and [Correlator] stores them in the very transaction that stores the
// revisions they led to: a restart goes on exactly where the last commit ended.
// Rebuilding by reading the log again would need no rows, but a log that is kept for as
// long as the oldest open alert, and minutes at every start.
//
// All memory is bounded (see [Limits]); what has to go is, of the agent that takes most,
// the least recently touched in the order of the log, so that goes the same way in every
// run, too.
//
// Which facts count for what is one table, in weigh.go.
package correlate

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
)

// Correlator applies the log to the store. It is for one goroutine, and the only one
// that writes what it owns: the rows of correlate_state, and alerts. As a
// prometheus.Collector it says how long they took, to any goroutine.
type Correlator struct {
	store    *store.Store
	book     *alert.Book
	limits   Limits
	machine  *Machine       // nil: to be read from the store
	stats    Stats          // up to the last commit
	rules    *auditrule.Set // nil: none
	excepted *rule.Excepted
	latency  *prometheus.HistogramVec
	now      func() time.Time // for latency alone: verdicts know the log's clock only
}

// Open reads what an earlier run remembered.
func Open(ctx context.Context, s *store.Store, book *alert.Book, limits Limits) (*Correlator, error) {
	c := &Correlator{store: s, book: book, limits: limits, latency: newLatency(), now: time.Now}
	return c, c.load(ctx)
}

// Position is the last message whose effect is stored: the log is read from behind it.
func (c *Correlator) Position(ctx context.Context) (uint64, error) {
	if err := c.load(ctx); err != nil {
		return 0, err
	}
	return c.machine.place.Position, nil
}

// Stats counts since the start.
func (c *Correlator) Stats() Stats { return c.stats }

// Waits reports whether an alert will be told once the log's clock has gone on: it is to
// tick then, though nothing else is written.
func (c *Correlator) Waits() bool {
	return c.machine != nil && (c.machine.nextDue != 0 || c.machine.nextLook != 0)
}

// Apply takes messages in, in the order of the log, in one transaction. Those that were
// taken in before are passed over. How many messages share a transaction changes
// nothing but speed. After an error nothing of them was taken in; one that wraps
// [ErrRefused] would come again.
func (c *Correlator) Apply(ctx context.Context, messages ...Message) error {
	began := c.now()
	var told []timing
	err := c.change(ctx, func(tx *store.Tx) error {
		past := func(i alert.Identity) (uint32, error) { return c.book.Episode(ctx, tx, i) }
		for _, m := range messages {
			revisions, err := c.machine.Apply(m, past)
			if err != nil {
				return fmt.Errorf("correlate message %d: %w", m.Position, err)
			}
			if err := c.book.Put(ctx, tx, revisions...); err != nil {
				return err
			}
			told = timings(told, revisions)
		}
		return nil
	})
	if err == nil {
		c.observe(told, began, c.now())
	}
	return err
}

// change has do change the machine, and the store in the same transaction: both or neither.
func (c *Correlator) change(ctx context.Context, do func(*store.Tx) error) error {
	if err := c.load(ctx); err != nil {
		return err
	}
	err := attempt(func() error {
		return c.store.Update(ctx, func(tx *store.Tx) error {
			if err := do(tx); err != nil {
				return err
			}
			return save(ctx, tx, c.machine.Changes())
		})
	})
	if err != nil {
		c.machine = nil // it is ahead of the rows
		return err
	}
	c.stats = c.machine.stats
	return nil
}

// load makes a machine of the rows unless there is one that agrees with them.
func (c *Correlator) load(ctx context.Context) error {
	if c.machine != nil {
		return nil
	}
	m := NewMachine(c.limits)
	m.stats = c.stats
	err := c.store.View(ctx, func(tx *store.Tx) error {
		return tx.Rows(ctx, "SELECT kind, key, body FROM correlate_state", nil, func(scan func(...any) error) error {
			var row Row
			if err := scan(&row.Kind, &row.Key, &row.Body); err != nil {
				return err
			}
			return m.restore(row)
		})
	})
	if err != nil {
		return fmt.Errorf("read what correlation remembers: %w", err)
	}
	m.restored()
	if err := m.useRules(c.rules, c.excepted); err != nil {
		return fmt.Errorf("read what rules remember: %w", err)
	}
	c.machine = m
	return nil
}

func save(ctx context.Context, tx *store.Tx, rows []Row) error {
	for _, row := range rows {
		var err error
		if row.Body == nil {
			_, err = tx.Exec(ctx, "DELETE FROM correlate_state WHERE kind = ? AND key = ?", row.Kind, row.Key)
		} else {
			_, err = tx.Exec(ctx, `INSERT INTO correlate_state (kind, key, body) VALUES (?, ?, ?)
				ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body`, row.Kind, row.Key, row.Body)
		}
		if err != nil {
			return fmt.Errorf("store what correlation remembers: %w", err)
		}
	}
	return nil
}
