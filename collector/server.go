package main

import (
	"context"
	"errors"
	"net"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/seawall-security/seawall/collector/connections"
	"github.com/seawall-security/seawall/internal/bundle"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/tlsconf"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// callers are the roles that may call a service. Enrolment is for those who have no
// certificate yet, and looks itself at who renews one. What is not here nobody may call.
var callers = map[string][]tlsconf.Role{
	sensorv1.Enrolment_ServiceDesc.ServiceName:     nil,
	sensorv1.Sensor_ServiceDesc.ServiceName:        {tlsconf.Agent},
	alertv1.AlertStream_ServiceDesc.ServiceName:    {tlsconf.Client},
	collectorv1.Management_ServiceDesc.ServiceName: {tlsconf.Client},
}

// looks are the methods of clients that change nothing but a reader's own place: viewers
// may call these, operators all.
var looks = map[string]bool{
	alertv1.AlertStream_Subscribe_FullMethodName:      true,
	alertv1.AlertStream_Acknowledge_FullMethodName:    true,
	alertv1.AlertStream_List_FullMethodName:           true,
	alertv1.AlertStream_Get_FullMethodName:            true,
	collectorv1.Management_ListAgents_FullMethodName:  true,
	collectorv1.Management_GetBundle_FullMethodName:   true,
	collectorv1.Management_AuditStatus_FullMethodName: true,
	collectorv1.Management_AuditProbe_FullMethodName:  true,
}

// Bounds of a connection, and why.
const (
	// A bundle is the largest thing that anybody sends.
	maxMessageBytes = bundle.MaxBytes + 64<<10
	// A SIEM has eight subscriptions and asks beside them; an agent has one stream.
	maxStreams     = 64
	maxHeaderBytes = 16 << 10
	// A handshake that takes longer is none of ours.
	handshakeTimeout = 10 * time.Second
	// A connection without any call, such as a stranger's.
	idleTimeout = 5 * time.Minute
	// A dead peer is known after a minute, though the network never said so.
	pingAfter, pingTimeout = 40 * time.Second, 20 * time.Second
	minPing                = 10 * time.Second
	// Calls get so long to end once the collector stops.
	stopGrace = 5 * time.Second
)

// door lets callers in.
type door struct {
	now     func() time.Time
	guard   *guard
	gate    *connections.Gate
	log     *zap.Logger
	refused *prometheus.CounterVec
}

func newDoor(now func() time.Time, guard *guard, gate *connections.Gate, log *zap.Logger, metrics prometheus.Registerer) *door {
	d := &door{
		now: now, guard: guard, gate: gate,
		log: sampled(log.Named("server")),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seawall_collector_handshakes_refused_total", Help: "TLS handshakes that failed, by what was wrong with the certificate; other: something else.",
		}, []string{"reason"}),
	}
	metrics.MustRegister(d.refused, gate)
	return d
}

// sampled is a log for what anybody can have said often.
func sampled(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 10, 0)
	}))
}

// server makes a gRPC server for all services; own is what it shows and trusts, grace how
// long after its end an agent's certificate can still be renewed.
func (d *door) server(own *tlsconf.Source, cluster string, grace time.Duration) *grpc.Server {
	peers := tlsconf.Peers{Cluster: cluster, Roles: []tlsconf.Role{tlsconf.Agent, tlsconf.Client}, Optional: true, Grace: grace}
	return grpc.NewServer(
		grpc.Creds(d.gate.Credentials(tlsconf.ServerCredentials(tlsconf.ServerConfig(own, peers, d.now), d.refuse))),
		grpc.UnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if _, err := d.admit(ctx, info.FullMethod); err != nil {
				return nil, err
			}
			return handle(ctx, request)
		}),
		grpc.StreamInterceptor(func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			peer, err := d.admit(stream.Context(), info.FullMethod)
			if err != nil {
				return err
			}
			ctx, done := d.guard.watch(stream.Context(), peer)
			defer done()
			if peer.Role == tlsconf.Agent { // AlertStream ends with the certificate by itself
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, peer.Certificate.NotAfter.Sub(d.now()), errExpired)
				defer cancel()
			}
			return handle(service, &bounded{stream, ctx})
		}),
		grpc.MaxRecvMsgSize(maxMessageBytes), grpc.MaxConcurrentStreams(maxStreams), grpc.MaxHeaderListSize(maxHeaderBytes), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout, Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
	)
}

var errExpired = status.Error(codes.Unauthenticated, "the certificate has expired: connect with its successor")

// bounded is a stream that ends with its caller's right to it.
type bounded struct {
	grpc.ServerStream
	ctx context.Context
}

func (b *bounded) Context() context.Context { return b.ctx }

// admit says who calls, or why he may not. Enrolment's caller is nobody.
func (d *door) admit(ctx context.Context, method string) (tlsconf.Peer, error) {
	roles, known := callers[strings.TrimPrefix(path.Dir(method), "/")]
	switch {
	case !known:
		return tlsconf.Peer{}, status.Error(codes.PermissionDenied, "nobody may call this service")
	case len(roles) == 0:
		return tlsconf.Peer{}, nil
	}
	peer, err := tlsconf.PeerOf(ctx, roles...)
	if err != nil {
		var refused *tlsconf.CertificateError
		if errors.As(err, &refused) && refused.Reason == tlsconf.WrongRole {
			return tlsconf.Peer{}, status.Error(codes.PermissionDenied, err.Error())
		}
		return tlsconf.Peer{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if d.now().After(peer.Certificate.NotAfter) { // on a connection that is older
		return tlsconf.Peer{}, errExpired
	}
	if peer.Role == tlsconf.Client && peer.Access != tlsconf.Operator && !looks[method] {
		return tlsconf.Peer{}, status.Errorf(codes.PermissionDenied, "%s is a %s: only an operator may do this", peer.Name, peer.Access)
	}
	return peer, d.guard.admit(peer)
}

// refuse books a handshake that failed.
func (d *door) refuse(from net.Addr, err error) {
	reason := "other"
	var refused *tlsconf.CertificateError
	if errors.As(err, &refused) {
		reason = string(refused.Reason)
	}
	d.refused.WithLabelValues(reason).Inc()
	d.log.Warn("handshake failed", zap.Stringer(obs.FieldAddress, from), zap.Error(err))
}

// serve answers until ctx ends. Then nothing new is taken, whoever waits is told by end,
// and calls get stopGrace.
func serve(ctx context.Context, server *grpc.Server, listener net.Listener, end func()) error {
	ended := make(chan struct{})
	stopped := context.AfterFunc(ctx, func() {
		defer close(ended)
		end()
		late := time.AfterFunc(stopGrace, server.Stop)
		defer late.Stop()
		server.GracefulStop()
	})
	err := server.Serve(listener)
	if stopped() { // it ended by itself
		server.Stop()
		return err
	}
	<-ended
	return nil
}
