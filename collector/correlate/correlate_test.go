package correlate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/store"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// childVariable makes the test's binary a collector that is to be killed: it holds the
// store's path.
const childVariable = "SEAWALL_TEST_CORRELATE_STORE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		fmt.Fprintln(os.Stderr, applyForever(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func openStore(t testing.TB, path string) (*store.Store, *alert.Book, *Correlator) {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	book := alert.NewBook(s)
	c, err := Open(t.Context(), s, book, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s, book, c
}

func position(t testing.TB, c *Correlator) uint64 {
	t.Helper()
	at, err := c.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// stored is everything a store has: revisions in order, the rows of the state, and the
// latest revisions as List gives them.
func stored(t testing.TB, s *store.Store, book *alert.Book) (revisions, listed []*alertv1.Alert, rows map[rowName]string) {
	t.Helper()
	for cursor := uint64(0); ; {
		page, err := book.After(t.Context(), cursor, nil, 1000)
		if err != nil || page.Missed != 0 {
			t.Fatal(page.Missed, err)
		}
		if page.Position == cursor {
			break
		}
		cursor = page.Position
		for i, r := range page.Revisions {
			if r.Position != uint64(len(revisions)+1) {
				t.Fatalf("revision %d has position %d", i, r.Position)
			}
			revisions = append(revisions, r.Alert)
		}
	}
	for token := ""; ; {
		page, next, err := book.List(t.Context(), nil, alert.MaxPage, token)
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, page...)
		if token = next; token == "" {
			break
		}
	}
	rows = make(map[rowName]string)
	err := s.View(t.Context(), func(tx *store.Tx) error {
		return tx.Rows(t.Context(), "SELECT kind, key, body FROM correlate_state", nil, func(scan func(...any) error) error {
			var row Row
			err := scan(&row.Kind, &row.Key, &row.Body)
			rows[rowName{row.Kind, row.Key}] = string(row.Body)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return revisions, listed, rows
}

// agree compares a store with what a machine makes of the same messages.
func agree(t *testing.T, s *store.Store, book *alert.Book, messages []Message) {
	t.Helper()
	want, wantRows := playCut(t, messages, Limits{}, nil)
	revisions, listed, rows := stored(t, s, book)
	same(t, want, revisions, wantRows, rows)
	newest := latest(want)
	slices.Reverse(newest)
	same(t, newest, listed, nil, nil)
}

// What is not told yet waits for the log's clock, also over a restart, until it is told.
func TestWaitsForTheClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, _, c := openStore(t, path)
	if c.Waits() {
		t.Error("nothing was read, but it waits")
	}
	l := newLog()
	l.follow(t, records(t, "sensitive-file-read-positive-cat", "sensitive-file-read-positive-refused"))
	if err := c.Apply(t.Context(), l.messages...); err != nil {
		t.Fatal(err)
	}
	if !c.Waits() {
		t.Error("a second fact is to be told, but nothing waits")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, book, c := openStore(t, path)
	if !c.Waits() {
		t.Error("what waited is forgotten")
	}
	l.tick(t, settle)
	l.tick(t, recount)
	if err := c.Apply(t.Context(), l.messages...); err != nil {
		t.Fatal(err)
	}
	if c.Waits() {
		t.Error("all is told, but it waits")
	}
	agree(t, s, book, l.messages)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// An agent that was away for days brings facts of several episodes in one message, and
// the store takes each of them as an alert of its own.
func TestEpisodesOfOneMessage(t *testing.T) {
	one := &scene{container: "c"}
	for name, facts := range map[string][]*sensorv1.Record{
		"escape":    {one.other(0, "escape-core-pattern"), one.other(25*time.Hour, "escape-core-pattern"), one.other(60*time.Hour, "escape-core-pattern")},
		"detection": {one.other(0, "sensitive-file-read"), one.other(25*time.Hour, "sensitive-file-read")},
		"web-shell": {one.shell(0), one.shell(25 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			s, book, c := openStore(t, filepath.Join(t.TempDir(), "store.db"))
			l := newLog()
			l.send(t, testAgent, noon.Add(72*time.Hour), 0, facts...)
			l.send(t, testAgent, noon.Add(200*time.Hour), 0, one.other(199*time.Hour, "another-rule"))
			if err := c.Apply(t.Context(), l.messages...); err != nil {
				t.Fatal(err)
			}
			agree(t, s, book, l.messages)
			if _, alerts, _ := stored(t, s, book); len(alerts) != len(facts)+1 {
				t.Errorf("got\n%s", brief(alerts))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStoreAgreesWithTheMachine: by any number of messages in a transaction, over
// restarts, over transactions that fail, and with messages that come again.
func TestStoreAgreesWithTheMachine(t *testing.T) {
	messages := mixed(t)
	path := filepath.Join(t.TempDir(), "store.db")
	s, book, c := openStore(t, path)
	random := rand.New(rand.NewPCG(7, 8))
	for {
		from := position(t, c)
		if from == uint64(len(messages)) {
			break
		}
		from -= min(from, uint64(random.IntN(5))) // the log gives some of them again
		batch := messages[from:min(uint64(len(messages)), from+1+uint64(random.IntN(60)))]
		switch random.IntN(4) {
		case 0: // the collector is stopped in between
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := c.Apply(ctx, batch...); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
			if err := c.Apply(t.Context(), batch...); err != nil {
				t.Fatal(err)
			}
		case 1:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, book, c = openStore(t, path)
		default:
			if err := c.Apply(t.Context(), batch...); err != nil {
				t.Fatal(err)
			}
		}
	}
	agree(t, s, book, messages)
	if got := c.Stats().Messages; got == 0 || got > uint64(len(messages)) {
		t.Errorf("%d messages are counted", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// applyForever takes the mixed log in from where the store is, one message a
// transaction, and says each position once it is stored.
func applyForever(path string) error {
	s, err := store.Open(context.Background(), path)
	if err != nil {
		return err
	}
	c, err := Open(context.Background(), s, alert.NewBook(s), Limits{})
	if err != nil {
		return err
	}
	messages := mixed(&testing.B{}) // which reads files and calls nothing else of it
	done, err := c.Position(context.Background())
	if err != nil {
		return err
	}
	for _, m := range messages[done:] {
		if err := c.Apply(context.Background(), m); err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, m.Position)
	}
	select {} // to be killed
}

// TestKilledAtAnyMoment: a collector that is killed leaves a store in which alerts,
// revisions and position agree, and which has everything it said it had.
func TestKilledAtAnyMoment(t *testing.T) {
	messages := mixed(t)
	path := filepath.Join(t.TempDir(), "store.db")
	random := rand.New(rand.NewPCG(9, 10))
	told := 0
	for round := 0; told < len(messages); round++ {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childVariable+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for target := told + 1 + random.IntN(80); told < min(target, len(messages)) && lines.Scan(); {
			if _, err := fmt.Sscan(lines.Text(), &told); err != nil {
				t.Fatal(err)
			}
		}
		// It goes on meanwhile: this is anywhere within one of its transactions.
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // said before it died
			if _, err := fmt.Sscan(lines.Text(), &told); err != nil {
				t.Fatal(err)
			}
		}
		if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: %v", round, err)
		}
		s, book, c := openStore(t, path)
		at := int(position(t, c))
		if at < told || at > told+1 {
			t.Errorf("round %d: it is at %d and said %d", round, at, told)
		}
		told = at
		agree(t, s, book, messages[:told])
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			return
		}
	}
}

func TestDamagedRowsAreAnError(t *testing.T) {
	for _, row := range []Row{
		{rowPlace, "", []byte("x")}, {rowMark, "k", []byte("{")}, {rowAgent, "a", []byte(`{"Gaps":["/w=="]}`)},
		{rowAnchor, "a", []byte(`{"Alert":"/w=="}`)}, {rowAnchor, "a", []byte(`{"Waiting":[{"Evidence":"/w=="}]}`)},
		{rowAnchor, "a", []byte(`{"Waiting":[{"Process":"/w=="}]}`)}, {"news", "a", []byte("{}")},
	} {
		s, book, _ := openStore(t, filepath.Join(t.TempDir(), "store.db"))
		err := s.Update(t.Context(), func(tx *store.Tx) error { return save(t.Context(), tx, []Row{row}) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), s, book, Limits{}); err == nil || !strings.Contains(err.Error(), row.Kind+" "+row.Key) || !strings.Contains(err.Error(), s.Path()) {
			t.Errorf("%s: got %v", row.Kind, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A message that the store refuses, or that this program breaks on, keeps nobody from what
// comes behind it, and what it brought is a gap of its agent.
func TestRefusedMessageIsPassedOver(t *testing.T) {
	one := &scene{container: "c"}
	l := newLog()
	l.send(t, testAgent, noon, 0, one.other(0, "escape-core-pattern"))
	l.send(t, testAgent, noon, 0, one.other(time.Second, "refused"))
	l.send(t, testAgent, noon, 0, one.other(2*time.Second, "escape-device-node"))
	l.tick(t, settle)
	s, book, c := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	defer s.Close()
	err := s.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(t.Context(), `CREATE TRIGGER refuse BEFORE INSERT ON correlate_state WHEN CAST(NEW.body AS TEXT) LIKE '%"Position":2,%'
			BEGIN SELECT RAISE(ABORT, 'refused for the test'); END`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), l.messages[:2]...); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "refused for the test") {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), l.messages[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), l.messages[1]); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	if got := position(t, c); got != 1 {
		t.Fatalf("at %d", got)
	}
	if err := s.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(t.Context(), "DROP TRIGGER refuse"); return err }); err != nil {
		t.Fatal(err)
	}
	if err := c.Skip(t.Context(), l.messages[1]); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), l.messages[1:]...); err != nil { // what was passed over stays so
		t.Fatal(err)
	}
	_, alerts, _ := stored(t, s, book)
	if len(alerts) != 1 || len(alerts[0].Evidence) != 2 {
		t.Fatalf("got\n%s", brief(alerts))
	}
	if gaps := alerts[0].Gaps; len(gaps) != 1 || gaps[0].Reason != "refused" || gaps[0].Count != 1 {
		t.Errorf("gaps %v", gaps)
	}
	if c.Stats().Refused != 1 {
		t.Errorf("%+v", c.Stats())
	}
}

func TestPanicsAreRefusals(t *testing.T) {
	if err := attempt(func() error { panic("of a test") }); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "of a test") {
		t.Error(err)
	}
	if err := attempt(func() error { return errors.New("disk full") }); errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// A second node's repeat is told soon, by its name, however many were told before.
func TestRepeatsOnOtherNodesAreTold(t *testing.T) {
	one := &scene{container: "c"}
	l := newLog()
	now := noon
	for range 200 {
		now = now.Add(time.Second)
		l.send(t, testAgent, now, 0, one.other(now.Sub(noon), "sensitive-file-read"))
	}
	l.tick(t, recount)
	before := latest(play(t, l.messages))[0]
	l.send(t, "agent-of-another-node", now.Add(recount), 0, one.other(now.Sub(noon)+recount, "sensitive-file-read"))
	l.tick(t, spreading)
	after := latest(play(t, l.messages))[0]
	if len(before.Nodes) != 0 || len(after.Nodes) != 2 || after.Nodes[1].AgentId != "agent-of-another-node" || after.Revision != before.Revision+1 {
		t.Errorf("before %v, revision %d; after %v, revision %d", before.Nodes, before.Revision, after.Nodes, after.Revision)
	}
	if !strings.Contains(after.Summary, "on 2 nodes") {
		t.Error(after.Summary)
	}
}
