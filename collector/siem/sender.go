package siem

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// sender sends with a limit on the time that a message may take. gRPC has none: Send
// waits for the reader for as long as the connection lives, and nothing but the
// handler's return wakes it. So it runs on a goroutine of its own, one per
// subscription, which ends when the handler has returned.
type sender struct {
	limit   time.Duration
	next    chan *alertv1.SubscribeResponse
	results chan error
}

func newSender(stream grpc.ServerStreamingServer[alertv1.SubscribeResponse], limit time.Duration) *sender {
	s := &sender{limit: limit, next: make(chan *alertv1.SubscribeResponse), results: make(chan error, 1)}
	go func() {
		for m := range s.next {
			s.results <- stream.Send(m)
		}
	}()
	return s
}

// close lets the goroutine end; a Send under way ends with the handler.
func (s *sender) close() { close(s.next) }

func (s *sender) send(ctx context.Context, m *alertv1.SubscribeResponse) error {
	timer := time.NewTimer(s.limit)
	defer timer.Stop()
	s.next <- m // its goroutine waits for it: one message is under way at most
	select {
	case err := <-s.results:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &slowError{limit: s.limit, position: m.GetPosition()}
	}
}

// slowError ends a subscription whose reader does not keep up.
type slowError struct {
	limit    time.Duration
	position uint64
}

func (e *slowError) Error() string { return e.GRPCStatus().Message() }

// GRPCStatus makes it the status that the client sees.
func (e *slowError) GRPCStatus() *status.Status {
	return status.Newf(codes.Aborted, "the message of position %d was not taken within %v: subscribe again behind what you have", e.position, e.limit)
}
