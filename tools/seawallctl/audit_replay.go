package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/redact"
	"github.com/seawall-security/seawall/internal/rule/auditrule"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// replayAudit runs the audit rules over recorded events and prints the alerts. What cannot
// be read is said on errs, by file and line, and the rest goes on.
func replayAudit(errs io.Writer) func(context.Context, []string, io.Writer) error {
	return func(ctx context.Context, args []string, out io.Writer) error {
		flags := flag.NewFlagSet("seawallctl audit replay", flag.ContinueOnError)
		format := flags.String("o", "text", "print as `text|json`")
		folder := flags.String("rules", "", "use the rules of `PATH` beside the built-in ones")
		var files []string
		for rest := args; ; { // flags may stand behind files
			if err := flags.Parse(rest); err != nil {
				return err
			}
			if rest = flags.Args(); len(rest) == 0 {
				break
			}
			files, rest = append(files, rest[0]), rest[1:]
		}
		switch {
		case len(files) == 0:
			return errors.New("which FILE? - is the standard input")
		case *format != "text" && *format != "json":
			return fmt.Errorf("-o %s: text or json", *format)
		}
		var paths []string
		if *folder != "" {
			paths = []string{*folder}
		}
		brought, given, err := sources(paths)
		if err != nil {
			return err
		}
		set, err := auditrule.Load(slices.Concat(brought, given), time.Now())
		if err != nil {
			return fmt.Errorf("load rules:\n%w", err)
		}
		log, err := openAuditLog(files, errs)
		if err != nil {
			return err
		}
		defer log.close()
		print, flush := printAlertText(out)
		if *format == "json" {
			print, flush = printAlertJSON(out), func() error { return nil }
		}
		if err := playAudit(set, log, errs, ctx.Err, print); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		if log.bad > 0 {
			return fmt.Errorf("could not read: %d", log.bad)
		}
		return nil
	}
}

// playAudit matches the events of a log, in the order of their times and without their
// secrets, as a collector does. stop says why no more is to be played.
func playAudit(set *auditrule.Set, log *auditLog, errs io.Writer, stop func() error, print func(*auditAlert) error) error {
	text, err := redact.New(make([]byte, redact.KeyBytes)) // nothing else is to be joined with its masks
	if err != nil {
		return err
	}
	redactor := audit.NewRedactor(text)
	matcher := auditrule.NewMatcher(set, auditrule.Limits{}, nil)
	fold := newAuditFold(print)
	var now time.Time
	for e := log.next(); e != nil; e = log.next() {
		if err := stop(); err != nil {
			return err
		}
		if err := redactor.Event(e); err != nil {
			fmt.Fprintf(errs, "event %s: %v\n", event.Printable(e.AuditId), err)
		}
		if at := e.GetStageTime().AsTime(); at.After(now) {
			now = at
		}
		for _, m := range matcher.Match(e, now) {
			if err := fold.add(e, m); err != nil {
				return err
			}
		}
		if err := fold.close(now); err != nil {
			return err
		}
		matcher.Changes() // nobody stores them
	}
	for _, s := range matcher.Stats() {
		if s.Errors > 0 {
			fmt.Fprintf(errs, "rule %s: %d of its expressions failed\n", s.Rule, s.Errors)
		}
	}
	return fold.end()
}

// auditLog reads several files as one, by the time of their events.
type auditLog struct {
	files []*auditFile
	errs  io.Writer
	bad   int
}

type auditFile struct {
	name   string
	file   io.ReadCloser
	reader *audit.Reader
	next   *auditv1.Event // nil: the file has ended
}

func openAuditLog(names []string, errs io.Writer) (*auditLog, error) {
	log := &auditLog{errs: errs}
	for _, name := range names {
		f := &auditFile{name: name, file: io.NopCloser(os.Stdin)}
		if name != "-" {
			opened, err := os.Open(name)
			if err != nil {
				log.close()
				return nil, err
			}
			f.file = opened
		}
		log.files = append(log.files, f)
		var err error
		if f.reader, err = audit.NewReader(f.file); err != nil {
			log.report(f, err)
			continue
		}
		log.read(f)
	}
	return log, nil
}

func (l *auditLog) close() {
	for _, f := range l.files {
		f.file.Close() // was only read
	}
}

func (l *auditLog) report(f *auditFile, err error) {
	l.bad++
	var line *audit.LineError
	if errors.As(err, &line) {
		fmt.Fprintf(l.errs, "%s:%v\n", f.name, err)
		return
	}
	fmt.Fprintf(l.errs, "%s: %v\n", f.name, err)
}

// read finds the file's next event.
func (l *auditLog) read(f *auditFile) {
	for {
		e, err := f.reader.Next()
		var line *audit.LineError
		switch {
		case err == nil:
			f.next = e
			return
		case errors.Is(err, io.EOF):
			f.next = nil
			return
		case errors.As(err, &line):
			l.report(f, err)
		default:
			l.report(f, err)
			f.next = nil
			return
		}
	}
}

// next is the earliest of what the files have next; nil: they have ended.
func (l *auditLog) next() *auditv1.Event {
	var first *auditFile
	for _, f := range l.files {
		if f.next != nil && (first == nil || f.next.GetStageTime().AsTime().Before(first.next.GetStageTime().AsTime())) {
			first = f
		}
	}
	if first == nil {
		return nil
	}
	e := first.next
	l.read(first)
	return e
}

func printAlertJSON(out io.Writer) func(*auditAlert) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return func(a *auditAlert) error { return encoder.Encode(a) }
}

func printAlertText(out io.Writer) (print func(*auditAlert) error, flush func() error) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TIME\tSEVERITY\tRULE\tUSER\tSOURCE\tCOUNT\tAUDIT ID\tSUMMARY")
	return func(a *auditAlert) error {
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", clock(a.Time), a.Severity, a.Rule,
			event.Printable(orDash(a.User)), event.Printable(orDash(a.SourceIP)), a.Count, event.Printable(a.AuditIDs[0]), event.Printable(a.Summary))
		return err
	}, table.Flush
}
