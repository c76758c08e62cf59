package enrol

import (
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Options are what a service needs.
type Options struct {
	Authority *Authority
	Tokens    *Tokens
	Agents    AgentStore
	// Reviewer of service account tokens; nil: none is taken.
	Reviewer TokenReviewer
	// ServiceAccounts (namespace/name) may enrol. Every pod can have tokens of
	// its own account for any audience: whose it is decides.
	ServiceAccounts []string
	// RenewalGrace is how long after its end a certificate can still be renewed; the
	// server's [tlsconf.Peers].Grace has to let it in. 0: not at all.
	RenewalGrace time.Duration
	Limits       Limits
	Metrics      prometheus.Registerer
	Log          *zap.Logger
}

// Service answers agents. It belongs on a server with [tlsconf.ServerConfig]
// and Peers.Optional, as those who enrol have no certificate yet.
type Service struct {
	sensorv1.UnsafeEnrolmentServer // a method that is missing does not compile

	options  Options
	gate     *gate
	renewals *limiter[string]
	metrics  metrics
	now      func() time.Time
	log      *zap.Logger
}

// NewService returns a service; its metrics are registered.
func NewService(o Options) (*Service, error) {
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Service{
		options: o, gate: newGate(o.Limits), renewals: newLimiter[string](renewalsPerAgent, renewalsBurst),
		metrics: m, now: o.Authority.now, log: o.Log.Named("enrol"),
	}, nil
}

// Enrol implements the rpc. The proof comes first: only who has a good one gets
// his request parsed.
func (s *Service) Enrol(ctx context.Context, r *sensorv1.EnrolRequest) (*sensorv1.EnrolResponse, error) {
	from, now := source(ctx), s.now()
	if !s.gate.allow(from, now) {
		return nil, s.turnAway(from, now)
	}
	e := Enrolment{Node: r.GetNode(), MachineID: r.GetMachineId(), At: now}
	// The lines that say what came of it carry nothing that has not been checked.
	log := s.log.With(zap.Stringer(obs.FieldAddress, from))
	if len(e.Node) > maxAttribute || len(e.MachineID) > maxAttribute {
		return nil, s.refuse(log, codes.InvalidArgument, refusedRequest, "node or machine id is too long")
	}
	log, err := s.prove(ctx, log, r, &e)
	if err != nil {
		return nil, s.refuseError(log, err)
	}
	public, hash, err := publicKey(r.GetCertificateRequestDer())
	if err != nil {
		return nil, s.refuse(log, codes.InvalidArgument, refusedRequest, err.Error())
	}
	e.KeyHash = hash
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, s.refuseError(log, err)
	}
	e.AgentID = id.String()
	if e.AgentID, err = s.options.Agents.AddEnrolment(ctx, e); err != nil {
		return nil, s.refuseError(log, err)
	}
	log = log.With(zap.String(obs.FieldNode, e.Node))
	return s.issue(ctx, log, e.AgentID, public, hash, s.metrics.enrolled)
}

// prove fills in by what right the caller enrols, and names it in the log.
func (s *Service) prove(ctx context.Context, log *zap.Logger, r *sensorv1.EnrolRequest, e *Enrolment) (*zap.Logger, error) {
	switch proof := r.GetProof().(type) {
	case *sensorv1.EnrolRequest_JoinToken:
		token, err := s.options.Tokens.check(ctx, proof.JoinToken)
		if token.ID != "" {
			log = log.With(zap.String(obs.FieldToken, token.ID))
		}
		e.TokenID = token.ID
		return log, err
	case *sensorv1.EnrolRequest_ServiceAccountToken:
		account, err := s.review(ctx, proof.ServiceAccountToken)
		if account.Name != "" {
			log = log.With(zap.Stringer("service_account", account), zap.String("pod", account.Pod), zap.String("bound_node", account.Node))
		}
		e.ServiceAccount = account.String()
		e.Node = cmp.Or(account.Node, e.Node) // the cluster vouches for the one, the agent only says the other
		return log, err
	}
	return log, &refusal{reason: refusedProof, text: "there is no proof: neither a join token nor a service account token"}
}

func (s *Service) review(ctx context.Context, token string) (ServiceAccount, error) {
	if s.options.Reviewer == nil {
		return ServiceAccount{}, &refusal{reason: refusedAccount, text: "this collector takes no service account tokens"}
	}
	if len(token) > maxServiceAccountToken {
		return ServiceAccount{}, &refusal{reason: refusedAccount, text: "the service account token is too long"}
	}
	account, err := s.options.Reviewer.Review(ctx, token)
	switch {
	case errors.Is(err, ErrNotReviewed):
		return ServiceAccount{}, err
	case err != nil:
		return ServiceAccount{}, &refusal{reason: refusedAccount, text: "the service account token is refused: " + err.Error()}
	case !slices.Contains(s.options.ServiceAccounts, account.String()):
		return account, &refusal{reason: refusedAccount, text: "the service account " + account.String() + " is not one that may enrol"}
	}
	return account, nil
}

// Renew implements the rpc. An agent that was away for longer than its certificate's life
// may come with that certificate for a while yet: whoever has its key had the agent's disk
// before it expired too, and revocation counts as ever.
func (s *Service) Renew(ctx context.Context, r *sensorv1.RenewRequest) (*sensorv1.EnrolResponse, error) {
	log := s.log.With(zap.Stringer(obs.FieldAddress, source(ctx)))
	agent, err := tlsconf.LatePeerOf(ctx, tlsconf.Agent)
	if err != nil {
		return nil, s.refuse(log, codes.Unauthenticated, refusedIdentity, err.Error())
	}
	log, now := log.With(zap.String(obs.FieldAgent, agent.Name)), s.now()
	if agent.Cluster != s.options.Authority.cluster {
		return nil, s.refuse(log, codes.Unauthenticated, refusedIdentity, "the certificate is another cluster's")
	}
	if now.After(agent.Certificate.NotAfter.Add(s.options.RenewalGrace)) { // on a connection that is older
		return nil, s.refuse(log, codes.Unauthenticated, refusedIdentity, "the certificate has expired")
	}
	if now.After(agent.Certificate.NotAfter) {
		log = log.With(zap.Time("expired", agent.Certificate.NotAfter))
	}
	if !s.renewals.allow(agent.Name, now) {
		return nil, s.turnAway(source(ctx), now)
	}
	public, hash, err := publicKey(r.GetCertificateRequestDer())
	if err != nil {
		return nil, s.refuse(log, codes.InvalidArgument, refusedRequest, err.Error())
	}
	if hash == sha256.Sum256(agent.Certificate.RawSubjectPublicKeyInfo) {
		return nil, s.refuse(log, codes.InvalidArgument, refusedRequest, "the key is not a new one")
	}
	return s.issue(ctx, log, agent.Name, public, hash, s.metrics.renewed)
}

// issue gives an agent its certificate unless it is revoked.
func (s *Service) issue(ctx context.Context, log *zap.Logger, id string, public crypto.PublicKey, hash [sha256.Size]byte, issued prometheus.Counter) (*sensorv1.EnrolResponse, error) {
	revoked, err := s.options.Agents.Revoked(ctx, id)
	if err != nil {
		return nil, s.refuseError(log, err)
	}
	log = log.With(zap.String(obs.FieldAgent, id))
	if revoked {
		return nil, s.refuse(log, codes.PermissionDenied, refusedRevoked, "the agent is revoked")
	}
	a := s.options.Authority
	certificate, err := a.issueAgent(id, public)
	if err != nil {
		return nil, s.refuseError(log, err)
	}
	issued.Inc()
	log.Info("certificate issued", zap.String(obs.FieldSerial, certificate.SerialNumber.Text(16)),
		zap.Binary("key_hash", hash[:]), zap.Time(obs.FieldNotAfter, certificate.NotAfter))
	return &sensorv1.EnrolResponse{
		AgentId:         id,
		Cluster:         a.cluster,
		CertificatesDer: [][]byte{certificate.Raw},
		RootsDer:        raw(a.Roots()),
		NotAfter:        timestamppb.New(certificate.NotAfter),
		RedactionKey:    a.RedactionKey(),
	}, nil
}

func raw(certificates []*x509.Certificate) [][]byte {
	der := make([][]byte, 0, len(certificates))
	for _, certificate := range certificates {
		der = append(der, certificate.Raw)
	}
	return der
}

// refuse says why in the log, in a metric and to the caller.
func (s *Service) refuse(log *zap.Logger, code codes.Code, why reason, text string) error {
	s.metrics.refused.WithLabelValues(string(why)).Inc()
	log.Warn("certificate refused", zap.String(obs.FieldReason, text))
	return status.Error(code, text)
}

func (s *Service) refuseError(log *zap.Logger, err error) error {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return s.refuse(log, codes.PermissionDenied, r.reason, r.text)
	case errors.Is(err, ErrUsedUp):
		return s.refuse(log, codes.PermissionDenied, refusedUsedUp, ErrUsedUp.Error())
	case errors.Is(err, ErrUnknownToken): // revoked since it was checked
		return s.refuse(log, codes.PermissionDenied, refusedProof, errNotAToken.text)
	}
	// What went wrong here is for the log only.
	s.metrics.refused.WithLabelValues(string(refusedInternal)).Inc()
	log.Error("certificate not issued", zap.Error(err))
	return status.Error(codes.Unavailable, "the collector could not look into it: try again")
}

// turnAway is refuse for those who come too often: a line a minute.
func (s *Service) turnAway(from netip.Addr, now time.Time) error {
	s.metrics.refused.WithLabelValues(string(refusedRate)).Inc()
	if count, tell := s.gate.turnAway(now); tell {
		s.log.Warn("calls turned away: too many", zap.Uint64(obs.FieldCount, count), zap.Stringer(obs.FieldAddress, from))
	}
	return status.Error(codes.ResourceExhausted, "too many calls: try again later")
}

// source is the caller's address; the zero one where there is none.
func source(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}
	}
	address, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return netip.Addr{}
	}
	return address.Addr()
}
