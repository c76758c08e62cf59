package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/correlate"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/obs"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

func openLog(t *testing.T) *eventlog.Log {
	t.Helper()
	l, err := eventlog.Open(t.Context(), eventlog.Options{Dir: t.TempDir(), MaxBytes: 64 << 20, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// send appends messages that nothing can be made of, of so many bytes.
func send(t *testing.T, l *eventlog.Log, count, bytes int) {
	t.Helper()
	for i := range count {
		data := make([]byte, bytes)
		for j := range data { // nothing that compresses
			data[j] = byte((i+7)*j*j>>3 ^ j*7919>>5)
		}
		if _, err := l.Append(t.Context(), eventlog.Subject{Cluster: "c"}, data); err != nil {
			t.Fatal(err)
		}
	}
}

func state(t *testing.T, l *eventlog.Log) eventlog.State {
	t.Helper()
	s, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// follow makes a follower of a log and a store's file.
func follow(t *testing.T, l *eventlog.Log, path string) (*follower, *obs.Ready) {
	t.Helper()
	f, ready, err := tryFollow(t, l, path)
	if err != nil {
		t.Fatal(err)
	}
	return f, ready
}

func tryFollow(t *testing.T, l *eventlog.Log, path string) (*follower, *obs.Ready, error) {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := correlate.Open(t.Context(), s, alert.NewBook(s), correlate.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ready := &obs.Ready{}
	f, err := newFollower(t.Context(), l, c, ready.Add("correlation"), zap.NewNop())
	return f, ready, err
}

// until runs a follower until it has reached a position.
func until(t *testing.T, f *follower, position uint64) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for f.position.Load() < position && ctx.Err() == nil {
		<-poll.C
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := f.position.Load(); got != position {
		t.Errorf("reached %d, want %d", got, position)
	}
}

func TestFollowerGoesOnFromTheStore(t *testing.T) {
	l, path := openLog(t), filepath.Join(t.TempDir(), "store.db")
	send(t, l, 600, 10) // more than a batch, before it starts
	f, ready := follow(t, l, path)
	if f.position.Load() != 0 || len(ready.Missing()) != 1 {
		t.Error("it is ready before it has begun")
	}
	until(t, f, 600)
	if len(ready.Missing()) != 0 {
		t.Errorf("not ready: %v", ready.Missing())
	}
	send(t, l, 3, 300<<10)
	until(t, f, 603)
	if got := f.stats.Load().Messages; got != 603 {
		t.Errorf("%d messages were taken in, want 603", got)
	}
	again, _ := follow(t, l, path)
	if got := again.position.Load(); got != 603 {
		t.Errorf("begins anew at %d", got)
	}

	// The log of another folder is refused, and not read from wherever it happens to be.
	if _, _, err := tryFollow(t, openLog(t), path); !errors.Is(err, eventlog.ErrLost) || !strings.Contains(err.Error(), "belong together") {
		t.Errorf("got %v", err)
	}
}

func TestTicksOnlyWhileTheyAreWanted(t *testing.T) {
	l, waits := openLog(t), &atomic.Bool{}
	clock := &ticker{log: l, cluster: "c", waits: waits, logger: zap.NewNop()}
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tick := func(want uint64) {
		t.Helper()
		now = now.Add(time.Second)
		if err := clock.tick(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		if got := state(t, l).Last; got != want {
			t.Errorf("the log ends at %d, want %d", got, want)
		}
	}
	tick(0)
	if _, err := clock.Append(t.Context(), eventlog.Subject{Cluster: "c", Shard: 1}, []byte("x")); err != nil {
		t.Fatal(err)
	}
	tick(2) // there was traffic
	tick(2)
	waits.Store(true)
	tick(3)
	tick(4)
	waits.Store(false)
	tick(4)
	enough := errors.New("enough")
	err := l.Read(t.Context(), 3, func(m eventlog.Message) error {
		message := &collectorv1.LogMessage{}
		if err := proto.Unmarshal(m.Data, message); err != nil {
			return err
		}
		if got, want := message.GetTick().GetTime().AsTime(), now.Add(-time.Second); m.Subject.Kind != eventlog.Tick || !got.Equal(want) {
			t.Errorf("%+v says %v, want %v", m.Subject, got, want)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestTrimKeepsWhatIsNotCorrelated(t *testing.T) {
	l := openLog(t)
	send(t, l, 10, 100<<10)
	var correlated uint64
	r := &retainer{log: l, correlated: func() uint64 { return correlated }, now: time.Now, logger: zap.NewNop()}
	trim := func(keep config.EventLog, reached, first uint64) {
		t.Helper()
		r.keep, correlated = keep, reached
		if err := r.trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := state(t, l).First; got != first {
			t.Errorf("the log begins at %d, want %d", got, first)
		}
	}
	half := config.EventLog{Keep: time.Hour, KeepBytes: 550 << 10}
	trim(config.EventLog{Keep: time.Hour, KeepBytes: 1 << 40}, 10, 1)
	trim(half, 0, 1)
	trim(half, 2, 3) // there is too much, but it is not read yet
	trim(half, 10, 6)
	trim(half, 10, 6)
	trim(config.EventLog{KeepBytes: 1 << 40}, 7, 8) // all is too old
	trim(config.EventLog{KeepBytes: 1 << 40}, 10, 11)
	trim(config.EventLog{}, 10, 11) // nothing is left to forget
}
