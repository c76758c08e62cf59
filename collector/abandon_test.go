package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/collector/store"
)

// house is a data folder whose log and store come apart.
type house struct {
	*testing.T
	config config.Config
}

func newHouse(t *testing.T) *house {
	t.Helper()
	c := config.Default()
	c.DataDir, c.EventLog.MaxBytes = t.TempDir(), 64<<20
	return &house{t, c}
}

func (h *house) log(with func(*eventlog.Log)) {
	h.Helper()
	l, err := eventlog.Open(h.Context(), eventlog.Options{Dir: eventLogPath(h.config), MaxBytes: 64 << 20, Log: zap.NewNop()})
	if err != nil {
		h.Fatal(err)
	}
	defer l.Close()
	with(l)
}

// correlated has correlation read the log to its end, or says why it cannot.
func (h *house) correlated() (err error) {
	h.Helper()
	h.log(func(l *eventlog.Log) {
		var f *follower
		if f, _, err = tryFollow(h.T, l, storePath(h.config)); err == nil {
			until(h.T, f, state(h.T, l).Last)
		}
	})
	return err
}

func (h *house) abandon() (string, error) {
	h.Helper()
	var out bytes.Buffer
	err := abandonLog(h.Context(), h.config, func() time.Time { return time.Unix(2e9, 0) }, &out)
	return out.String(), err
}

// alerts counts the alerts that say that something was lost.
func (h *house) alerts() int {
	h.Helper()
	s, err := store.Open(h.Context(), storePath(h.config))
	if err != nil {
		h.Fatal(err)
	}
	defer s.Close()
	all, _, err := alert.NewBook(s).List(h.Context(), nil, 100, "")
	if err != nil {
		h.Fatal(err)
	}
	for _, a := range all {
		if a.Kind != alert.KindGap || len(a.Gaps) != 1 {
			h.Errorf("alert %v", a)
		}
	}
	return len(all)
}

// refused expects that nothing is taken before the operator has decided.
func (h *house) refused(want error) {
	h.Helper()
	if err := h.correlated(); !errors.Is(err, want) || !strings.Contains(err.Error(), "log abandon") {
		h.Errorf("log and store do not fit: %v", err)
	}
}

func (h *house) wantAbandoned(position string) {
	h.Helper()
	out, err := h.abandon()
	if err != nil || !strings.Contains(out, "goes on behind position "+position+"\n") {
		h.Errorf("%s, %v", out, err)
	}
	if _, err := h.abandon(); !errors.Is(err, errBelongTogether) {
		h.Errorf("abandoned twice: %v", err)
	}
	if err := h.correlated(); err != nil {
		h.Error(err)
	}
}

func TestLogThatWasLost(t *testing.T) {
	h := newHouse(t)
	h.log(func(l *eventlog.Log) { send(t, l, 10, 10) })
	if err := h.correlated(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.abandon(); !errors.Is(err, errBelongTogether) || h.alerts() != 0 {
		t.Errorf("a whole log: %v", err)
	}
	for range 2 {
		if err := os.RemoveAll(eventLogPath(h.config)); err != nil {
			t.Fatal(err)
		}
		h.refused(eventlog.ErrLost)
		h.wantAbandoned("0")
		h.log(func(l *eventlog.Log) { send(t, l, 3, 10) })
		if err := h.correlated(); err != nil {
			t.Error(err)
		}
	}
	if got := h.alerts(); got != 2 {
		t.Errorf("%d alerts", got)
	}
}

// A log of yesterday's backup under today's store: it is read again, what is known is known.
func TestLogThatIsOlderThanTheStore(t *testing.T) {
	h := newHouse(t)
	h.log(func(l *eventlog.Log) { send(t, l, 5, 10) })
	backup := filepath.Join(t.TempDir(), "events")
	if err := os.CopyFS(backup, os.DirFS(eventLogPath(h.config))); err != nil {
		t.Fatal(err)
	}
	h.log(func(l *eventlog.Log) { send(t, l, 5, 10) })
	if err := h.correlated(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(eventLogPath(h.config)), os.CopyFS(eventLogPath(h.config), os.DirFS(backup))); err != nil {
		t.Fatal(err)
	}
	h.refused(eventlog.ErrLost)
	h.wantAbandoned("0")
	if got := h.alerts(); got != 1 {
		t.Errorf("%d alerts", got)
	}
}

// A store of yesterday's backup beside a log that was trimmed since.
func TestStoreThatIsOlderThanTheLog(t *testing.T) {
	h := newHouse(t)
	h.log(func(l *eventlog.Log) { send(t, l, 4, 10) })
	if err := h.correlated(); err != nil {
		t.Fatal(err)
	}
	h.log(func(l *eventlog.Log) {
		send(t, l, 16, 10)
		if err := l.Trim(t.Context(), 12); err != nil {
			t.Fatal(err)
		}
	})
	h.refused(eventlog.ErrTrimmed)
	h.wantAbandoned("12")
	if got := h.alerts(); got != 1 {
		t.Errorf("%d alerts", got)
	}
}

func TestAbandonOnlyWhileNobodyCollects(t *testing.T) {
	h := newHouse(t)
	release, err := hold(h.config.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	}()
	if err := abandonLog(t.Context(), h.config, time.Now, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "another collector runs") {
		t.Errorf("beside a collector: %v", err)
	}
}
