package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
	"github.com/seawall-security/seawall/tools/demo/image"
	"github.com/seawall-security/seawall/tools/demo/intrusion"
	"github.com/seawall-security/seawall/tools/demo/stage"
)

// noAgent plays the scene without an agent.
const noAgent = "none"

// reportTimeout bounds the wait for the detection of the last step.
const reportTimeout = 20 * time.Second

// play is one showing of the demo.
type play struct {
	agent string
	// collector is the path of its binary; noAgent: the agent reports to nobody.
	collector string
	actor     string
	cache     string
	out       io.Writer
}

// act is a step that was done, with its bounds in CLOCK_BOOTTIME nanoseconds.
type act struct {
	name  string
	begun uint64
}

// scene is what a detection belongs to: the act in whose time its event falls.
type scene struct {
	act       string
	honest    bool
	detection *sensorv1.Detection
}

// run shows the demo and returns what the break-in raised, in order of time.
func (p *play) run(ctx context.Context) (found []scene, alerts []*alertv1.Alert, err error) {
	begun := time.Now()
	fmt.Fprintln(p.out, "Setting the stage")
	shop, err := image.Build(ctx, p.cache)
	if err != nil {
		return nil, nil, err
	}
	p.say("image %s built from packages", begun, image.Reference)
	begun = time.Now()
	set, err := stage.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, set.Close(ctx)) }()
	p.say("containerd ready", begun)

	var watcher *agent
	var hub *collector
	if p.agent != noAgent {
		var flags []string
		if p.collector != noAgent {
			begun = time.Now()
			if hub, err = startCollector(ctx, p.collector); err != nil {
				return nil, nil, err
			}
			defer func() { err = errors.Join(err, hub.stop()) }()
			if flags, err = hub.agentFlags(ctx); err != nil {
				return nil, nil, err
			}
			p.say("collector ready", begun)
		}
		begun = time.Now()
		if watcher, err = startAgent(ctx, p.agent, set.Socket(), flags...); err != nil {
			return nil, nil, err
		}
		defer func() { err = errors.Join(err, watcher.stop()) }()
		p.say("agent ready", begun)
	}
	begun = time.Now()
	first := act{name: "start the container", begun: now()}
	if err := set.Run(ctx, shop); err != nil {
		return nil, nil, err
	}
	p.say("container of pod %s/%s serves at %s", begun, stage.PodNamespace, stage.PodName, set.URL())

	fmt.Fprintln(p.out, "\nAn honest day")
	honest, err := p.do(ctx, intrusion.Honest(set))
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintln(p.out, "\nThe break-in")
	hostile, err := p.do(ctx, intrusion.Steps(set, p.actor))
	if err != nil || watcher == nil {
		return nil, nil, err
	}
	last := hostile[len(hostile)-1].begun
	mine := func(d *sensorv1.Detection) bool { return concerns(d, set.ContainerID()) }
	err = watcher.await(ctx, reportTimeout, func(d *sensorv1.Detection) bool {
		return mine(d) && d.GetEvent().GetBootTimeNs() >= last
	})
	if err == nil && hub != nil { // before the agent ends: what it has spooled then waits for its next start
		alerts, err = hub.read(ctx, set.ContainerID(), whole(watcher.detections(mine)))
	}
	// What the agent still holds comes out as it ends.
	err = errors.Join(err, watcher.stop())
	scenes := assign(watcher.detections(mine), slices.Concat([]act{first}, honest, hostile), hostile[0].begun)
	p.tell(scenes, watcher.gaps())
	if err != nil {
		return nil, nil, err
	}
	p.tellAlerts(alerts)
	found, err = judge(scenes)
	return found, alerts, err
}

// do plays steps and says so.
func (p *play) do(ctx context.Context, steps []intrusion.Step) ([]act, error) {
	var done []act
	for _, step := range steps {
		begun := time.Now()
		done = append(done, act{name: step.Name, begun: now()})
		if err := step.Do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.Name, err)
		}
		p.say("%s", begun, step.Name)
	}
	return done, nil
}

func (p *play) say(format string, begun time.Time, args ...any) {
	fmt.Fprintf(p.out, "  %6d ms  %s\n", time.Since(begun).Milliseconds(), fmt.Sprintf(format, args...))
}

// assign finds the act of each detection by kernel time.
func assign(detections []*sensorv1.Detection, acts []act, hostile uint64) []scene {
	slices.SortStableFunc(detections, func(a, b *sensorv1.Detection) int {
		return cmp.Compare(a.GetEvent().GetBootTimeNs(), b.GetEvent().GetBootTimeNs())
	})
	var scenes []scene
	for _, d := range detections {
		at := d.GetEvent().GetBootTimeNs()
		found := scene{act: "before the play", honest: at < hostile, detection: d}
		for _, act := range acts {
			if act.begun <= at {
				found.act = act.name
			}
		}
		scenes = append(scenes, found)
	}
	return scenes
}

// judge returns what the break-in raised, or what is wrong with all that was raised.
func judge(scenes []scene) ([]scene, error) {
	honest := func(s scene) bool { return s.honest }
	if noise := slices.IndexFunc(scenes, honest); noise >= 0 {
		return nil, fmt.Errorf("the honest day raised %s in %q", scenes[noise].detection.GetRule(), scenes[noise].act)
	}
	if len(scenes) == 0 {
		return nil, errors.New("the break-in raised nothing")
	}
	return scenes, nil
}

// concerns tells the play's detections from those of other work on this host: they
// lie in its container, or their process descends from this one.
func concerns(d *sensorv1.Detection, container string) bool {
	self := uint32(os.Getpid())
	is := func(p *sensorv1.Process) bool { return p.GetPid() == self }
	return d.GetEvent().GetContainer().GetId() == container ||
		is(d.GetEvent().GetProcess()) || slices.ContainsFunc(d.GetEvent().GetAncestors(), is)
}

// now is CLOCK_BOOTTIME, the clock of the kernel's events.
func now() uint64 {
	var at unix.Timespec
	// Fails only for clocks that do not exist.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &at)
	return uint64(at.Nano())
}
