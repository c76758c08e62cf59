package alert

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/seawall-security/seawall/collector/store"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func newBook(t testing.TB) *Book {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return NewBook(s)
}

// revision is one of the alert whose anchor has that key.
func revision(key string, episode, number uint32, change func(*alertv1.Alert)) Revision {
	i := Identity{KindDetection, "harbour", AnchorProcess, key, "f"}
	a := &alertv1.Alert{
		Id: i.ID(episode), Revision: number, Kind: i.Kind, Cluster: i.Cluster, Severity: sensorv1.Severity_SEVERITY_MEDIUM,
		Anchor:    &alertv1.Anchor{Kind: i.AnchorKind, Key: key, Episode: episode},
		FirstTime: at(0), LastTime: at(int(number)), StoredTime: at(int(number)), Title: key,
		Asset: &alertv1.Asset{Container: &sensorv1.Container{Pod: &sensorv1.Pod{Namespace: "store"}}},
	}
	if change != nil {
		change(a)
	}
	return Revision{i, a}
}

func (b *Book) mustPut(t testing.TB, revisions ...Revision) {
	t.Helper()
	if err := b.store.Update(t.Context(), func(tx *store.Tx) error { return b.Put(t.Context(), tx, revisions...) }); err != nil {
		t.Fatal(err)
	}
}

func TestPutAndGet(t *testing.T) {
	b := newBook(t)
	changed := b.Changed()
	first, second := revision("p", 1, 1, nil), revision("p", 1, 2, func(a *alertv1.Alert) { a.Severity = 5 })
	b.mustPut(t, first, second)
	select {
	case <-changed:
	default:
		t.Error("nobody was told")
	}
	got, err := b.Get(t.Context(), first.Alert.Id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(second.Alert, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := b.Get(t.Context(), "nowhere"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v", err)
	}
	// A revision exists once; a transaction that tries again leaves nothing, and no hole.
	changed = b.Changed()
	err = b.store.Update(t.Context(), func(tx *store.Tx) error {
		return b.Put(t.Context(), tx, revision("p", 1, 3, nil), revision("p", 1, 2, nil))
	})
	if err == nil || !strings.Contains(err.Error(), "revision 2 of alert "+first.Alert.Id) {
		t.Errorf("got %v", err)
	}
	select {
	case <-changed:
		t.Error("somebody was told of nothing")
	default:
	}
	if last, err := b.Last(t.Context()); err != nil || last != 2 {
		t.Errorf("last %d, %v", last, err)
	}
}

func TestEpisodesOutliveAlerts(t *testing.T) {
	b := newBook(t)
	b.mustPut(t, revision("p", 1, 1, nil), revision("p", 2, 1, nil), revision("q", 1, 1, nil))
	if _, err := b.store.Retain(t.Context(), at(1<<30).AsTime(), Alerts, store.Retention{Days: 1}); err != nil {
		t.Fatal(err)
	}
	if alerts, _, err := b.List(t.Context(), nil, 0, ""); err != nil || len(alerts) != 0 {
		t.Errorf("%d alerts are left, %v", len(alerts), err)
	}
	for key, want := range map[string]uint32{"p": 2, "q": 1, "r": 0} {
		err := b.store.View(t.Context(), func(tx *store.Tx) error {
			got, err := b.Episode(t.Context(), tx, revision(key, 1, 1, nil).Identity)
			if got != want {
				t.Errorf("%s: episode %d, want %d", key, got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	b.mustPut(t, revision("p", 1, 2, nil)) // its revisions go on alone
}

func keys(alerts []*alertv1.Alert) (all []string) {
	for _, a := range alerts {
		all = append(all, a.Title)
	}
	return all
}

func TestList(t *testing.T) {
	b := newBook(t)
	for i := range 10 {
		b.mustPut(t, revision(fmt.Sprint(i), 1, 1, func(a *alertv1.Alert) {
			a.Severity = sensorv1.Severity(i % 6)
			a.Kind = []string{KindDetection, KindEscape}[i%2]
			a.Asset.Container.Pod.Namespace = []string{"store", "shop", "bank"}[i%3]
		}))
	}
	for _, test := range []struct {
		name   string
		filter *alertv1.Filter
		want   string
	}{
		{"all", nil, "9 8 7 6 5 4 3 2 1 0"},
		{"severe", &alertv1.Filter{MinimumSeverity: 4}, "5 4"},
		{"a kind", &alertv1.Filter{Kinds: []string{KindEscape, "x"}}, "9 7 5 3 1"},
		{"namespaces", &alertv1.Filter{Namespaces: []string{"shop", "bank"}, Clusters: []string{"harbour"}}, "8 7 5 4 2 1"},
		{"elsewhere", &alertv1.Filter{Clusters: []string{"bay"}}, ""},
	} {
		for size := range uint32(4) {
			var got []string
			for token, pages := "", 0; ; pages++ {
				alerts, next, err := b.List(t.Context(), test.filter, size, token)
				if err != nil || pages > 10 || size > 0 && len(alerts) > int(size) {
					t.Fatal(test.name, len(alerts), pages, err)
				}
				got = append(got, keys(alerts)...)
				if token = next; token == "" {
					break
				}
				b.mustPut(t, revision(fmt.Sprintf("%s new %d %d", test.name, size, pages), 1, 1, func(a *alertv1.Alert) { a.Cluster = "new"; a.Kind = "new"; a.Severity = 0 }))
			}
			if kept := strings.Join(got, " "); !strings.HasSuffix(kept, test.want) || test.name != "all" && kept != test.want {
				t.Errorf("%s by %d: got %s, want %s", test.name, size, kept, test.want)
			}
		}
	}
	for name, ask := range map[string]func() error{
		"page":  func() error { _, _, err := b.List(t.Context(), nil, MaxPage+1, ""); return err },
		"token": func() error { _, _, err := b.List(t.Context(), nil, 1, "x; DROP TABLE alerts"); return err },
		"filter": func() error {
			_, _, err := b.List(t.Context(), &alertv1.Filter{Kinds: make([]string, 101)}, 1, "")
			return err
		},
	} {
		if err := ask(); !errors.Is(err, ErrQuestion) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestPagesEndEarlyWithLargeAlerts(t *testing.T) {
	b := newBook(t)
	for i := range 4 {
		b.mustPut(t, revision(fmt.Sprint(i), 1, 1, func(a *alertv1.Alert) { a.Summary = strings.Repeat("x", pageBytes/2) }))
	}
	alerts, next, err := b.List(t.Context(), nil, 0, "")
	if err != nil || len(alerts) != 1 || next == "" {
		t.Errorf("%d alerts, next %q, %v", len(alerts), next, err)
	}
	page, err := b.After(t.Context(), 0, nil, 100)
	if err != nil || len(page.Revisions) != 1 || page.Position != 1 {
		t.Errorf("%d revisions up to %d, %v", len(page.Revisions), page.Position, err)
	}
}

// read follows a cursor to the end.
func read(t *testing.T, b *Book, cursor uint64, filter *alertv1.Filter, limit int) (positions []uint64, end, missed uint64) {
	t.Helper()
	for {
		page, err := b.After(t.Context(), cursor, filter, limit)
		if err != nil || len(page.Revisions) > limit {
			t.Fatal(len(page.Revisions), err)
		}
		for _, r := range page.Revisions {
			positions = append(positions, r.Position)
		}
		missed += page.Missed
		if page.Position == cursor {
			return positions, cursor, missed
		}
		cursor = page.Position
	}
}

func TestAfter(t *testing.T) {
	b := newBook(t)
	if got, end, missed := read(t, b, 0, nil, 10); len(got) != 0 || end != 0 || missed != 0 {
		t.Errorf("an empty book: %v up to %d, %d missed", got, end, missed)
	}
	for i := range 20 {
		b.mustPut(t, revision("p", 1, uint32(i+1), func(a *alertv1.Alert) {
			a.Severity = sensorv1.Severity(i % 6)
			a.StoredTime = at(i * 86400)
		}))
	}
	for limit := 1; limit < 25; limit += 4 {
		if got, end, missed := read(t, b, 3, nil, limit); len(got) != 17 || got[0] != 4 || got[16] != 20 || end != 20 || missed != 0 {
			t.Errorf("by %d: %v up to %d, %d missed", limit, got, end, missed)
		}
		got, end, _ := read(t, b, 0, &alertv1.Filter{MinimumSeverity: 5}, limit)
		if diff := cmp.Diff([]uint64{6, 12, 18}, got); diff != "" || end != 20 {
			t.Errorf("by %d: up to %d; -want +got:\n%s", limit, end, diff)
		}
	}
	if got, end, _ := read(t, b, 99, nil, 10); len(got) != 0 || end != 99 {
		t.Errorf("beyond the end: %v, %d", got, end)
	}
	// What retention took away is counted, once.
	if removed, err := b.store.Retain(t.Context(), at(20*86400).AsTime(), Revisions, store.Retention{Days: 15}); err != nil || removed != 5 {
		t.Fatal(removed, err)
	}
	if got, end, missed := read(t, b, 2, nil, 4); len(got) != 15 || got[0] != 6 || end != 20 || missed != 3 {
		t.Errorf("%v up to %d, %d missed", got, end, missed)
	}
	if _, err := b.store.Retain(t.Context(), at(0).AsTime(), Revisions, store.Retention{Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	if got, end, missed := read(t, b, 10, nil, 4); len(got) != 0 || end != 20 || missed != 10 {
		t.Errorf("%v up to %d, %d missed", got, end, missed)
	}
	b.mustPut(t, revision("p", 1, 21, nil))
	if got, _, _ := read(t, b, 20, nil, 4); len(got) != 1 || got[0] != 21 {
		t.Errorf("positions begin anew: %v", got)
	}
}

func TestSubscriptions(t *testing.T) {
	b := newBook(t)
	b.mustPut(t, revision("p", 1, 1, nil), revision("p", 1, 2, nil), revision("p", 1, 3, nil))
	subscribe := func(client, name string, fromNow bool, want uint64) {
		t.Helper()
		if got, err := b.Subscribe(t.Context(), client, name, fromNow); err != nil || got != want {
			t.Errorf("%s of %s begins at %d, %v; want %d", name, client, got, err, want)
		}
	}
	acknowledge := func(name string, position uint64) {
		t.Helper()
		if err := b.Acknowledge(t.Context(), "siem", name, position); err != nil {
			t.Error(err)
		}
	}
	subscribe("siem", "old", false, 0)
	subscribe("siem", "new", true, 3)
	acknowledge("old", 2)
	acknowledge("old", 1) // never back
	subscribe("siem", "old", true, 2)
	subscribe("other", "old", false, 0)
	for name, ask := range map[string]func() error{
		"nameless":   func() error { _, err := b.Subscribe(t.Context(), "siem", "", false); return err },
		"long":       func() error { _, err := b.Subscribe(t.Context(), "siem", strings.Repeat("n", 129), false); return err },
		"unknown":    func() error { return b.Acknowledge(t.Context(), "siem", "x", 1) },
		"beyond":     func() error { return b.Acknowledge(t.Context(), "siem", "old", 4) },
		"far beyond": func() error { return b.Acknowledge(t.Context(), "siem", "old", 1<<63+1) },
		"too many": func() (err error) {
			for i := 0; i < 65 && err == nil; i++ {
				_, err = b.Subscribe(t.Context(), "many", fmt.Sprint(i), false)
			}
			return err
		},
	} {
		if err := ask(); !errors.Is(err, ErrQuestion) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	book := newBook(b)
	large := revision("p", 1, 1, func(a *alertv1.Alert) {
		for i := range MaxEvidence {
			AddEvidence(a, fact(i, "r", 4, fmt.Sprint(i, strings.Repeat("x", 200))))
		}
	})
	b.SetBytes(int64(proto.Size(large.Alert)))
	b.ReportAllocs()
	for b.Loop() {
		if err := book.store.Update(context.Background(), func(tx *store.Tx) error { return book.Put(context.Background(), tx, large) }); err != nil {
			b.Fatal(err)
		}
		large.Alert.Revision++
	}
}
