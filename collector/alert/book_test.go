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

func TestCursors(t *testing.T) {
	b := newBook(t)
	b.mustPut(t, revision("p", 1, 1, nil), revision("p", 1, 2, nil), revision("p", 1, 3, nil))
	want := func(owner, name string, position uint64, known bool) {
		t.Helper()
		if got, there, err := b.Cursor(t.Context(), owner, name); err != nil || got != position || there != known {
			t.Errorf("cursor %s of %s: %d, %v, %v; want %d, %v", name, owner, got, there, err, position, known)
		}
	}
	move := func(owner, name string, position uint64) {
		t.Helper()
		if err := b.MoveCursor(t.Context(), owner, name, position); err != nil {
			t.Error(err)
		}
	}
	want("siem", "a", 0, false)
	move("siem", "a", 0) // known from now on, and at the beginning
	want("siem", "a", 0, true)
	move("siem", "a", 2)
	move("siem", "a", 1) // never back
	want("siem", "a", 2, true)
	move("siem", "b", 3)
	want("other", "a", 0, false) // they belong to their owner
	for _, beyond := range []uint64{4, 1<<63 + 1} {
		if err := b.MoveCursor(t.Context(), "siem", "a", beyond); !errors.Is(err, ErrQuestion) {
			t.Errorf("moved to %d: %v", beyond, err)
		}
	}
	want("siem", "a", 2, true)
	for owner, count := range map[string]int{"siem": 2, "other": 0} {
		if got, err := b.Cursors(t.Context(), owner); err != nil || got != count {
			t.Errorf("%s has %d cursors, %v; want %d", owner, got, err, count)
		}
	}
}

func TestRevisionsAndAlert(t *testing.T) {
	b := newBook(t)
	b.mustPut(t, revision("p", 1, 1, nil), revision("p", 1, 2, nil), revision("p", 1, 3, nil))
	var seen []uint64
	visit := func(position uint64, a *alertv1.Alert) error {
		if seen = append(seen, position); uint64(a.Revision) != position {
			t.Errorf("revision %d has position %d", a.Revision, position)
		}
		return nil
	}
	for _, want := range []uint64{2, 3, 3} {
		var after uint64
		if len(seen) > 0 {
			after = seen[len(seen)-1]
		}
		if through, missed, err := b.Revisions(t.Context(), after, nil, 2, visit); err != nil || through != want || missed != 0 {
			t.Fatalf("behind %d: through %d, %d missed, %v; want %d", after, through, missed, err, want)
		}
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, seen); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	enough := errors.New("enough")
	if _, _, err := b.Revisions(t.Context(), 0, nil, 2, func(uint64, *alertv1.Alert) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	if a, err := b.Alert(t.Context(), revision("p", 1, 1, nil).Alert.Id); err != nil || a.GetRevision() != 3 {
		t.Errorf("alert %v, %v", a, err)
	}
	if a, err := b.Alert(t.Context(), strings.Repeat("0", 32)); err != nil || a != nil {
		t.Errorf("alert of nobody: %v, %v", a, err)
	}
}

func TestWait(t *testing.T) {
	b := newBook(t)
	ended, stop := context.WithCancel(t.Context())
	stop()
	if err := b.Wait(ended, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("nothing is there, but: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- b.Wait(t.Context(), 1) }()
	b.mustPut(t, revision("p", 1, 1, nil))
	if err := b.Wait(t.Context(), 0); err != nil {
		t.Error(err)
	}
	select {
	case err := <-waited:
		t.Fatalf("waited for the second, came back with the first: %v", err)
	default:
	}
	b.mustPut(t, revision("p", 1, 2, nil))
	if err := <-waited; err != nil {
		t.Error(err)
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
