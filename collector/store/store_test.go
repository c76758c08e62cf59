package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func openTest(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "store 100%?#.db") }

// put and count work on a table that exists anyway.
func put(key string) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec(context.Background(), "INSERT INTO correlate_state (kind, key, body) VALUES ('test', ?, x'00')", key)
		return err
	}
}

func count(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.View(t.Context(), func(tx *Tx) error {
		return tx.Row(t.Context(), "SELECT count(*) FROM correlate_state", nil, &n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOpenAgain(t *testing.T) {
	path := newPath(t)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), put("a")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, openTest(t, path)); n != 1 {
		t.Errorf("%d rows", n)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestConnectionsAreSetUp(t *testing.T) {
	s := openTest(t, newPath(t))
	for name, test := range map[string]struct {
		db   *sql.DB
		want string
	}{
		"journal_mode": {s.write, "wal"}, "synchronous": {s.write, "2"}, "foreign_keys": {s.write, "1"}, "query_only": {s.read, "1"},
	} {
		var got string
		if err := test.db.QueryRow("PRAGMA " + name).Scan(&got); err != nil || got != test.want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, test.want)
		}
	}
	if err := s.View(t.Context(), put("a")); err == nil {
		t.Error("a view wrote")
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	s := openTest(t, newPath(t))
	told := 0
	refused := errors.New("refused")
	err := s.Update(t.Context(), func(tx *Tx) error {
		tx.AfterCommit(func() { told++ })
		return errors.Join(put("a")(tx), refused)
	})
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), s.Path()) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.Update(t.Context(), func(tx *Tx) error {
			_ = put("b")(tx)
			panic("a bug")
		})
	}()
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Update(ctx, func(tx *Tx) error { cancel(); return put("c")(tx) }); err == nil {
		t.Error("committed beyond the end of its context")
	}
	if n := count(t, s); n != 0 || told != 0 {
		t.Errorf("%d rows, told %d times", n, told)
	}
	if err := s.Update(t.Context(), func(tx *Tx) error { tx.AfterCommit(func() { told++ }); return put("d")(tx) }); err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
}

// Writers queue; a view goes on beside them and sees the state it began with.
func TestViewsDoNotWait(t *testing.T) {
	s := openTest(t, newPath(t))
	err := s.Update(t.Context(), func(tx *Tx) error {
		if err := put("a")(tx); err != nil {
			return err
		}
		if n := count(t, s); n != 0 {
			t.Errorf("a view sees %d rows of an open transaction", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			if err := s.Update(t.Context(), put(string(rune('b'+i)))); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if n := count(t, s); n != 9 {
		t.Errorf("%d rows", n)
	}
}

func TestAnotherProcessHoldsTheFile(t *testing.T) {
	path := newPath(t)
	s := openTest(t, path)
	other := openTest(t, path)
	if _, err := other.write.Exec("PRAGMA busy_timeout=0"); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), func(*Tx) error { return other.Update(t.Context(), put("a")) })
	if !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
	if err := other.Update(t.Context(), put("a")); err != nil {
		t.Error(err)
	}
}

func TestDamage(t *testing.T) {
	path := newPath(t)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := s.Update(t.Context(), put(strings.Repeat("k", 50)+string(rune('A'+i)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	inner := append([]byte(nil), whole...)
	for at := 2 * page; at < len(inner); at += page { // all but the schema and its first neighbour
		for i := range 64 {
			inner[at+i] ^= 0x5a
		}
	}
	for name, damaged := range map[string][]byte{
		"no database": []byte(strings.Repeat("this is a text\n", 100)),
		"torn off":    whole[:len(whole)-page],
		"overwritten": inner,
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), path)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, %v", s, err)
			}
		})
	}
	if _, err := Open(t.Context(), filepath.Join(path, "below a file")); err == nil {
		t.Error("opened a file below a file")
	}
}

func TestMigrations(t *testing.T) {
	one := migration{"0001-a", "CREATE TABLE a (x INTEGER); INSERT INTO a (x) VALUES (1);"}
	two := migration{"0002-b", "UPDATE a SET x = x + 1"}
	broken := migration{"0003-c", "CREATE TABLE c (x INTEGER); INSERT INTO nowhere VALUES (1)"}
	path := newPath(t)
	for _, test := range []struct {
		name  string
		steps []migration
		err   string
		is    error
	}{
		{"the first", []migration{one}, "", nil},
		{"again", []migration{one}, "", nil},
		{"one more", []migration{one, two}, "", nil},
		{"a broken one", []migration{one, two, broken}, "migration 0003-c", nil},
		{"an older collector", []migration{one}, "it is of version 2 (0002-b), this collector knows 1", ErrNewer},
		{"another product", []migration{one, {"0002-x", ""}}, "migration 2 of the file is 0002-b", nil},
		{"after all that", []migration{one, two}, "", nil},
	} {
		s, err := open(t.Context(), path, test.steps)
		switch {
		case test.err == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: got %v, want %q", test.name, err, test.err)
		case test.is != nil && !errors.Is(err, test.is):
			t.Errorf("%s: got %v, want %v", test.name, err, test.is)
		}
		if s != nil {
			var x int
			if err := s.read.QueryRow("SELECT x FROM a").Scan(&x); err != nil || x != len(test.steps) {
				t.Errorf("%s: x is %d, %v", test.name, x, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// ledger is a class of numbered rows of one byte each.
func ledger() Class {
	return Class{
		Name: "test",
		Bytes: func(ctx context.Context, tx *Tx) (n int64, err error) {
			err = tx.Row(ctx, "SELECT count(*) FROM correlate_state", nil, &n)
			return n, err
		},
		Expire: func(ctx context.Context, tx *Tx, before time.Time, limit int) (rows, bytes int64, err error) {
			bound := "~"
			if !before.IsZero() {
				bound = before.Format(time.DateOnly)
			}
			n, err := tx.Exec(ctx, `DELETE FROM correlate_state WHERE key IN
				(SELECT key FROM correlate_state WHERE key < ? ORDER BY key LIMIT ?)`, bound, limit)
			return n, n, err
		},
	}
}

func TestRetain(t *testing.T) {
	s := openTest(t, newPath(t))
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := day.AddDate(0, 0, 1000)
	err := s.Update(t.Context(), func(tx *Tx) error {
		for i := range 1000 {
			if err := put(day.AddDate(0, 0, i).Format(time.DateOnly))(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		keep          Retention
		removed, left int
	}{
		{Retention{}, 0, 1000},
		{Retention{Days: 2000, Bytes: 5000}, 0, 1000},
		{Retention{Days: 400, Bytes: 500}, 600, 400},
		{Retention{Bytes: 390}, 16, 384},
		{Retention{Days: 1, Bytes: 1}, 383, 1},
	} {
		removed, err := s.Retain(t.Context(), now, ledger(), test.keep)
		if err != nil || int(removed) != test.removed || count(t, s) != test.left {
			t.Errorf("%+v: removed %d, %v; %d are left, want %d", test.keep, removed, err, count(t, s), test.left)
		}
	}
}

// BenchmarkUpdate is one flush to the disk.
func BenchmarkUpdate(b *testing.B) {
	s := openTest(b, newPath(b))
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		if err := s.Update(b.Context(), put(time.Duration(i).String())); err != nil {
			b.Fatal(err)
		}
	}
}
