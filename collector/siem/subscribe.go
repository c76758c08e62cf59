package siem

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// pageRevisions is how many revisions a subscription holds at once, [MaxPageBytes] apart.
const pageRevisions = 64

// Subscribe implements AlertStream.
func (s *Service) Subscribe(r *alertv1.SubscribeRequest, stream grpc.ServerStreamingServer[alertv1.SubscribeResponse]) error {
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	client, err := s.client(ctx)
	if err == nil {
		err = checkSubscribe(r)
	}
	if err != nil {
		s.metrics.refused.Inc()
		return err
	}
	own, err := s.sessions.start(client.Name, r.GetSubscription(), end)
	if err != nil {
		s.metrics.refused.Inc()
		return err
	}
	defer s.sessions.finish(own)
	if !client.Until.IsZero() {
		until, stop := context.WithDeadlineCause(ctx, client.Until, errExpired)
		defer stop()
		ctx = until
	}
	position, err := s.begin(ctx, client.Name, r)
	if err == nil {
		err = s.follow(ctx, position, r.GetFilter(), stream)
	}
	reason, err := why(ctx, stream.Context(), err)
	s.metrics.ended.WithLabelValues(reason).Inc()
	return err
}

func checkSubscribe(r *alertv1.SubscribeRequest) error {
	if r.GetFromNow() && r.GetAfter() != 0 {
		return status.Error(codes.InvalidArgument, "after and from_now name two beginnings")
	}
	if err := checkSubscription(r.GetSubscription()); err != nil {
		return err
	}
	return checkFilter(r.GetFilter())
}

// begin finds where to begin.
func (s *Service) begin(ctx context.Context, client string, r *alertv1.SubscribeRequest) (uint64, error) {
	var cursor uint64
	known := false
	if r.GetSubscription() != "" {
		var err error
		if cursor, known, err = s.o.Store.Cursor(ctx, client, r.GetSubscription()); err != nil {
			return 0, s.storeError(ctx, "read cursor", err)
		}
	}
	switch {
	case r.GetFromNow() && known:
		return 0, status.Errorf(codes.FailedPrecondition, "subscription %s has a cursor, at %d: it cannot begin now", r.GetSubscription(), cursor)
	case r.GetFromNow():
		return s.beginNow(ctx, client, r.GetSubscription())
	case r.GetAfter() != 0:
		cursor = r.GetAfter()
	}
	return cursor, s.behindLast(ctx, cursor)
}

// beginNow is remembered at once where there is a name: what comes before the first
// acknowledgement is not lost with the connection.
func (s *Service) beginNow(ctx context.Context, client, subscription string) (uint64, error) {
	last, err := s.o.Store.Last(ctx)
	if err != nil {
		return 0, s.storeError(ctx, "read last position", err)
	}
	if subscription == "" {
		return last, nil
	}
	if err := s.roomForCursor(ctx, client); err != nil {
		return 0, err
	}
	if err := s.o.Store.MoveCursor(ctx, client, subscription, last); err != nil {
		return 0, s.storeError(ctx, "move cursor", err)
	}
	return last, nil
}

// follow sends what lies behind the position, and what comes, until ctx ends or the
// reader fails. A reader that has everything is told so at once, later by every IdleAfter
// of silence, with the position up to which nothing passed its filter.
func (s *Service) follow(ctx context.Context, position uint64, filter *alertv1.Filter, stream grpc.ServerStreamingServer[alertv1.SubscribeResponse]) error {
	out := newSender(stream, s.o.SendTimeout)
	defer out.close()
	spoke, greeted := time.Now(), false
	for {
		page, through, missed, err := s.page(ctx, position, filter)
		if err != nil {
			return s.storeError(ctx, "read revisions", err)
		}
		if missed > 0 {
			if err := out.send(ctx, &alertv1.SubscribeResponse{Position: position, Idle: true, Missed: missed}); err != nil {
				return err
			}
		}
		for _, m := range page {
			if err := out.send(ctx, m); err != nil {
				return err
			}
			s.metrics.tell(m.GetAlert())
			spoke = time.Now()
		}
		everything := through == position
		position = through
		if everything && !greeted || time.Since(spoke) >= s.o.IdleAfter {
			if err := out.send(ctx, &alertv1.SubscribeResponse{Position: position, Idle: true}); err != nil {
				return err
			}
			s.metrics.idle.Inc()
			spoke, greeted = time.Now(), greeted || everything
		}
		if everything {
			if err := s.wait(ctx, position, s.o.IdleAfter-time.Since(spoke)); err != nil {
				return s.storeError(ctx, "wait for revisions", err)
			}
		}
	}
}

// errPageFull ends the reading of a page; it never leaves the package.
var errPageFull = errors.New("page is full")

// page reads one page, to where, and how many before it are forgotten.
func (s *Service) page(ctx context.Context, after uint64, filter *alertv1.Filter) (page []*alertv1.SubscribeResponse, through, missed uint64, err error) {
	bytes := 0
	through, missed, err = s.o.Store.Revisions(ctx, after, filter, pageRevisions, func(position uint64, a *alertv1.Alert) error {
		n := proto.Size(a)
		if len(page) > 0 && bytes+n > MaxPageBytes {
			return errPageFull
		}
		bytes += n
		page = append(page, &alertv1.SubscribeResponse{Position: position, Alert: a})
		return nil
	})
	if missed > 0 {
		s.metrics.missed.Add(float64(missed))
		s.o.Log.Warn("subscriber reads too late", zap.Uint64("after", after), zap.Uint64("forgotten", missed))
	}
	if errors.Is(err, errPageFull) {
		return page, page[len(page)-1].GetPosition(), missed, nil
	}
	return page, through, missed, err
}

// wait waits for a revision behind the position, no longer than limit.
func (s *Service) wait(ctx context.Context, position uint64, limit time.Duration) error {
	limited, stop := context.WithTimeout(ctx, limit)
	defer stop()
	err := s.o.Store.Wait(limited, position)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil // silence
	}
	return err
}

// why finds the reason of a subscription's end and the status that says it.
func why(ctx, call context.Context, err error) (reason string, _ error) {
	var slow *slowError
	switch cause := context.Cause(ctx); {
	case call.Err() != nil && status.Code(context.Cause(call)) != codes.Unknown:
		return endServer, context.Cause(call)
	case call.Err() != nil:
		return endClient, status.FromContextError(call.Err()).Err()
	case errors.Is(cause, errReplaced):
		return endReplaced, errReplaced
	case errors.Is(cause, errStopping):
		return endStopping, errStopping
	case errors.Is(cause, errExpired):
		return endExpired, errExpired
	case errors.As(err, &slow):
		return endSlow, err
	}
	return endError, err
}
