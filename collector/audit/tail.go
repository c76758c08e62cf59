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
	// A loss is believed when it looks the same twice, or however it looks after so many passes.
	maxDoubts = 40
)

// Position is how far a log was read: up to an offset of the file that begins so.
type Position struct {
	// File is a hash of the file's first line; empty: nothing was read yet.
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
// so a restart reads some events again and leaves none out. What is gone before it was read
// is booked as a hole; that it is gone is believed when two passes see it so.
type Tail struct {
	name      string
	path      string
	intake    *Intake
	positions Positions
	wait      func(context.Context, time.Duration) error
	log       *zap.Logger

	at      Position
	kept    Position         // on disk
	ended   Position         // the end of a compressed file
	spoiled string           // the compressed file that is passed over
	events  []*auditv1.Event // read behind kept, not handed on
	bad     []error          // the same, what could not be read
	bytes   int
	doubt   string // what the last passes saw that missed something
	doubts  int
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
	t.kept = t.at
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
	l, err := openLog(t.path, t.at.File)
	if err != nil {
		return err
	}
	defer l.close()
	if t.at.File != "" && !l.found {
		for _, f := range l.files {
			if f.err != nil && !errors.Is(f.err, errPacked) {
				return f.err // it may be this one
			}
		}
		if !l.begun || !t.believe(l.String()) {
			return nil // it may be on its way to another name
		}
		t.lose("the file that was read last is gone: what it held behind the position is lost")
		t.at = Position{} // rotated away: what is left is newer
	}
	for i, f := range l.files {
		err := f.err
		if err == nil {
			if i > 0 || !l.found {
				t.at = Position{}
			}
			t.at.File = f.name
			err = t.read(ctx, f, l.whole && i == len(l.files)-1)
		}
		switch {
		case errors.Is(err, errRotated):
			t.at, t.events, t.bad, t.bytes = t.kept, nil, nil, 0
			return nil // the next pass finds it by its new name
		case errors.Is(err, errPacked) && err.Error() == t.spoiled:
		case errors.Is(err, errShort), errors.Is(err, errPacked):
			if !t.believe(err.Error()) {
				return nil
			}
			t.lose(err.Error())
			if errors.Is(err, errPacked) {
				t.spoiled = err.Error()
				continue
			}
			if t.at.Offset, err = f.size(); err != nil {
				return err
			}
			return nil // what follows there is new
		case err != nil:
			return err
		}
	}
	t.doubt, t.doubts = "", 0
	if l.whole {
		t.intake.health.drained(t.name)
	}
	return nil
}

// believe reports whether a loss is one: once it looked the same twice.
func (t *Tail) believe(seen string) bool {
	again := seen == t.doubt
	t.doubt = seen
	t.doubts++
	return again || t.doubts > maxDoubts
}

func (t *Tail) lose(what string) {
	t.doubt, t.doubts = "", 0
	t.intake.health.hole(t.name)
	t.log.Error("a part of the log is lost", zap.String("what", what), zap.Int64("offset", t.at.Offset))
}

// read reads a file from the position to its end, and keeps the position. The last file
// is still being written: half a line at its end is left for later.
func (t *Tail) read(ctx context.Context, f *logFile, last bool) error {
	if f.compressed && last && t.at == t.kept && t.at == t.ended {
		return nil // it does not grow
	}
	in, err := f.from(t.at.Offset)
	if errors.Is(err, errShort) && !f.same() {
		return errRotated
	}
	if err != nil {
		return f.explain(err)
	}
	lines := newLines(in, audit.MaxEventBytes)
	for {
		line, n, err := lines.next()
		switch {
		case err == nil && len(line) > 0:
			t.decode(line)
		case err == nil:
		case errors.Is(err, errLong):
			t.bad = append(t.bad, err)
		case errors.Is(err, io.EOF) && n > 0 && !last:
			t.bad = append(t.bad, errors.New("the file ends within a line"))
		case errors.Is(err, io.EOF):
			if f.compressed {
				t.ended = t.at
			}
			return t.hand(ctx, f)
		default:
			return errors.Join(f.explain(err), t.hand(ctx, f))
		}
		t.at.Offset += n
		if len(t.events)+len(t.bad) >= batchEvents || t.bytes >= batchBytes {
			if err := t.hand(ctx, f); err != nil {
				return err
			}
		}
	}
}

func (t *Tail) decode(line []byte) {
	e, err := audit.Decode(line)
	if err != nil {
		t.bad = append(t.bad, err)
		return
	}
	t.events, t.bytes = append(t.events, e), t.bytes+len(line)
}

// hand hands on what was read of a file and keeps the position, until it succeeds or ctx
// ends: then nothing was kept and it is read again. What was read of a file that is another
// now may be of either, and is read again, too.
func (t *Tail) hand(ctx context.Context, f *logFile) error {
	if t.at == t.kept {
		return nil
	}
	if !f.same() {
		return errRotated
	}
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
		if _, err := t.intake.Take(ctx, t.name, "", t.events); err != nil {
			return err
		}
		t.events, t.bytes = nil, 0
	}
	for _, err := range t.bad {
		t.intake.health.unreadable(t.name)
		t.log.Warn("audit event cannot be read", zap.String("file", t.at.File), zap.Int64("before", t.at.Offset), zap.Error(err))
	}
	t.bad = nil
	if err := t.positions.Save(ctx, t.name, t.at); err != nil {
		return err
	}
	t.kept = t.at
	return nil
}
