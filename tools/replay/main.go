// Command replay plays recordings and prints what an agent would have said.
//
//	replay [-rules PATH]... [-detections] FILE...
//
// Each event and each detection is a line of JSON, in the form of
// seawall-agent --standalone --events. Rules are the built-in ones and those of
// PATH, a rule file or a folder of them.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/internal/rule/builtin"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
	"github.com/seawall-security/seawall/tools/replay/player"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	var paths words
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	flags.Var(&paths, "rules", "add the rules of `PATH`; may be repeated")
	quiet := flags.Bool("detections", false, "print detections only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("no recording is given")
	}
	rules, err := load(paths)
	if err != nil {
		return err
	}
	for _, path := range flags.Args() {
		if err := play(path, rules, out, *quiet); err != nil {
			return err
		}
	}
	return nil
}

// words is a flag that may be repeated.
type words []string

func (w *words) String() string         { return strings.Join(*w, " ") }
func (w *words) Set(value string) error { *w = append(*w, value); return nil }

func load(paths []string) (*rule.Set, error) {
	sources, err := rule.ReadFS(builtin.FS)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		more, err := rule.ReadPath(path)
		if err != nil {
			return nil, err
		}
		sources = append(sources, more...)
	}
	set, err := rule.Load(sources, time.Now())
	if err != nil {
		return nil, fmt.Errorf("load rules:\n%w", err)
	}
	return set, nil
}

func play(path string, rules *rule.Set, out io.Writer, quiet bool) error {
	played, err := player.Open(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	if err != nil {
		return err
	}
	p := &printer{out: bufio.NewWriter(out), bootID: played.Header().BootID, quiet: quiet}
	err = played.Play(rules, p)
	return errors.Join(err, p.err, p.out.Flush())
}

// printer writes what it is told; its first error stays.
type printer struct {
	out    *bufio.Writer
	bootID string
	quiet  bool
	line   []byte
	err    error
}

func (p *printer) Event(e *event.Event) {
	if !p.quiet {
		p.print(&sensorv1.Record{BootId: p.bootID, Body: &sensorv1.Record_Event{Event: e.Proto(p.bootID)}})
	}
}

func (p *printer) Detection(d *sensorv1.Detection) {
	p.print(&sensorv1.Record{BootId: p.bootID, Body: &sensorv1.Record_Detection{Detection: d}})
}

func (p *printer) print(r *sensorv1.Record) {
	if p.err != nil {
		return
	}
	line, err := event.AppendJSON(p.line[:0], r)
	if err == nil {
		p.line = append(line, '\n')
		_, err = p.out.Write(p.line)
	}
	p.err = err
}
