package bundle

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/obs"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// Options are what a service needs.
type Options struct {
	Bundles *Bundles
	// Client is the name of who calls. That he may is for the server to check.
	Client func(context.Context) (string, error)
	// Offer tells all agents that are connected of the bundle, and how many they are.
	Offer func() int
	Now   func() time.Time
	Log   *zap.Logger
}

// Service is the part of Management that is about bundles.
type Service struct {
	o       Options
	pushing sync.Mutex // one at a time: the rules of a push are compiled, which takes memory
}

// NewService returns a service, to be registered as a part of Management.
func NewService(o Options) *Service {
	o.Log = o.Log.Named("bundle")
	return &Service{o: o}
}

// PushBundle implements Management.
func (s *Service) PushBundle(ctx context.Context, r *collectorv1.PushBundleRequest) (*collectorv1.PushBundleResponse, error) {
	by, err := s.o.Client(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Unauthenticated, "who calls is not known: %v", err)
	}
	s.pushing.Lock()
	defer s.pushing.Unlock()
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	log, now := s.o.Log.With(zap.String(obs.FieldClient, by)), s.o.Now()
	b, err := check(r.GetBundle(), now)
	if err != nil {
		log.Warn("bundle refused", zap.Error(err))
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	log = log.With(zap.Uint64(obs.FieldBundle, b.Serial), zap.String(obs.FieldVersion, b.Version))
	err = s.o.Bundles.put(ctx, Pushed{Serial: b.Serial, Signed: r.GetBundle(), At: now, By: by})
	var notAbove *notAboveError
	switch {
	case errors.As(err, &notAbove):
		log.Warn("bundle refused", zap.Error(notAbove))
		return nil, status.Error(codes.FailedPrecondition, notAbove.Error())
	case err != nil:
		return nil, s.failed(ctx, log, "keep bundle", err)
	}
	sent := s.o.Offer()
	log.Info("bundle pushed", zap.Int("files", len(b.Files)), zap.Int("bytes", len(r.GetBundle().GetBundle())),
		zap.Binary("key_id", r.GetBundle().GetKeyId()), zap.Int("agents", sent))
	return &collectorv1.PushBundleResponse{Serial: b.Serial, Version: b.Version, SentTo: uint32(sent)}, nil
}

// GetBundle implements Management.
func (s *Service) GetBundle(ctx context.Context, _ *collectorv1.GetBundleRequest) (*collectorv1.GetBundleResponse, error) {
	p, err := s.o.Bundles.Pushed(ctx)
	switch {
	case errors.Is(err, store.ErrNoRows):
		return nil, status.Error(codes.NotFound, "no bundle was pushed")
	case err != nil:
		return nil, s.failed(ctx, s.o.Log, "read bundle", err)
	}
	return &collectorv1.GetBundleResponse{Bundle: p.Signed, Pushed: timestamppb.New(p.At), PushedBy: p.By}, nil
}

// failed logs what a client has no business to read.
func (s *Service) failed(ctx context.Context, log *zap.Logger, what string, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	log.Error(what, zap.Error(err))
	return status.Error(codes.Internal, what+": the store failed; the collector's log says why")
}
