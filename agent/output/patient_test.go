package output

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/seawall-security/seawall/agent/queue"
	"github.com/seawall-security/seawall/internal/event"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// disk takes so many bytes, then none until it is given more.
type disk struct {
	bytes.Buffer
	room int
	err  error // of a write that does not fit
}

func (d *disk) Write(b []byte) (int, error) {
	n := min(len(b), d.room)
	d.room -= n
	d.Buffer.Write(b[:n])
	if n < len(b) {
		return n, d.err
	}
	return n, nil
}

// A disk that was full must cost what the queue could not hold, booked as such, and
// nothing else: no half line, no line twice, and not the agent.
func TestFullDiskIsWaitedFor(t *testing.T) {
	for _, err := range []error{unix.ENOSPC, unix.EDQUOT, unix.EAGAIN} {
		t.Run(err.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logged := observer.New(zap.InfoLevel)
				d := &disk{room: 100, err: err}
				p := New(d, Options{Log: zap.New(core), Events: true})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- p.Run(ctx) }()
				p.Event(open("/first"))
				synctest.Wait() // half of it is written
				const flood = queue.MaxEvents + 7
				for range flood {
					p.Event(open("/later"))
				}
				d.room = 1 << 30
				cancel()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				lines := strings.Split(strings.TrimSuffix(d.String(), "\n"), "\n")
				want := 1 + queue.MaxEvents + 1 // the gap
				if len(lines) != want || !strings.Contains(lines[0], "/first") || !strings.Contains(lines[want-1], say(queue.NoSpace)) {
					t.Errorf("%d lines, first %s, last %s", len(lines), lines[0], lines[len(lines)-1])
				}
				for _, line := range lines {
					if !json.Valid([]byte(line)) {
						t.Fatalf("not a line as it was: %s", line)
					}
				}
				if lost := lostOf(p, "event", "space"); lost != 7 {
					t.Errorf("%d booked as lost for want of space", lost)
				}
				if logged.Len() != 2 {
					t.Errorf("logged: %v", logged.All())
				}
			})
		})
	}
}

func TestDiskThatStaysFullDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(&disk{err: unix.ENOSPC}, Options{Log: zap.NewNop(), Events: true})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		p.Event(open("/a"))
		synctest.Wait()
		p.Event(open("/b"))
		cancel()
		err := <-ended
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "records that waited for room") {
			t.Errorf("%v", err)
		}
	})
}

func TestOutputWithoutReaderEndsThePrinter(t *testing.T) {
	for _, err := range []error{unix.EPIPE, io.ErrClosedPipe} {
		p := New(&disk{err: err}, Options{Log: zap.NewNop()})
		p.Event(open("/not asked for"))
		p.lose(event.KindFileOpen, queue.Many)
		p.queue.PutDetection(&sensorv1.Detection{})
		got := p.Run(t.Context())
		if !errors.Is(got, err) || !strings.Contains(got.Error(), "start the agent again with a reader") {
			t.Errorf("%v", got)
		}
	}
}

// Where something always waits to be printed, losses are told of all the same.
func TestGapsAreToldUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := New(&out, Options{Log: zap.NewNop(), Events: true})
		p.Event(open("/queue is not empty"))
		p.lose(event.KindFileOpen, queue.Many)
		if err := p.rest(); err != nil {
			t.Fatal(err)
		}
		p.lose(event.KindFileOpen, queue.Many)
		if err := p.rest(); err != nil { // too soon
			t.Fatal(err)
		}
		if n := p.Printed(); n != 1 {
			t.Errorf("%d gaps, want one in its second", n)
		}
	})
}
