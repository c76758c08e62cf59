package uplink

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/seawall-security/seawall/internal/bundle"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// maxVersionBytes is far above any version's name.
	maxVersionBytes = bundle.MaxVersionBytes
	// maxProblemBytes holds some dozens of a rule file's problems: the rest are of a kind.
	maxProblemBytes = 8 << 10
)

// take does what one message asks, and returns the answer, if there is one. Messages
// that this version does not know are a newer collector's and let go. An error ends the
// stream.
func (s *session) take(m *sensorv1.ToAgent) (*sensorv1.Applied, error) {
	switch body := m.GetBody().(type) {
	case *sensorv1.ToAgent_Welcome:
		return nil, fmt.Errorf("%w: a second Welcome", errProtocol)
	case *sensorv1.ToAgent_Ack:
		p := body.Ack.GetPosition()
		for _, l := range []*lane{s.detections, s.entries, s.telemetry} {
			if l.owns(p) {
				return nil, l.ack(p)
			}
		}
		return nil, fmt.Errorf("%w: it acknowledges lane %d", errProtocol, p.GetLane())
	case *sensorv1.ToAgent_Bundle:
		return s.orders.put(body.Bundle), nil
	case *sensorv1.ToAgent_Settings:
		return answer(sensorv1.Part_PART_SETTINGS, body.Settings.GetVersion(), s.uplink.apply(body.Settings)), nil
	}
	return nil, nil
}

// answer bounds what goes up of what came down.
func answer(part sensorv1.Part, version, problem string) *sensorv1.Applied {
	if len(version) > maxVersionBytes {
		version, problem = "", fmt.Sprintf("the version's name has more than %d bytes", maxVersionBytes)
	}
	if len(problem) > maxProblemBytes {
		problem = strings.ToValidUTF8(problem[:maxProblemBytes], "") + " …"
	}
	return &sensorv1.Applied{Part: part, Version: version, Error: strings.ToValidUTF8(problem, "\uFFFD")}
}

// Bundles takes bundles of rules; see package rules.
type Bundles interface {
	// Apply puts a bundle in force, or says why not. It may take seconds.
	Apply(context.Context, bundle.Signed) (version string, err error)
	// InForce tells of the bundle in force; serial 0: there is none.
	InForce() (version string, serial uint64)
}

// orders is the bundle that came down and waits to be put in force.
type orders struct {
	news chan struct{} // has one where there is a bundle

	mu      sync.Mutex // guards what follows
	waiting *sensorv1.SignedBundle
}

func newOrders() *orders { return &orders{news: make(chan struct{}, 1)} }

// put has a bundle wait in the place of the one that waits, which is answered.
func (o *orders) put(m *sensorv1.SignedBundle) *sensorv1.Applied {
	if m == nil {
		m = &sensorv1.SignedBundle{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.waiting
	o.waiting = m
	if before == nil {
		o.news <- struct{}{} // take empties it before it looks
		return nil
	}
	version := ""
	if b, err := bundle.FromProto(before).Unverified(); err == nil {
		version = b.Version
	}
	return answer(sensorv1.Part_PART_BUNDLE, version, "another bundle came before this one was looked at")
}

func (o *orders) take() *sensorv1.SignedBundle {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.waiting
	o.waiting = nil
	return m
}

// obey puts bundles in force until ctx ends: not where acks are received, which must not
// wait for rules to be compiled.
func (s *session) obey(ctx context.Context) {
	for {
		select {
		case <-s.orders.news:
		case <-ctx.Done():
			return
		}
		applied := s.uplink.applyBundle(ctx, s.orders.take())
		select {
		case s.answers <- applied:
		case <-ctx.Done():
			return
		}
	}
}

func (u *Uplink) applyBundle(ctx context.Context, m *sensorv1.SignedBundle) *sensorv1.Applied {
	if u.options.Bundles == nil {
		return answer(sensorv1.Part_PART_BUNDLE, "", "this agent takes no bundles")
	}
	version, err := u.options.Bundles.Apply(ctx, bundle.FromProto(m))
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	return answer(sensorv1.Part_PART_BUNDLE, version, problem)
}
