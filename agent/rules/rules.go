// Package rules owns which rules are in force: those that the agent brings, those of
// this host's files, and a signed bundle that came from afar, if there is one.
//
// [Open] loads them, with the bundle that was kept in the state folder; [Rules.Apply]
// takes another bundle and [Rules.Run] loads anew when an exception expires. Both turn
// the kernel and the pipeline to the new rules while the agent runs, or leave
// everything as it was and say why. What is in force may be asked by any goroutine.
//
// A bundle is kept before it is in force and under its own name after: whoever kills the
// agent leaves the old one or the new one whole. Its serial is remembered apart, so that
// an older bundle is refused also where the kept one was lost.
package rules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/rule"
)

// Kernel admits what rules ask for; see probe.Sensor.
type Kernel interface {
	Switch(next rule.Interest, between func() error) error
}

// Stages match events; see pipeline.Pipeline.
type Stages interface {
	Switch(ctx context.Context, rules *rule.Set) error
}

// Options say what rules there are.
type Options struct {
	// StateDir is where a bundle is kept, a folder that no other agent uses; empty: there
	// is none, and no bundle is taken.
	StateDir string
	// Keys may sign bundles; none: no bundle is taken.
	Keys bundle.Keys
	// Sources are the built-in rules and those of this host's files.
	Sources []rule.Source
	Now     func() time.Time
	// Wait sleeps and returns the context's error if that ends first.
	Wait func(context.Context, time.Duration) error
	Log  *zap.Logger
}

// Rules are the rules in force. Its methods are safe for concurrent use once Attach was
// called.
type Rules struct {
	options Options
	log     *zap.Logger
	kept    kept
	kernel  Kernel
	stages  Stages

	changing sync.Mutex // one change at a time: held while files are loaded and switched
	lowest   uint64     // serial of the newest bundle that was ever in force; guarded by changing

	current atomic.Pointer[inForce]
	refused atomic.Uint64
}

// inForce is what is in force. It never changes.
type inForce struct {
	set *rule.Set
	// bundle is nil where none is in force.
	bundle *held
}

// held is a bundle with the bytes it came in.
type held struct {
	bundle.Bundle
	signed bundle.Signed
}

// Open loads the rules. What is wrong with the agent's own files is an error. A kept
// bundle that does not verify or load any more is logged, and the agent does without.
func Open(o Options) (*Rules, error) {
	r := &Rules{options: o, log: o.Log.Named("rules"), kept: kept{o.StateDir}}
	set, err := rule.Load(o.Sources, o.Now())
	if err != nil {
		return nil, fmt.Errorf("load rules:\n%w", err)
	}
	now := &inForce{set: set}
	if r.lowest, err = r.kept.serial(); err != nil {
		r.log.Warn("older bundles than the last one are not refused", zap.Error(err))
	}
	switch b, err := r.reopen(); {
	case err != nil:
		r.refused.Add(1)
		r.log.Error("the bundle that was kept is not in force: send it again, or a newer one", zap.Error(err))
	case b != nil:
		now = b
		r.lowest = max(r.lowest, b.bundle.Serial)
	}
	r.hold(now)
	return r, nil
}

// reopen loads the bundle that was kept; nil: there is none.
func (r *Rules) reopen() (*inForce, error) {
	r.kept.tidy()
	signed, err := r.kept.read()
	if signed == nil || err != nil {
		return nil, err
	}
	b, err := r.verify(*signed)
	if err != nil {
		return nil, err
	}
	return r.load(&held{b, *signed})
}

// Attach says what is to be turned. It comes before Apply and Run.
func (r *Rules) Attach(kernel Kernel, stages Stages) { r.kernel, r.stages = kernel, stages }

// Set is the rules in force.
func (r *Rules) Set() *rule.Set { return r.current.Load().set }

// InForce tells of the bundle in force; serial 0: there is none.
func (r *Rules) InForce() (version string, serial uint64) {
	if b := r.current.Load().bundle; b != nil {
		return b.Version, b.Serial
	}
	return "", 0
}

// Refused counts bundles that were not put in force.
func (r *Rules) Refused() uint64 { return r.refused.Load() }

// Apply puts a bundle in force and keeps it. The version is what the bundle says it is,
// also if an error says why it is not in force; empty: it could not be read. A bundle
// that is in force already is no error.
func (r *Rules) Apply(ctx context.Context, s bundle.Signed) (version string, err error) {
	if unverified, err := s.Unverified(); err == nil {
		version = unverified.Version
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	if err := r.apply(ctx, s); err != nil {
		r.refused.Add(1)
		r.log.Warn("bundle refused", zap.String(obs.FieldVersion, version), zap.Error(err))
		return version, err
	}
	return version, nil
}

func (r *Rules) apply(ctx context.Context, s bundle.Signed) error {
	b, err := r.verify(s)
	if err != nil {
		return err
	}
	now := r.current.Load().bundle
	if now != nil && bytes.Equal(s.Bytes, now.signed.Bytes) {
		return r.resign(held{b, s})
	}
	// The one with the lowest serial comes again where it is not in force: it was lost here.
	if b.Serial < r.lowest || b.Serial == r.lowest && now != nil {
		return fmt.Errorf("bundle has serial %d, which is not above %d, the newest that was in force here: sign it with a higher one", b.Serial, r.lowest)
	}
	next, err := r.load(&held{b, s})
	if err != nil {
		return err
	}
	commit, err := r.kept.prepare(s)
	if err != nil {
		return err
	}
	if err := r.turn(ctx, next.set); err != nil {
		return errors.Join(err, commit.discard())
	}
	if err := commit.rename(); err != nil {
		return errors.Join(err, commit.discard(), r.turn(ctx, r.Set()))
	}
	r.lowest = b.Serial
	if err := r.kept.writeSerial(b.Serial); err != nil {
		r.log.Warn("bundle is in force, but its serial is not kept apart", zap.Error(err))
	}
	r.hold(next)
	return nil
}

// resign keeps the bundle in force as it is signed now: with another key perhaps, because
// the former one will not be trusted for long.
func (r *Rules) resign(b held) error {
	now := r.current.Load()
	if bytes.Equal(b.signed.KeyID, now.bundle.signed.KeyID) {
		return nil
	}
	commit, err := r.kept.prepare(b.signed)
	if err != nil {
		return err
	}
	if err := commit.rename(); err != nil {
		return errors.Join(err, commit.discard())
	}
	r.current.Store(&inForce{now.set, &b})
	return nil
}

func (r *Rules) verify(s bundle.Signed) (bundle.Bundle, error) {
	if len(r.options.Keys) == 0 {
		return bundle.Bundle{}, errors.New("this agent takes no bundles: name the public keys that may sign them as bundle_keys (--bundle-keys)")
	}
	return r.options.Keys.Verify(s)
}

// load compiles the agent's own files together with those of a bundle (nil: without).
func (r *Rules) load(b *held) (*inForce, error) {
	sources := slices.Clone(r.options.Sources)
	if b != nil {
		for _, f := range b.Files {
			sources = append(sources, rule.Source{Name: "bundle/" + f.Name, Data: f.Data, Origin: rule.OriginBundle})
		}
	}
	set, err := rule.Load(sources, r.options.Now())
	if err != nil {
		return nil, fmt.Errorf("load rules:\n%w", err)
	}
	return &inForce{set, b}, nil
}

// turn has kernel and pipeline go from the rules in force to others.
func (r *Rules) turn(ctx context.Context, set *rule.Set) error {
	return r.kernel.Switch(set.Interest(), func() error { return r.stages.Switch(ctx, set) })
}

// hold says what is in force from now on, and tells the log.
func (r *Rules) hold(now *inForce) {
	r.current.Store(now)
	for _, warning := range now.set.Warnings() {
		r.log.Warn("rules load, but", zap.String(obs.FieldReason, warning.String()))
	}
	version, serial := r.InForce()
	r.log.Info("rules in force", zap.Int(obs.FieldRules, len(now.set.Rules())),
		zap.String(obs.FieldVersion, version), zap.Uint64(obs.FieldSerial, serial))
}

// expiryInterval is how often the clock is asked whether an exception has expired: they
// do at midnight, UTC, and clocks are set.
const expiryInterval = time.Minute

// Run loads the rules again whenever an exception has expired, until ctx ends.
func (r *Rules) Run(ctx context.Context) error {
	for r.options.Wait(ctx, expiryInterval) == nil {
		if err := r.renew(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("an expired exception is still in force: tried again in a minute", zap.Error(err))
		}
	}
	return nil
}

// renew loads the same files at another time, if that makes a difference.
func (r *Rules) renew(ctx context.Context) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	now := r.current.Load()
	if expires := now.set.Expires(); expires.IsZero() || r.options.Now().Before(expires) {
		return nil
	}
	next, err := r.load(now.bundle)
	if err != nil {
		return err
	}
	if err := r.turn(ctx, next.set); err != nil {
		return err
	}
	r.hold(next)
	return nil
}
