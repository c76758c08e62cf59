// Command demo shows Seawall at work on one machine: a private containerd runs a
// web shop from the distribution's packages, the shop has an honest day and then
// an intruder, and the agent says what it saw.
//
// Only the break-in may raise detections. The demo fails if the honest day raises
// any, if the break-in raises none, or if what it raises differs from a golden
// file. It needs root, containerd, runc, iproute2 and apt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/seawall-security/seawall/tools/demo/image"
)

// limit bounds the whole demo, a slow mirror included.
const limit = 10 * time.Minute

func main() {
	// A reader of the story who goes away must not end us before the stage is cleared.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// The first signal ends the play in order, the second ends it at once.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	p := play{out: out}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&p.agent, "agent", "bin/seawall-agent", "`path` of the agent; none: play without one")
	flags.StringVar(&p.actor, "actor", "bin/seawall-attack", "`path` of the actor that tools/attack builds: the intruder's payload")
	flags.StringVar(&p.cache, "cache", "", "`folder` that keeps the image's packages (default: seawall/demo in the user's cache folder)")
	flags.StringVar(&p.collector, "collector", noAgent, "`path` of the collector that the agent reports to; none: it reports to nobody")
	golden := flags.String("golden", "", "compare the detections with this `file`")
	goldenAlerts := flags.String("golden-alerts", "", "compare the alerts, as a SIEM reads them, with this `file`")
	update := flags.Bool("update", false, "write the golden files instead")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *golden != "" && p.agent == noAgent || *goldenAlerts != "" && p.collector == noAgent {
		return errors.New("-golden needs an agent, -golden-alerts a collector")
	}
	if p.cache == "" {
		var err error
		if p.cache, err = image.DefaultCache(); err != nil {
			return err
		}
	}
	scenes, alerts, err := p.run(ctx)
	if err != nil {
		return err
	}
	for _, made := range []struct {
		path    string
		content any
	}{{*golden, facts(scenes)}, {*goldenAlerts, incidents(alerts)}} {
		if made.path == "" {
			continue
		}
		if err := settle(made.path, made.content, *update, out); err != nil {
			return err
		}
	}
	return nil
}

// settle compares what was made with a golden file, or writes it.
func settle(path string, content any, update bool, out io.Writer) error {
	if update {
		return writeGolden(path, content)
	}
	diff, err := compareGolden(path, content)
	if err != nil {
		return err
	}
	if diff != "" {
		return fmt.Errorf("this differs from %s (-want +got):\n%s", filepath.Base(path), diff)
	}
	fmt.Fprintf(out, "\nAll as in %s.\n", filepath.Base(path))
	return nil
}
