// Package store keeps the collector's state: alerts, what correlation remembers,
// and whatever else has to survive a restart together.
//
// It owns the connection, the transactions and the one ordered list of migrations
// (migrations/); which rows mean what is up to the package that a migration is named
// for, and no other package touches them. There is one writer at a time: [Store.Update]
// queues. [Store.View] reads a consistent state beside it and never waits for it.
//
// What a transaction changed is on the disk when Update returns nil, together or not at
// all, also after a power cut: the database is SQLite with a write-ahead log that is
// flushed at every commit.
//
// PostgreSQL is to come behind this same door. SQL is therefore plain: TEXT, INTEGER (64
// bits) and BLOB, ? for arguments, ON CONFLICT, no upsert by REPLACE, no AUTOINCREMENT,
// no rowid; times are INTEGER nanoseconds since 1970. What is not plain stands in this
// package: the pragmas of dsn, quick_check, and INTEGER and BLOB, which PostgreSQL
// calls BIGINT and BYTEA.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// busyWait is how long a statement waits for another process that holds the file, such
// as a backup. Within the collector nothing waits: there is one writing connection.
const busyWait = 5 * time.Second

// readers bounds how many views are open at once; each costs a page cache of 2 MB.
const readers = 4

// Errors a caller can act on. All errors name the file.
var (
	// ErrDamaged says that the file is no database or that its pages do not fit together.
	ErrDamaged = errors.New("the file is damaged: restore it from a backup, or move it away to begin anew")
	// ErrNewer says that a newer collector wrote the file.
	ErrNewer = errors.New("a newer collector wrote it: run that version, or restore a backup of before")
	// ErrBusy says that another process held the file for too long.
	ErrBusy = errors.New("another process holds it")
	// ErrNoRows is what Scan of a single row says where there is none.
	ErrNoRows = sql.ErrNoRows
)

// Store is an open database. Its methods may be called from any goroutine.
type Store struct {
	path  string
	write *sql.DB // one connection: its pool is the queue of writers
	read  *sql.DB
}

// Open opens the database of a file, or makes it, looks whether it is whole (which
// reads all of it: about a second for each gigabyte) and brings it to this version.
func Open(ctx context.Context, path string) (_ *Store, err error) {
	return open(ctx, path, migrations())
}

func open(ctx context.Context, path string, steps []migration) (_ *Store, err error) {
	s := &Store{path: path}
	full, err := filepath.Abs(path)
	if err != nil {
		return nil, s.fail("find", err)
	}
	// SQLite would make it readable for everybody; its log files take over the mode.
	file, err := os.OpenFile(full, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, s.fail("open", err)
	}
	if err := file.Close(); err != nil {
		return nil, s.fail("open", err)
	}
	if s.write, err = sql.Open("sqlite", dsn(full, "synchronous(FULL)", "foreign_keys(1)")); err != nil {
		return nil, s.fail("open", err)
	}
	s.write.SetMaxOpenConns(1)
	if s.read, err = sql.Open("sqlite", dsn(full, "query_only(1)")); err != nil {
		return nil, errors.Join(s.fail("open", err), s.Close())
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.migrate(ctx, steps); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// dsn names the file and what every connection begins with. A writing transaction
// takes its lock as it begins: none can fail half way because another came first.
func dsn(path string, pragmas ...string) string {
	pragmas = append([]string{fmt.Sprintf("busy_timeout(%d)", busyWait.Milliseconds()), "journal_mode(WAL)"}, pragmas...)
	query := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String()
}

// check reads every page. quick_check leaves out only the comparison of each index with
// its table, which takes many times as long.
func (s *Store) check(ctx context.Context) error {
	var found string
	if err := s.write.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return s.fail("check", err)
	}
	if found != "ok" {
		return fmt.Errorf("store %s: check: %w (%s)", s.path, ErrDamaged, strings.TrimSpace(found))
	}
	return nil
}

// Path is the file.
func (s *Store) Path() string { return s.path }

// Close waits for open transactions and closes the file.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} { // the last to close empties the log file
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return s.fail("close", err)
	}
	return nil
}

// IsRefusal reports whether an error is about what was to be written, not about the disk:
// the same again would fail again.
func IsRefusal(err error) bool {
	var code *sqlite.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}

// fail names the file, and what an error code means where somebody can act on it.
func (s *Store) fail(what string, err error) error {
	var code *sqlite.Error
	if errors.As(err, &code) {
		switch code.Code() & 0xff { // the rest says more, of the same kind
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("store %s: %s: %w (%w)", s.path, what, ErrDamaged, err)
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("store %s: %s: %w (%w)", s.path, what, ErrBusy, err)
		}
	}
	return fmt.Errorf("store %s: %s: %w", s.path, what, err)
}
