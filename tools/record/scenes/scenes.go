// Package scenes makes the recordings of the built-in rules: short plays in real
// containers, each of which either does what a rule is there to see or resembles
// it and must not be taken for it.
//
// The plays are harmless. Addresses exist in the stage's own network only,
// kernel knobs are opened and never written to, nothing of the host changes. The
// stage, its containerd and its folders are gone afterwards.
package scenes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/internal/event"
	"github.com/seawall-security/seawall/internal/rule"
	"github.com/seawall-security/seawall/tools/record/capture"
)

// Scene is one play.
type Scene struct {
	// File is the recording, below Root.
	File string
	// Note says what can be seen.
	Note string
	// Unfiltered records what the rules would not have asked the kernel for: what a
	// negative scene is about is often just that.
	Unfiltered bool
	// Prepare runs before the recording begins.
	Prepare func(context.Context, *Set) error
	// Play is recorded.
	Play func(context.Context, *Set) error
	// Keep, if set, has to agree to each record that is no fork, exec or exit.
	Keep func() func(*event.Event) bool
}

// Root is where recordings are, in the source tree.
const Root = "internal/rule/builtin/recordings"

// Options of Record.
type Options struct {
	Log   *zap.Logger
	Rules *rule.Set
	// Source is the folder of the source tree.
	Source string
	// Only is a regular expression of the files to renew.
	Only string
	Out  io.Writer
}

// workDir is where everything happens: its name says nothing about this machine.
const workDir = "/tmp/seawall-record"

// waitNames bounds how long the last container's name may take after a scene.
const waitNames = 20 * time.Second

// Record plays the scenes and renews their recordings.
func Record(ctx context.Context, o Options) (err error) {
	only, err := regexp.Compile(o.Only)
	if err != nil {
		return err
	}
	source, err := filepath.Abs(o.Source)
	if err != nil {
		return fmt.Errorf("find the source tree: %w", err)
	}
	wanted := slices.DeleteFunc(all(), func(s Scene) bool { return !only.MatchString(s.File) })
	if len(wanted) == 0 {
		return fmt.Errorf("no scene matches %q", o.Only)
	}
	if err := os.Mkdir(workDir, 0o755); err != nil { // if it is there, somebody else works in it
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(workDir)) }()
	set, err := open(ctx, source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.close(context.WithoutCancel(ctx))) }()
	var failed []error
	for _, scene := range wanted {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		begun := time.Now()
		records, err := record(ctx, set, scene, o)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", scene.File, err))
			continue
		}
		fmt.Fprintf(o.Out, "%6d ms  %4d records  %s\n", time.Since(begun).Milliseconds(), records, scene.File)
	}
	return errors.Join(failed...)
}

// starts is how often a capture is started anew: on a busy machine the event that
// proves a hook can come too late.
const starts = 3

func start(ctx context.Context, o capture.Options) (running *capture.Capture, err error) {
	for range starts {
		if running, err = capture.Start(ctx, o); err == nil || ctx.Err() != nil {
			break
		}
		o.Log.Warn("capture did not start", zap.Error(err))
	}
	return running, err
}

func record(ctx context.Context, set *Set, scene Scene, o Options) (records int, err error) {
	set.begin()
	defer func() { err = errors.Join(err, set.end(ctx)) }()
	if scene.Prepare != nil {
		if err := scene.Prepare(ctx, set); err != nil {
			return 0, fmt.Errorf("prepare: %w", err)
		}
	}
	running, err := start(ctx, capture.Options{
		Log: o.Log, Rules: o.Rules, Unfiltered: scene.Unfiltered, Containerd: set.socket(),
	})
	if err != nil {
		return 0, err
	}
	set.capture = running
	played := scene.Play(ctx, set)
	if played == nil {
		played = set.awaitNames(ctx)
	}
	set.capture = nil
	log, err := running.Stop()
	if err = errors.Join(played, err); err != nil {
		return 0, err
	}
	selection := capture.Selection{Containers: set.used, Root: set.root, Outside: uint32(os.Getpid())}
	if scene.Keep != nil {
		selection.Keep = scene.Keep()
	}
	path := filepath.Join(set.source, scene.File)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, fmt.Errorf("make the recording's folder: %w", err)
	}
	return log.WriteFile(path, capture.Origin{Made: "go run ./tools/record scenes", Note: scene.Note}, selection)
}
