package siem

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// Bounds of what one client gets at once.
const (
	// MaxPageBytes ends a page of a subscription early, and of a list. It is below the 4 MiB that gRPC's clients take in
	// one message unless told otherwise, by more than the largest alert.
	MaxPageBytes = 2 << 20
	// MaxCursors is how many named subscriptions a client has: each is a row for good.
	MaxCursors = 64

	defaultPageSize = 100
	maxPageSize     = 1000
)

// Defaults of [Options].
const (
	DefaultIdleAfter        = 15 * time.Second
	DefaultSendTimeout      = 30 * time.Second
	DefaultPerClient        = 8
	DefaultMaxSubscriptions = 256
)

// Client is who calls.
type Client struct {
	// Name is what its cursors belong to.
	Name string
	// Until is when a subscription must end: its certificate does. Zero: never.
	Until time.Time
}

// Options of a service; zero values stand for the defaults.
type Options struct {
	Store Store
	// Client tells who calls from the context of the call: what an interceptor left
	// there, or the certificate that gRPC did. An error refuses the call.
	Client func(context.Context) (Client, error)
	Log    *zap.Logger
	// Metrics are registered here.
	Metrics prometheus.Registerer

	// IdleAfter is the longest silence on a subscription.
	IdleAfter time.Duration
	// SendTimeout is how long a reader may take over a message.
	SendTimeout time.Duration
	// PerClient and MaxSubscriptions bound those open at once.
	PerClient, MaxSubscriptions int
}

// Service is AlertStream.
type Service struct {
	alertv1.UnsafeAlertStreamServer // a method that is missing does not compile
	o                               Options
	tokens                          *tokens
	sessions                        *sessions
	metrics                         *metrics
}

// New returns a service to register with a gRPC server.
func New(o Options) *Service {
	o.IdleAfter = or(o.IdleAfter, DefaultIdleAfter)
	o.SendTimeout = or(o.SendTimeout, DefaultSendTimeout)
	s := &Service{o: o, tokens: newTokens(), sessions: &sessions{
		perClient: or(o.PerClient, DefaultPerClient),
		total:     or(o.MaxSubscriptions, DefaultMaxSubscriptions),
		open:      map[string]map[*session]struct{}{},
	}}
	s.metrics = newMetrics(o.Metrics, s.sessions.len)
	return s
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Close ends all subscriptions, which never end by themselves: call it before the
// server's GracefulStop.
func (s *Service) Close() { s.sessions.close() }

// List implements AlertStream.
func (s *Service) List(ctx context.Context, r *alertv1.ListRequest) (*alertv1.ListResponse, error) {
	client, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkFilter(r.GetFilter()); err != nil {
		return nil, err
	}
	size := or(r.GetPageSize(), defaultPageSize)
	if size > maxPageSize {
		return nil, status.Errorf(codes.InvalidArgument, "page size %d is more than %d", size, maxPageSize)
	}
	var token string
	if r.GetPageToken() != "" {
		if token, err = s.tokens.open(r.GetPageToken(), client.Name, r.GetFilter()); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	alerts, next, err := s.o.Store.List(ctx, r.GetFilter(), size, token)
	if err != nil {
		return nil, s.storeError(ctx, "list alerts", err)
	}
	if next != "" {
		if next, err = s.tokens.seal(next, client.Name, r.GetFilter()); err != nil {
			return nil, s.storeError(ctx, "make page token", err)
		}
	}
	return &alertv1.ListResponse{Alerts: alerts, NextPageToken: next}, nil
}

var alertID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Get implements AlertStream.
func (s *Service) Get(ctx context.Context, r *alertv1.GetRequest) (*alertv1.GetResponse, error) {
	if _, err := s.client(ctx); err != nil {
		return nil, err
	}
	if !alertID.MatchString(r.GetId()) {
		return nil, status.Errorf(codes.InvalidArgument, "%.80q is no alert id: want 32 hexadecimal digits in small letters", r.GetId())
	}
	a, err := s.o.Store.Alert(ctx, r.GetId())
	switch {
	case err != nil:
		return nil, s.storeError(ctx, "get alert", err)
	case a == nil:
		return nil, status.Errorf(codes.NotFound, "there is no alert %s", r.GetId())
	}
	return &alertv1.GetResponse{Alert: a}, nil
}

// Acknowledge implements AlertStream.
func (s *Service) Acknowledge(ctx context.Context, r *alertv1.AcknowledgeRequest) (*alertv1.AcknowledgeResponse, error) {
	client, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	if r.GetSubscription() == "" {
		return nil, status.Error(codes.InvalidArgument, "only a named subscription has a cursor")
	}
	if err := checkSubscription(r.GetSubscription()); err != nil {
		return nil, err
	}
	if err := s.behindLast(ctx, r.GetPosition()); err != nil {
		return nil, err
	}
	_, known, err := s.o.Store.Cursor(ctx, client.Name, r.GetSubscription())
	if err != nil {
		return nil, s.storeError(ctx, "read cursor", err)
	}
	if !known {
		if err := s.roomForCursor(ctx, client.Name); err != nil {
			return nil, err
		}
	}
	if err := s.o.Store.MoveCursor(ctx, client.Name, r.GetSubscription(), r.GetPosition()); err != nil {
		return nil, s.storeError(ctx, "move cursor", err)
	}
	return &alertv1.AcknowledgeResponse{}, nil
}

// behindLast refuses positions that no revision has: the client has read another store,
// and would wait here until this one has grown as long.
func (s *Service) behindLast(ctx context.Context, position uint64) error {
	last, err := s.o.Store.Last(ctx)
	if err != nil {
		return s.storeError(ctx, "read last position", err)
	}
	if position > last {
		return status.Errorf(codes.OutOfRange, "position %d is behind the last one, %d: it is of another collector, or the store was replaced", position, last)
	}
	return nil
}

// roomForCursor keeps a client from making names without end.
func (s *Service) roomForCursor(ctx context.Context, client string) error {
	n, err := s.o.Store.Cursors(ctx, client)
	if err != nil {
		return s.storeError(ctx, "count cursors", err)
	}
	if n >= MaxCursors {
		return status.Errorf(codes.ResourceExhausted, "this client has %d named subscriptions, no more are allowed", n)
	}
	return nil
}

var subscriptionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func checkSubscription(name string) error {
	if name != "" && !subscriptionName.MatchString(name) {
		return status.Errorf(codes.InvalidArgument, "subscription name %.80q: want 1 to 63 of A-Z, a-z, 0-9, ., _ and -, the first a letter or digit", name)
	}
	return nil
}

func (s *Service) client(ctx context.Context) (Client, error) {
	client, err := s.o.Client(ctx)
	if err == nil && client.Name == "" {
		err = errors.New("it has no name")
	}
	if err != nil {
		return Client{}, status.Errorf(codes.Unauthenticated, "who calls is not known: %v", err)
	}
	return client, nil
}

// storeError logs what a client has no business to read.
func (s *Service) storeError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	s.o.Log.Error(what, zap.Error(err))
	return status.Error(codes.Internal, what+": the store failed; the collector's log says why")
}
