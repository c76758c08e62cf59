package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// writerFolder, set, makes the test binary a writer that is to be killed.
const (
	writerFolder = "SEAWALL_TEST_EVENTLOG"
	writerLife   = "SEAWALL_TEST_EVENTLOG_LIFE" // what its messages begin with
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerFolder); dir != "" {
		write(dir)
		return
	}
	os.Exit(m.Run())
}

func open(t *testing.T, dir string, maxBytes int64) *Log {
	t.Helper()
	l, err := Open(t.Context(), Options{Dir: dir, MaxBytes: maxBytes, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func send(t *testing.T, l *Log, text string) uint64 {
	t.Helper()
	position, err := l.Append(t.Context(), Subject{Cluster: "prod.eu", Shard: 7}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return position
}

var errEnough = errors.New("enough")

// read returns what is behind a position, up to the log's end.
func read(t *testing.T, l *Log, after uint64) []string {
	t.Helper()
	state, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if after == state.Last {
		return nil
	}
	err = l.Read(t.Context(), after, func(m Message) error {
		got = append(got, fmt.Sprintf("%d %s", m.Position, m.Data))
		if m.Position == state.Last {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	return got
}

func TestReadsInOrderFromAPosition(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	for i := range 5 {
		if got := send(t, l, fmt.Sprint("m", i+1)); got != uint64(i+1) {
			t.Fatalf("position %d, want %d", got, i+1)
		}
	}
	if got := fmt.Sprint(read(t, l, 3)); got != "[4 m4 5 m5]" {
		t.Errorf("behind 3: %s", got)
	}
	l.Close()
	l = open(t, dir, 0)
	if got := fmt.Sprint(read(t, l, 0)); got != "[1 m1 2 m2 3 m3 4 m4 5 m5]" {
		t.Errorf("opened again: %s", got)
	}
	if got := send(t, l, "m6"); got != 6 {
		t.Errorf("position %d after opening again", got)
	}
}

func TestWhatComesIsReadToo(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	got := make(chan Message)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- l.Read(ctx, 0, func(m Message) error {
			m.Data = bytes.Clone(m.Data)
			got <- m
			return nil
		})
	}()
	send(t, l, "first")
	if m := <-got; string(m.Data) != "first" || m.Subject != (Subject{Cluster: "prod.eu", Shard: 7}) || time.Since(m.Stored) > time.Minute {
		t.Errorf("got %+v", m)
	}
	if _, err := l.Append(t.Context(), Subject{Cluster: "prod.eu", Kind: Tick}, []byte("t")); err != nil {
		t.Fatal(err)
	}
	if m := <-got; m.Subject != (Subject{Cluster: "prod.eu", Kind: Tick}) || m.Position != 2 {
		t.Errorf("got %+v", m)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestRefusedMessageIsReadAgain(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	send(t, l, "a")
	send(t, l, "b")
	refused := errors.New("refused")
	if err := l.Read(t.Context(), 0, func(m Message) error {
		if m.Position == 2 {
			return refused
		}
		return nil
	}); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	if got := fmt.Sprint(read(t, l, 1)); got != "[2 b]" {
		t.Errorf("read again: %s", got)
	}
}

func TestFullLogHoldsBackUntilItIsTrimmed(t *testing.T) {
	l := open(t, t.TempDir(), 4<<20)
	incompressible := make([]byte, 300<<10)
	for i := range incompressible {
		incompressible[i] = byte(i*i>>3 ^ i*7919>>5)
	}
	var last uint64
	for range 100 {
		position, err := l.Append(t.Context(), Subject{Cluster: "c"}, incompressible)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = position
	}
	if last == 0 || last == 100 {
		t.Fatalf("full after %d messages", last)
	}
	if err := l.Trim(t.Context(), last-1); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Append(t.Context(), Subject{Cluster: "c"}, incompressible); err != nil || got != last+1 {
		t.Fatalf("after trimming: position %d, %v", got, err)
	}
	if err := l.Read(t.Context(), 0, func(Message) error { return errEnough }); !errors.Is(err, ErrTrimmed) {
		t.Errorf("reading what was trimmed: %v", err)
	}
	if err := l.Read(t.Context(), last+9, func(Message) error { return errEnough }); !errors.Is(err, ErrLost) {
		t.Errorf("reading behind the end: %v", err)
	}
	if err := l.Trim(t.Context(), last+1); err != nil {
		t.Fatal(err)
	}
	if got := send(t, l, "next"); got != last+2 {
		t.Errorf("an emptied log begins anew at %d", got)
	}
}

func TestBeforeATime(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	before := func(at time.Time, want uint64) {
		t.Helper()
		if got, err := l.Before(t.Context(), at); err != nil || got != want {
			t.Errorf("before %v: %d, %v; want %d", at, got, err, want)
		}
	}
	before(time.Now(), 0)
	for i := range 7 {
		send(t, l, fmt.Sprint("m", i))
	}
	var stored []time.Time
	if err := l.Read(t.Context(), 0, func(m Message) error {
		if stored = append(stored, m.Stored); len(stored) == 7 {
			return errEnough
		}
		return nil
	}); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	before(stored[0], 0)
	before(stored[3], 3)
	before(stored[6].Add(time.Nanosecond), 7)
	if err := l.Trim(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	before(stored[0], 4)
	before(stored[5], 5)
	if err := l.Trim(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	before(time.Now(), 7)
}

func TestMessageAboveTheLimit(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	if _, err := l.Append(t.Context(), Subject{}, make([]byte, MaxMessageBytes+1)); err == nil || !strings.Contains(err.Error(), "more than 1048576") {
		t.Errorf("got %v", err)
	}
	if _, err := l.Append(t.Context(), Subject{}, make([]byte, MaxMessageBytes)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

// write appends until it is killed and says what is on disk.
func write(dir string) {
	ctx := context.Background()
	l, err := Open(ctx, Options{Dir: dir, Log: zap.NewNop()})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		text := fmt.Sprint("m", os.Getenv(writerLife), "-", i)
		position, err := l.Append(ctx, Subject{Cluster: "c"}, []byte(text))
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(os.Stdout, position, text)
	}
}

func TestAcknowledgedMessagesSurviveKill(t *testing.T) {
	dir := t.TempDir()
	var promised uint64
	for range 3 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(os.Environ(), writerFolder+"="+dir)
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 40 {
			if !lines.Scan() {
				t.Fatal("the writer ended")
			}
		}
		_ = writer.Process.Kill() // it has not ended
		for {                     // what it still said before it died counts
			if _, err := fmt.Sscan(lines.Text(), &promised); err != nil {
				t.Fatal(err)
			}
			if !lines.Scan() {
				break
			}
		}
		_ = writer.Wait() // killed
		l := open(t, dir, 0)
		if got := read(t, l, 0); uint64(len(got)) < promised {
			t.Errorf("%d messages of %d promised", len(got), promised)
		}
		l.Close()
	}
}

func FuzzSubject(f *testing.F) {
	kinds := []Kind{Events, Tick, Audit}
	f.Add("prod.eu", 3, uint(0))
	f.Add("", 0, uint(1))
	f.Add("> *", 63, uint(2))
	f.Fuzz(func(t *testing.T, cluster string, shard int, kind uint) {
		s := Subject{Cluster: cluster, Kind: kinds[kind%3]}
		if s.Kind == Events {
			s.Shard = ((shard % Shards) + Shards) % Shards
		}
		name := s.name()
		if strings.ContainsAny(name, " >*\t\r\n") || strings.Count(name, ".") != 2 {
			t.Fatalf("subject %q", name)
		}
		if got, err := parseSubject(name); err != nil || got != s {
			t.Fatalf("%+v became %q, then %+v, %v", s, name, got, err)
		}
	})
}

func TestSubjectsOfOthers(t *testing.T) {
	for _, name := range []string{"", "seawall", "seawall.c", "seawall.c.64", "seawall.c.-1", "seawall.c.x", "seawall.c.", "seawall.c.Tick", "other.c.1", "seawall.c.1.2", "seawall.=4.1", "seawall.=ZZ.1"} {
		if got, err := parseSubject(name); err == nil {
			t.Errorf("%q is %+v", name, got)
		}
	}
}

// Logs are read that older collectors wrote, and by older readers: the names stay.
func TestSubjectsStay(t *testing.T) {
	for name, want := range map[string]Subject{
		"seawall.prod=2Eeu.7":     {Cluster: "prod.eu", Shard: 7},
		"seawall.prod=2Eeu.tick":  {Cluster: "prod.eu", Kind: Tick},
		"seawall.prod=2Eeu.audit": {Cluster: "prod.eu", Kind: Audit},
	} {
		if got, err := parseSubject(name); err != nil || got != want || want.name() != name {
			t.Errorf("%s is %+v, %v; %+v is %s", name, got, err, want, want.name())
		}
	}
}

// The shard of a pod is what others compute: it may never change.
func TestShardsStay(t *testing.T) {
	if got := ShardOf("prod", "store", "shop-7d4b9", "node-1"); got != ShardOf("prod", "store", "shop-7d4b9", "node-2") {
		t.Error("a pod's shard depends on its node")
	}
	got := fmt.Sprint(ShardOf("prod", "store", "shop-7d4b9", ""), ShardOf("prod", "", "", "node-1"), ShardOf("test", "store", "shop-7d4b9", ""))
	if want := "47 58 32"; got != want {
		t.Errorf("shards %s, want %s", got, want)
	}
}

func BenchmarkAppend(b *testing.B) {
	l, err := Open(b.Context(), Options{Dir: b.TempDir(), Log: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	data := make([]byte, 64<<10)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := l.Append(b.Context(), Subject{Cluster: "c"}, data); err != nil {
			b.Fatal(err)
		}
	}
}
