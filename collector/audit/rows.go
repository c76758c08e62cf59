package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seawall-security/seawall/collector/store"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// Rows keeps positions in the store. It implements [Positions].
type Rows struct{ store *store.Store }

// NewRows returns the positions of a store.
func NewRows(s *store.Store) *Rows { return &Rows{s} }

// Load implements Positions.
func (r *Rows) Load(ctx context.Context, source string) (p Position, err error) {
	err = r.store.View(ctx, func(tx *store.Tx) error {
		return tx.Row(ctx, "SELECT file, at_offset FROM audit_positions WHERE source = ?", []any{source}, &p.File, &p.Offset)
	})
	if errors.Is(err, store.ErrNoRows) {
		return Position{}, nil
	}
	return p, err
}

// Save implements Positions.
func (r *Rows) Save(ctx context.Context, source string, p Position) error {
	return r.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO audit_positions (source, file, at_offset) VALUES (?, ?, ?)
			ON CONFLICT (source) DO UPDATE SET file = excluded.file, at_offset = excluded.at_offset`, source, p.File, p.Offset)
		return err
	})
}

// save keeps what a restart needs.
func (h *Health) save(ctx context.Context) error {
	type row struct {
		query string
		args  []any
	}
	rows := []row{{"DELETE FROM audit_sources", nil}, {"DELETE FROM audit_holes", nil}, {"DELETE FROM audit_gaps", nil}, {"DELETE FROM audit_condition", nil}}
	h.mu.Lock()
	rows = append(rows, row{"INSERT INTO audit_condition (only, condition, since_ns) VALUES (1, ?, ?)", []any{int64(h.condition), nanos(h.since)}})
	keep := func(name string, s *source) {
		rows = append(rows, row{"INSERT INTO audit_sources VALUES (?, ?, ?, ?, ?, ?, ?, ?)", []any{name, int64(s.condition), nanos(s.since),
			nanos(s.oldest), nanos(s.newest), nanos(s.received), int64(s.silence), int64(s.pause)}})
		for _, x := range s.holes {
			rows = append(rows, row{"INSERT INTO audit_holes VALUES (?, ?, ?, ?, ?)", []any{name, nanos(x.since), nanos(x.until), int64(x.bound), x.reason}})
		}
	}
	for _, s := range h.sources {
		keep(s.name, s)
		for _, one := range s.servers {
			if one.settled() {
				keep(s.name+serverMark+one.name, one)
			}
		}
	}
	for _, g := range h.gaps {
		rows = append(rows, row{"INSERT INTO audit_gaps VALUES (?, ?, ?, ?, ?, ?, ?)", []any{g.id, g.source, nanos(g.since), nanos(g.until), g.reason, int64(g.count), g.filled}})
	}
	h.mu.Unlock()
	if err := h.store.Update(ctx, func(tx *store.Tx) error {
		for _, r := range rows {
			if _, err := tx.Exec(ctx, r.query, r.args...); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("keep the state of the audit sources: %w", err)
	}
	return nil
}

// load reads what an earlier run kept. Sources that are not configured any more are left
// out.
func (h *Health) load(ctx context.Context) error {
	err := h.store.View(ctx, func(tx *store.Tx) error {
		var condition, since int64
		err := tx.Row(ctx, "SELECT condition, since_ns FROM audit_condition", nil, &condition, &since)
		switch {
		case errors.Is(err, store.ErrNoRows):
			return nil
		case err != nil:
			return err
		}
		h.condition, h.since = collectorv1.AuditCondition(condition), moment(since)
		if err := tx.Rows(ctx, "SELECT source, condition, since_ns, oldest_ns, newest_ns, received_ns, silence_ns, paused_ns FROM audit_sources", nil, func(scan func(...any) error) error {
			var name string
			var condition, since, oldest, newest, received int64
			var silence, pause time.Duration
			if err := scan(&name, &condition, &since, &oldest, &newest, &received, &silence, &pause); err != nil {
				return err
			}
			if s := h.kept(name); s != nil {
				s.condition, s.since, s.silence, s.pause = collectorv1.AuditCondition(condition), moment(since), silence, pause
				s.oldest, s.newest, s.received = moment(oldest), moment(newest), moment(received)
			}
			return nil
		}); err != nil {
			return err
		}
		if err := tx.Rows(ctx, "SELECT source, since_ns, until_ns, bound_ns, reason FROM audit_holes ORDER BY since_ns", nil, func(scan func(...any) error) error {
			var name string
			var x hole
			var since, until int64
			if err := scan(&name, &since, &until, &x.bound, &x.reason); err != nil {
				return err
			}
			x.span = span{moment(since), moment(until)}
			if s := h.kept(name); s != nil {
				s.holes = append(s.holes, x)
			}
			return nil
		}); err != nil {
			return err
		}
		return tx.Rows(ctx, "SELECT id, source, since_ns, until_ns, reason, count, filled FROM audit_gaps ORDER BY id", nil, func(scan func(...any) error) error {
			g := &gap{}
			var since, until, count int64
			if err := scan(&g.id, &g.source, &since, &until, &g.reason, &count, &g.filled); err != nil {
				return err
			}
			g.span, g.count = span{moment(since), moment(until)}, uint64(count)
			h.gaps = append(h.gaps, g)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("read the state of the audit sources: %w", err)
	}
	return nil
}

// serverMark stands between a source's name and a server's, in rows of the server.
const serverMark = "\n"

// kept is the source that a row is of, or its server; nil: it is not configured any more.
func (h *Health) kept(name string) *source {
	for _, s := range h.sources {
		if s.name == name {
			return s
		}
	}
	name, server, _ := strings.Cut(name, serverMark)
	for _, s := range h.sources {
		if s.name == name {
			return s.server(server)
		}
	}
	return nil
}

// nanos is 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}
