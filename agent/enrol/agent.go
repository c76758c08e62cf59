package enrol

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Options say where the collector is and by what right the agent enrols.
type Options struct {
	StateDir string
	// Collector is host:port.
	Collector string
	// JoinToken, or else the files of a service account token and of the CAs that
	// the collector may come from; neither: only an agent that is enrolled runs on.
	JoinToken           *tlsconf.JoinToken
	ServiceAccountToken string
	Roots               string
	// Node and MachineID are told the collector, for people.
	Node      string
	MachineID string

	Now func() time.Time
	// Wait sleeps and returns the context's error if that ends first.
	Wait func(context.Context, time.Duration) error
	// Random is in [0, 1): nodes that started together must not come together.
	Random func() float64
	Log    *zap.Logger
}

func (o *Options) proof() bool { return o.JoinToken != nil || o.ServiceAccountToken != "" }

func (o *Options) check() error {
	var problems []error
	if o.Collector == "" {
		problems = append(problems, errors.New("the collector's address is missing"))
	}
	if o.JoinToken != nil && o.ServiceAccountToken != "" {
		problems = append(problems, errors.New("a join token and a service account token are given: one of them"))
	}
	if (o.ServiceAccountToken != "") != (o.Roots != "") {
		problems = append(problems, errors.New("a service account token needs a file of CA certificates, and the other way round"))
	}
	return errors.Join(problems...)
}

const (
	// Attempts: the first soon, as collectors restart in seconds; then with patience.
	backoffMin = time.Second
	backoffMax = 5 * time.Minute
	// The longest sleep: a clock that is set, or a machine that was suspended, is
	// noticed within it.
	longestWait = time.Hour
	// A new certificate that is due at once, as this machine's clock is far ahead,
	// must not make a storm.
	settle = time.Minute
	// Renewals spread over this part of a certificate's life.
	spread = 0.1
)

// Agent is this machine's enrolment.
type Agent struct {
	options Options
	log     *zap.Logger
	source  tlsconf.Source
	ready   chan struct{} // closed when there is a first identity

	unkept bool // Run's: the state is not on disk yet

	mu    sync.Mutex
	state *state    // guarded by mu; nil: none yet
	due   time.Time // guarded by mu: when to renew
}

// CannotEnrolError says that an agent has no certificate that holds and no
// right to another one. Somebody has to give it a token.
type CannotEnrolError struct {
	Why string
}

func (e *CannotEnrolError) Error() string {
	return e.Why + ", and there is neither a join token nor a service account token: make a join token on the collector and give it to this agent"
}

// Open reads what the agent remembers; it asks nobody. An identity that cannot
// be read is an error only for an agent that cannot enrol anew.
func Open(o Options) (*Agent, error) {
	a := &Agent{options: o, log: o.Log.Named("enrol"), ready: make(chan struct{})}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("prepare enrolment: %w", err)
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare enrolment: %w", err)
	}
	s, err := readState(o.StateDir)
	switch {
	case err != nil && !o.proof():
		return nil, fmt.Errorf("prepare enrolment: %w", &CannotEnrolError{Why: err.Error()})
	case err != nil:
		a.log.Error("identity lost: enrolling anew", zap.Error(err))
	case s != nil:
		if err := dropPending(o.StateDir); err != nil {
			return nil, fmt.Errorf("prepare enrolment: %w", err)
		}
		if token := o.JoinToken; token != nil && !hasPin(s.roots, token.Pin) {
			a.log.Warn("the join token is of another CA than this agent's and not used; to move the agent, remove the file",
				zap.String(obs.FieldPath, filepath.Join(o.StateDir, identityFile)))
		}
		a.hold(s)
	}
	return a, nil
}

// hold makes a state the one that counts from now on.
func (a *Agent) hold(s *state) {
	leaf := s.leaf()
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	early := time.Duration(float64(life) * spread * (a.options.Random() - 0.5))
	a.source.Set(s.material())
	a.mu.Lock()
	defer a.mu.Unlock()
	first := a.state == nil
	a.state, a.due = s, s.renewAt().Add(early)
	if first {
		close(a.ready)
	}
}

func (a *Agent) current() (*state, time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state, a.due
}

// Ready is closed once there is an identity: at once, if one is remembered.
// Before that the other methods have nothing to say.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Identity is who this agent is. It changes when the agent has to enrol anew.
func (a *Agent) Identity() (id tlsconf.Identity, ok bool) {
	s, _ := a.current()
	if s == nil {
		return tlsconf.Identity{}, false
	}
	return s.identity, true
}

// Certificate is what new handshakes show; nil before there is an identity. Another one
// says that it was renewed.
func (a *Agent) Certificate() *x509.Certificate {
	s, _ := a.current()
	if s == nil {
		return nil
	}
	return s.leaf()
}

// RedactionKey keys the cluster's redaction; nil before there is an identity.
func (a *Agent) RedactionKey() []byte {
	s, _ := a.current()
	if s == nil {
		return nil
	}
	return append([]byte(nil), s.redactionKey...)
}

// TLS is the configuration of a connection to the collector, once Ready. New
// handshakes use the newest certificate; nil before there is an identity.
func (a *Agent) TLS() *tls.Config {
	s, _ := a.current()
	if s == nil {
		return nil
	}
	return a.config(s)
}

func (a *Agent) config(s *state) *tls.Config {
	return tlsconf.ClientConfig(&a.source, tlsconf.Peers{Cluster: s.identity.Cluster, Roles: []tlsconf.Role{tlsconf.Collector}}, a.options.Now)
}

// Run enrols and renews until ctx is done, and then returns nil. Attempts that
// fail are repeated; it gives up only with a [CannotEnrolError].
func (a *Agent) Run(ctx context.Context) error {
	backoff := backoffMin
	for ctx.Err() == nil {
		wait, err := a.step(ctx)
		var cannot *CannotEnrolError
		switch {
		case errors.As(err, &cannot):
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// Half of it to one and a half.
			wait = time.Duration(float64(backoff) * (0.5 + a.options.Random()))
			backoff = min(2*backoff, backoffMax)
			a.log.Warn("certificate wanted", zap.Error(err), zap.Duration("next", wait),
				zap.String(obs.FieldAddress, a.options.Collector))
		default:
			backoff = backoffMin
		}
		if err := a.options.Wait(ctx, wait); err != nil {
			return nil // ctx is done
		}
	}
	return nil
}

// step does what is due and says how long nothing will be.
func (a *Agent) step(ctx context.Context) (time.Duration, error) {
	s, due := a.current()
	if a.unkept {
		if err := a.keep(s); err != nil {
			return 0, err
		}
	}
	now := a.options.Now()
	expired := s != nil && now.After(s.leaf().NotAfter)
	if s != nil && !expired && now.Before(due) {
		return min(due.Sub(now), longestWait), nil
	}
	var next *state
	var err error
	why := "this agent has no certificate"
	anew := s == nil
	if s != nil {
		next, err = a.renew(ctx, s)
		err = wrap("renew certificate", err)
		// One that expired while the agent was off may still be good for this.
		var refused *refusedError
		if anew = expired && errors.As(err, &refused); anew {
			why = fmt.Sprintf("the certificate of %s expired on %s and is not renewed any more (%v)", s.identity, stamp(s.leaf().NotAfter), refused)
			a.log.Warn("expired certificate not renewed", zap.Error(err))
		}
	}
	if anew {
		if !a.options.proof() {
			return 0, &CannotEnrolError{Why: why}
		}
		next, err = a.enrol(ctx)
		err = wrap("enrol", err)
	}
	if err != nil {
		return 0, err
	}
	a.hold(next)
	a.unkept = true
	a.log.Info("certificate received", zap.String(obs.FieldAgent, next.identity.Name), zap.String("cluster", next.identity.Cluster),
		zap.String(obs.FieldSerial, next.leaf().SerialNumber.Text(16)), zap.Time(obs.FieldNotAfter, next.leaf().NotAfter))
	return settle, a.keep(next)
}

// keep writes a state to disk. One that cannot be written counts all the same,
// until the agent ends: a full disk must not cost a good certificate.
func (a *Agent) keep(s *state) error {
	if err := s.keep(a.options.StateDir); err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	a.unkept = false
	return nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
