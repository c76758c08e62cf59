package eventlog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// tendEvery is how soon a log that cannot be written is opened anew, and tried again.
const tendEvery = time.Second

var errNotOpen = errors.New("the log is not open: its disk refuses it")

// journal is JetStream as it was opened once. After a failed write, such as on a full
// disk, it writes nothing any more and does not even answer, whatever becomes of the
// disk: then another one takes its place.
type journal struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	failed atomic.Bool // set before it is closed because of that
}

func openJournal(ctx context.Context, o Options) (_ *journal, err error) {
	j := &journal{}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	j.server, err = server.NewServer(&server.Options{
		ServerName: "seawall-collector", DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: filepath.Clean(o.Dir), SyncAlways: true,
		// Room for the stream's own bookkeeping beside its messages.
		JetStreamMaxStore: o.MaxBytes + o.MaxBytes/8 + 64<<20, JetStreamMaxMemory: 64 << 20,
		MaxPayload: MaxMessageBytes + 64<<10, // headers
	})
	if err != nil {
		return nil, fmt.Errorf("open event log in %s: %w", o.Dir, err)
	}
	j.server.SetLogger(adapter{o.Log}, false, false)
	j.server.Start()
	if !j.server.ReadyForConnections(startTimeout) {
		return nil, fmt.Errorf("open event log in %s: not ready after %s", o.Dir, startTimeout)
	}
	if !j.server.JetStreamEnabled() {
		return nil, fmt.Errorf("open event log in %s: JetStream did not start; the log says why", o.Dir)
	}
	if j.conn, err = nats.Connect("", nats.InProcessServer(j.server), nats.Name("collector"), nats.MaxReconnects(-1)); err != nil {
		return nil, fmt.Errorf("connect to the event log: %w", err)
	}
	if j.js, err = jetstream.New(j.conn, jetstream.WithDefaultTimeout(publishTimeout)); err != nil {
		return nil, fmt.Errorf("connect to the event log: %w", err)
	}
	j.stream, err = j.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Description: "what agents sent, and the collector's clock",
		Subjects: []string{subjectRoot + ".>"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxBytes: o.MaxBytes, MaxMsgSize: MaxMessageBytes + 64<<10,
		Compression: jetstream.S2Compression, Replicas: 1, DenyDelete: true,
		// High-water marks tell duplicates, for longer than any window.
		Duplicates: 100 * time.Millisecond,
	})
	if err != nil {
		return nil, fmt.Errorf("open event log in %s: %w", o.Dir, err)
	}
	return j, nil
}

func (j *journal) close() {
	if j.conn != nil {
		j.conn.Close()
	}
	if j.server != nil {
		j.server.Shutdown()
		j.server.WaitForShutdown()
	}
}

// tend opens the log anew whenever it cannot be written, until ctx ends. Whoever waits
// for an answer of the old one gets an error.
func (l *Log) tend(ctx context.Context) {
	every := time.NewTicker(tendEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
		if j := l.journal.Load(); j != nil {
			health := j.server.Healthz(nil)
			if health.Error == "" {
				continue
			}
			l.options.Log.Error("event log cannot be written: opening it anew", zap.String("problem", health.Error))
			j.failed.Store(true)
			l.journal.Store(nil)
			j.close()
		}
		switch j, err := openJournal(ctx, l.options); {
		case err == nil:
			l.options.Log.Info("event log is open again")
			l.journal.Store(j)
		case ctx.Err() == nil:
			l.options.Log.Error("event log is tried again every second", zap.Error(err))
		}
	}
}
