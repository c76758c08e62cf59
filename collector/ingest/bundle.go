package ingest

import (
	"fmt"
	"sync"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/seawall-security/seawall/internal/obs"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bundle is what all agents are to have. It must not be changed.
type Bundle struct {
	Serial  uint64
	message *sensorv1.ToAgent

	// encoded is made once, for all streams: thousands of agents that are slow to take
	// a bundle of megabytes share the same bytes.
	encode  sync.Once
	encoded grpc.PreparedMsg
	failed  error
}

// NewBundle returns a bundle to be sent.
func NewBundle(serial uint64, signed *sensorv1.SignedBundle) *Bundle {
	return &Bundle{Serial: serial, message: &sensorv1.ToAgent{Body: &sensorv1.ToAgent_Bundle{Bundle: signed}}}
}

// send sends it on a stream. All streams of a server encode in the same way.
func (b *Bundle) send(stream grpc.ServerStream) error {
	b.encode.Do(func() { b.failed = b.encoded.Encode(stream, b.message) })
	if b.failed != nil {
		return fmt.Errorf("encode bundle %d: %w", b.Serial, b.failed)
	}
	return stream.SendMsg(&b.encoded)
}

// bring sends the agent the bundle, unless it said that it has it or was sent it on this
// stream already: one that refuses a bundle is not sent it again with every status.
func (s *Server) bring(stream grpc.ServerStream, session *session, log *zap.Logger) error {
	b := s.options.Bundle()
	if b == nil || b.Serial == session.has || b.Serial == session.sent {
		return nil
	}
	session.sent = b.Serial
	log.Debug("bundle sent", zap.Uint64(obs.FieldBundle, b.Serial))
	return b.send(stream)
}

// Offer has every agent that is connected brought the bundle that Options.Bundle now
// returns, and returns how many they are.
func (s *Server) Offer() int { return s.sessions.offer() }
