package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// migrationFiles are the steps from an empty file to this version, in the order of
// their names: a number that is never used twice, and the package that owns the tables.
// A step that was released never changes.
//
//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step. Its version is its place in the list, from 1.
type migration struct{ name, sql string }

// migrations lists the files; embedding sorts them, and cannot fail to read them.
func migrations() []migration {
	var steps []migration
	names, _ := fs.Glob(migrationFiles, "migrations/*.sql")
	for _, name := range names {
		text, _ := migrationFiles.ReadFile(name)
		steps = append(steps, migration{strings.TrimSuffix(path.Base(name), ".sql"), string(text)})
	}
	return steps
}

// migrate takes the steps that the file has not seen, all or none. There is no way
// down: an older collector refuses a newer file instead of guessing.
func (s *Store) migrate(ctx context.Context, steps []migration) error {
	return s.Update(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL)"); err != nil {
			return fmt.Errorf("list migrations: %w", err)
		}
		seen := 0
		err := tx.Rows(ctx, "SELECT version, name FROM migrations ORDER BY version", nil, func(scan func(...any) error) error {
			var version int
			var name string
			if err := scan(&version, &name); err != nil {
				return err
			}
			if version > len(steps) {
				return fmt.Errorf("it is of version %d (%s), this collector knows %d: %w", version, name, len(steps), ErrNewer)
			}
			if seen++; version != seen || name != steps[seen-1].name {
				return fmt.Errorf("migration %d of the file is %s, this collector's is %s: the file is not of this product", version, name, steps[version-1].name)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("compare migrations: %w", err)
		}
		for i, step := range steps[seen:] {
			if _, err := tx.Exec(ctx, step.sql); err != nil {
				return fmt.Errorf("migration %s: %w", step.name, err)
			}
			if _, err := tx.Exec(ctx, "INSERT INTO migrations (version, name) VALUES (?, ?)", seen+i+1, step.name); err != nil {
				return fmt.Errorf("note migration %s: %w", step.name, err)
			}
		}
		return nil
	})
}
