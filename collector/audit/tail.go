package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/obs"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

const (
	// pollEvery is how long what was written may wait to be read.
	pollEvery = 250 * time.Millisecond
	// Events are handed on when so many were read, or when there are no more.
	batchEvents = 400
	batchBytes  = 4 << 20
	// retryEvery is between two tries to hand them on.
	retryEvery = time.Second
)

// Position is how far a log was read: up to an offset of the file that begins so.
type Position struct {
	// File is a hash of the file's beginning; empty: nothing was read yet.
	File string
	// Offset counts bytes as they were written, also of a file that was compressed since.
	Offset int64
}

// Positions keeps the position of each source. Save returns when it is on disk.
type Positions interface {
	Load(ctx context.Context, source string) (Position, error)
	Save(ctx context.Context, source string, p Position) error
}

// Tail reads an API server's audit log as it is written: the file and what it was rotated
// to, renamed, copied or compressed. Its position is kept behind what is in the event log,
// so a restart reads some events again and leaves none out.
type Tail struct {
	name      string
	path      string
	intake    *Intake
	positions Positions
	wait      func(context.Context, time.Duration) error
	log       *zap.Logger

	at     Position
	events []*auditv1.Event // read, not handed on
	bytes  int
}

// NewTail returns a source that reads the log at path. wait sleeps and returns the
// context's error if that ends first.
func NewTail(name, path string, intake *Intake, positions Positions, wait func(context.Context, time.Duration) error, log *zap.Logger) *Tail {
	return &Tail{name: name, path: filepath.Clean(path), intake: intake, positions: positions, wait: wait,
		log: log.With(zap.String("source", name), zap.String(obs.FieldPath, path))}
}

// Run reads until ctx ends. What fails is said and tried again.
func (t *Tail) Run(ctx context.Context) error {
	var err error
	for t.at, err = t.positions.Load(ctx, t.name); err != nil; t.at, err = t.positions.Load(ctx, t.name) {
		t.log.Error("read the log's position", zap.Error(err))
		if t.wait(ctx, retryEvery) != nil {
			return nil
		}
	}
	said := ""
	for {
		err := t.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if text := fmt.Sprint(err); err != nil && text != said { // once, not four times a second
			said = text
			t.log.Warn("read the log", zap.Error(err))
		} else if err == nil {
			said = ""
		}
		if t.wait(ctx, pollEvery) != nil {
			return nil
		}
	}
}

// pass reads to the end of what there is.
func (t *Tail) pass(ctx context.Context) error {
	files, unreadable := listLog(t.path)
	begin := 0
	if t.at.File != "" {
		if begin = find(files, t.at.File); begin < 0 {
			if len(files) == 0 || unreadable != nil {
				return unreadable // it may be among those, or on its way to another name
			}
			t.intake.health.hole(t.name)
			t.log.Error("the file that was read last is gone: what it held behind the position is lost", zap.Int64("offset", t.at.Offset))
			begin, t.at = 0, Position{} // rotated away: what is left is newer
		}
	}
	for i, f := range files[begin:] {
		if f.fingerprint != t.at.File {
			t.at = Position{File: f.fingerprint}
		}
		last := begin+i == len(files)-1
		err := t.read(ctx, f, last)
		if errors.Is(err, errRotated) {
			return nil // the next pass finds it by its new name
		}
		if err != nil {
			return err
		}
	}
	if unreadable == nil {
		t.intake.health.drained(t.name)
	}
	return unreadable
}

// read reads a file from the position to its end, and keeps the position. The last file
// is still being written: half a line at its end is left for later.
func (t *Tail) read(ctx context.Context, f logFile, last bool) error {
	in, err := f.open(t.at.Offset)
	if err != nil {
		return err
	}
	defer in.Close()
	lines := newLines(in, audit.MaxEventBytes)
	for {
		line, n, err := lines.next()
		switch {
		case err == nil && len(line) > 0:
			t.decode(line)
		case err == nil:
		case errors.Is(err, errLong):
			t.bad(err)
		case errors.Is(err, io.EOF) && n > 0 && !last:
			t.bad(errors.New("the file ends within a line"))
		case errors.Is(err, io.EOF):
			return t.hand(ctx)
		default:
			return errors.Join(fmt.Errorf("read %s: %w", f.path, err), t.hand(ctx))
		}
		t.at.Offset += n
		if len(t.events) >= batchEvents || t.bytes >= batchBytes {
			if err := t.hand(ctx); err != nil {
				return err
			}
		}
	}
}

func (t *Tail) decode(line []byte) {
	e, err := audit.Decode(line)
	if err != nil {
		t.bad(err)
		return
	}
	t.events, t.bytes = append(t.events, e), t.bytes+len(line)
}

func (t *Tail) bad(err error) {
	t.intake.health.unreadable(t.name)
	t.log.Warn("audit event cannot be read", zap.String("file", t.at.File), zap.Int64("offset", t.at.Offset), zap.Error(err))
}

// hand hands on what was read and keeps the position, until it succeeds or ctx ends:
// then nothing was kept and it is read again.
func (t *Tail) hand(ctx context.Context) error {
	for warned := false; ; {
		err := t.store(ctx)
		if err == nil {
			return nil
		}
		if !warned {
			warned = true
			t.log.Warn("audit events wait", zap.Error(err))
		}
		if err := t.wait(ctx, retryEvery); err != nil {
			return err
		}
	}
}

func (t *Tail) store(ctx context.Context) error {
	if len(t.events) > 0 {
		if _, err := t.intake.Take(ctx, t.name, t.events); err != nil {
			return err
		}
		t.events, t.bytes = nil, 0
	}
	return t.positions.Save(ctx, t.name, t.at)
}
