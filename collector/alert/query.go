package alert

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/store"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Bounds of questions.
const (
	DefaultPage = 100
	MaxPage     = 1000
	// maxFilter bounds the names of one filter.
	maxFilter = 100
	// pageBytes ends a page early: an alert is up to 150 KiB, a message 4 MiB.
	pageBytes = 3 << 20
)

// ErrQuestion says that a question cannot be answered as it was asked.
var ErrQuestion = errors.New("the question is wrong")

// Get returns the latest revision of an alert.
func (b *Book) Get(ctx context.Context, id string) (*alertv1.Alert, error) {
	a := &alertv1.Alert{}
	err := b.store.View(ctx, func(tx *store.Tx) error {
		var body []byte
		if err := tx.Row(ctx, "SELECT body FROM alerts WHERE id = ?", []any{id}, &body); err != nil {
			return err
		}
		return decode(body, a)
	})
	if errors.Is(err, store.ErrNoRows) {
		return nil, fmt.Errorf("alert %s: %w", Cut(strconv.Quote(id), 64), ErrNotFound)
	}
	return a, err
}

// List returns the latest revisions of alerts, those raised last first, by pages. What is
// raised or revised between two pages moves nothing from one to the other.
func (b *Book) List(ctx context.Context, filter *alertv1.Filter, size uint32, token string) (alerts []*alertv1.Alert, next string, err error) {
	if size == 0 {
		size = DefaultPage
	}
	if size > MaxPage {
		return nil, "", fmt.Errorf("%w: a page has at most %d alerts", ErrQuestion, MaxPage)
	}
	where, args, err := condition(filter)
	if err != nil {
		return nil, "", err
	}
	if token != "" {
		before, err := strconv.ParseInt(token, 10, 64)
		if err != nil {
			return nil, "", fmt.Errorf("%w: the page token is not one of ours", ErrQuestion)
		}
		where, args = where+" AND first_position < ?", append(args, before)
	}
	err = b.store.View(ctx, func(tx *store.Tx) error {
		bytes := 0
		return tx.Rows(ctx, "SELECT first_position, body FROM alerts WHERE "+where+" ORDER BY first_position DESC LIMIT ?", append(args, int64(size)+1),
			func(scan func(...any) error) error {
				var position int64
				var body []byte
				if next != "" { // the page was full, and there is more
					return nil
				}
				if err := scan(&position, &body); err != nil {
					return err
				}
				if bytes += len(body); len(alerts) == int(size) || len(alerts) > 0 && bytes > pageBytes {
					next = token
					return nil
				}
				a := &alertv1.Alert{}
				alerts, token = append(alerts, a), strconv.FormatInt(position, 10)
				return decode(body, a)
			})
	})
	return alerts, next, err
}

// Page is revisions that follow a cursor.
type Page struct {
	Revisions []Stored
	// Position is how far the page reaches: all behind the cursor up to there is in it,
	// or did not pass the filter.
	Position uint64
	// Missed counts positions between the cursor and the first that is still kept.
	Missed uint64
}

// Stored is a revision and the cursor behind it.
type Stored struct {
	Position uint64
	Alert    *alertv1.Alert
}

// scanned bounds the positions that one page looks at.
const scanned = 4096

// After returns revisions behind a cursor, at most limit, in the order they were stored.
// A page that reaches no further than its cursor is the end for now (see [Book.Changed]).
func (b *Book) After(ctx context.Context, cursor uint64, filter *alertv1.Filter, limit int) (page Page, err error) {
	where, args, err := condition(filter)
	if err != nil {
		return Page{}, err
	}
	page.Position = cursor
	err = b.store.View(ctx, func(tx *store.Tx) error {
		last, err := lastPosition(ctx, tx)
		if err != nil || cursor >= last {
			return err
		}
		first := int64(last) + 1
		if err := tx.Row(ctx, "SELECT coalesce(min(position), ?) FROM revisions", []any{first}, &first); err != nil {
			return err
		}
		page.Missed = max(uint64(first), cursor+1) - (cursor + 1)
		page.Position = min(last, cursor+page.Missed+scanned)
		bytes, full := 0, false
		return tx.Rows(ctx, "SELECT position, body FROM revisions WHERE position > ? AND position <= ? AND "+where+" ORDER BY position LIMIT ?",
			append(append([]any{int64(cursor), int64(page.Position)}, args...), limit+1),
			func(scan func(...any) error) error {
				var position uint64
				var body []byte
				if full {
					return nil
				}
				if err := scan(&position, &body); err != nil {
					return err
				}
				if bytes += len(body); len(page.Revisions) == limit || len(page.Revisions) > 0 && bytes > pageBytes {
					full, page.Position = true, page.Revisions[len(page.Revisions)-1].Position
					return nil
				}
				a := &alertv1.Alert{}
				page.Revisions = append(page.Revisions, Stored{position, a})
				return decode(body, a)
			})
	})
	return page, err
}

// Last is the position of the newest revision; 0: there is none.
func (b *Book) Last(ctx context.Context) (last uint64, err error) {
	err = b.store.View(ctx, func(tx *store.Tx) error {
		last, err = lastPosition(ctx, tx)
		return err
	})
	return last, err
}

func lastPosition(ctx context.Context, tx *store.Tx) (last uint64, err error) {
	err = tx.Row(ctx, "SELECT position FROM revision_position WHERE only = 1", nil, &last)
	return last, err
}

// condition is the filter in SQL; both tables have its columns.
func condition(f *alertv1.Filter) (where string, args []any, err error) {
	parts := []string{"severity >= ?"}
	args = []any{int32(f.GetMinimumSeverity())}
	for _, column := range []struct {
		name  string
		words []string
	}{{"kind", f.GetKinds()}, {"cluster", f.GetClusters()}, {"namespace", f.GetNamespaces()}} {
		if len(column.words) == 0 {
			continue
		}
		if len(column.words) > maxFilter {
			return "", nil, fmt.Errorf("%w: a filter has at most %d names of a sort", ErrQuestion, maxFilter)
		}
		parts = append(parts, column.name+" IN (?"+strings.Repeat(", ?", len(column.words)-1)+")")
		for _, word := range column.words {
			args = append(args, word)
		}
	}
	return strings.Join(parts, " AND "), args, nil
}

func decode(body []byte, a *alertv1.Alert) error {
	if err := proto.Unmarshal(body, a); err != nil {
		return fmt.Errorf("decode alert: %w", err)
	}
	return nil
}
