package store

import (
	"context"
	"database/sql"
)

// Tx is a transaction. It is for the function it was given to, and for one goroutine.
type Tx struct {
	tx    *sql.Tx
	after []func()
}

// Update runs fn in a transaction that may write. What fn did is kept if it returns
// nil, and is as if it had never been if it returns an error or panics. fn may be run
// again by its caller after an error, so it changes nothing but rows.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.run(ctx, s.write, nil, fn)
}

// View runs fn on the state as it is now; what is written meanwhile is not seen.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.run(ctx, s.read, &sql.TxOptions{ReadOnly: true}, fn)
}

func (s *Store) run(ctx context.Context, db *sql.DB, options *sql.TxOptions, fn func(*Tx) error) error {
	begun, err := db.BeginTx(ctx, options)
	if err != nil {
		return s.fail("begin", err)
	}
	// After a commit this does nothing; else it is how an error, a panic or the end of
	// the context leaves no trace.
	defer func() { _ = begun.Rollback() }()
	tx := &Tx{tx: begun}
	if err := fn(tx); err != nil {
		return s.fail("transaction", err)
	}
	if err := begun.Commit(); err != nil {
		return s.fail("commit", err)
	}
	for _, f := range tx.after {
		f()
	}
	return nil
}

// AfterCommit has f called once the transaction is on the disk, and not otherwise.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Exec runs a statement and returns how many rows it changed.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := tx.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Row asks for one row, which is read into the places given; [ErrNoRows] says that
// there is none.
func (tx *Tx) Row(ctx context.Context, query string, args []any, into ...any) error {
	return tx.tx.QueryRowContext(ctx, query, args...).Scan(into...)
}

// Rows asks for rows and gives each to visit, which reads it by calling scan.
func (tx *Tx) Rows(ctx context.Context, query string, args []any, visit func(scan func(into ...any) error) error) error {
	rows, err := tx.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := visit(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
