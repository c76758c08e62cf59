package enrolment

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	agent "github.com/seawall-security/seawall/agent/enrol"
	collector "github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/internal/tlsconf"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

var today = time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)

type clock struct {
	mu   sync.Mutex
	time time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

// node is a collector with what it keeps, which may stop and start.
type node struct {
	*clock
	t       *testing.T
	dir     string
	store   *store
	tokens  *collector.Tokens
	log     *zap.Logger
	logs    *observer.ObservedLogs
	address string
	lose    atomic.Int32 // answers that do not get through
	stop    func()
}

func newNode(t *testing.T, c *clock) *node {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	n := &node{clock: c, t: t, dir: t.TempDir(), store: newStore(), log: zap.New(core), logs: logs}
	n.start("127.0.0.1:0")
	t.Cleanup(func() { n.stop() })
	return n
}

func (n *node) start(address string) {
	n.t.Helper()
	authority, _, err := collector.OpenAuthority(n.dir, "prod", n.now)
	if err != nil {
		n.t.Fatal(err)
	}
	own, err := collector.NewServer(authority, nil, collector.Sleep, n.log)
	if err != nil {
		n.t.Fatal(err)
	}
	n.tokens = collector.NewTokens(n.store, authority)
	service, err := collector.NewService(collector.Options{
		Authority: authority, Tokens: n.tokens, Agents: n.store, Limits: collector.DefaultLimits,
		Metrics: prometheus.NewRegistry(), Log: n.log,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	peers := tlsconf.Peers{Cluster: "prod", Roles: []tlsconf.Role{tlsconf.Agent}, Optional: true}
	lose := func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		answer, err := handle(ctx, request)
		if err == nil && n.lose.Add(-1) >= 0 {
			return nil, status.Error(codes.Unavailable, "lost on its way")
		}
		return answer, err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(lose), grpc.Creds(tlsconf.ServerCredentials(
		tlsconf.ServerConfig(own.Source(), peers, n.now), func(net.Addr, error) {})))
	sensorv1.RegisterEnrolmentServer(server, service)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	n.stop = func() {
		server.Stop()
		if err := <-served; err != nil {
			n.t.Error(err)
		}
	}
}

func (n *node) token(uses int) *tlsconf.JoinToken {
	n.t.Helper()
	token, err := n.tokens.Make(n.t.Context(), time.Hour, uses)
	if err != nil {
		n.t.Fatal(err)
	}
	// As a person carries it.
	carried, err := tlsconf.ParseJoinToken(token.Reveal())
	if err != nil {
		n.t.Fatal(err)
	}
	return &carried
}

// live opens an agent and runs it until the clock has reached a time, or ends it with an error.
func (n *node) live(o agent.Options, until time.Time) (*agent.Agent, *observer.ObservedLogs, error) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	defer cancel()
	core, logs := observer.New(zap.InfoLevel)
	o.Collector, o.Now, o.Random, o.Log = n.address, n.now, func() float64 { return 0.5 }, zap.New(core)
	o.Wait = func(ctx context.Context, d time.Duration) error {
		if n.advance(d); !n.now().Before(until) {
			cancel()
		}
		return ctx.Err()
	}
	a, err := agent.Open(o)
	if err != nil {
		n.t.Fatal(err)
	}
	return a, logs, a.Run(ctx)
}

func name(t *testing.T, a *agent.Agent) string {
	t.Helper()
	id, ok := a.Identity()
	if !ok {
		t.Fatal("the agent has not enrolled")
	}
	return id.Name
}

// speaks opens a connection as the uplink does.
func speaks(t *testing.T, n *node, a *agent.Agent) error {
	t.Helper()
	conn, err := grpc.NewClient(n.address, grpc.WithTransportCredentials(credentials.NewTLS(a.TLS())))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = sensorv1.NewEnrolmentClient(conn).Renew(t.Context(), new(sensorv1.RenewRequest))
	if status.Code(err) == codes.InvalidArgument { // it knows us, and wants a request
		return nil
	}
	return err
}

func TestLifeOfAnAgent(t *testing.T) {
	n := newNode(t, &clock{time: today})
	o := agent.Options{StateDir: t.TempDir(), JoinToken: n.token(1), Node: "node-1"}

	n.lose.Store(1) // the token has one use, and its answer is lost
	a, logs, err := n.live(o, today.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	id, key := name(t, a), a.RedactionKey()
	if logs.FilterMessage("certificate wanted").Len() != 1 || len(n.store.enrolments) != 1 || len(key) != 32 {
		t.Errorf("%d attempts failed, enrolled %v", logs.FilterMessage("certificate wanted").Len(), n.store.enrolments)
	}
	if err := speaks(t, n, a); err != nil {
		t.Errorf("uplink: %v", err)
	}

	// Three days, in which both sides restart and one more answer is lost.
	for day := range 3 {
		n.stop()
		n.start(n.address)
		n.lose.Store(int32(day % 2))
		if a, _, err = n.live(o, today.Add(time.Duration(day+1)*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := name(t, a); got != id || string(a.RedactionKey()) != string(key) {
			t.Errorf("day %d: agent %s, was %s", day, got, id)
		}
		if err := speaks(t, n, a); err != nil {
			t.Errorf("day %d: uplink: %v", day, err)
		}
	}
	if issued := n.logs.FilterMessage("certificate issued").Len(); issued < 6 || issued > 8 { // 2 to enrol, 4 or 5 renewals, 1 lost
		t.Errorf("%d certificates were issued", issued)
	}

	// Its one-use token lets nobody else in.
	thief := agent.Options{StateDir: t.TempDir(), JoinToken: n.token(1)}
	if _, _, err := n.live(thief, n.now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	thief.StateDir = t.TempDir()
	_, logs, _ = n.live(thief, n.now().Add(time.Minute))
	if said(logs, "the join token is used up") == 0 {
		t.Errorf("replayed: %v", logs.All())
	}

	// Revoked, it runs out.
	n.store.revoke(id)
	_, logs, err = n.live(agent.Options{StateDir: o.StateDir}, n.now().Add(72*time.Hour))
	if said(logs, "the agent is revoked") == 0 {
		t.Errorf("revoked: %v", logs.All())
	}
	if err == nil || !strings.Contains(err.Error(), id+" expired on ") || !strings.Contains(err.Error(), "make a join token") {
		t.Errorf("in the end: %v", err)
	}
	if err := speaks(t, n, a); err == nil {
		t.Error("an expired certificate is let in")
	}
	// With a new token it is another agent.
	o.JoinToken = n.token(1)
	if a, _, err = n.live(o, n.now().Add(time.Minute)); err != nil || name(t, a) == id {
		t.Errorf("enrolled anew: %v, as %s", err, name(t, a))
	}
}

func said(logs *observer.ObservedLogs, text string) (times int) {
	for _, entry := range logs.FilterMessage("certificate wanted").All() {
		if strings.Contains(fmt.Sprint(entry.ContextMap()["error"]), text) {
			times++
		}
	}
	return times
}

// A collector of another CA, though of the same cluster's name, on the same address.
func TestAnotherCollectorIsNotOurs(t *testing.T) {
	c := &clock{time: today}
	ours, other := newNode(t, c), newNode(t, c)
	o := agent.Options{StateDir: t.TempDir(), JoinToken: ours.token(2)}
	_, logs, err := other.live(o, c.now().Add(time.Minute))
	if err != nil || said(logs, "its CA is not the one of the join token") == 0 {
		t.Errorf("first contact: %v, %v", err, logs.All())
	}
	a, _, err := ours.live(o, c.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := speaks(t, other, a); err == nil || !strings.Contains(err.Error(), "is none of our CAs") {
		t.Errorf("uplink: %v", err)
	}
	if len(other.store.enrolments) != 0 || other.logs.FilterMessage("certificate refused").Len() != 0 {
		t.Error("the other collector was asked")
	}
}

// A cluster that starts at once, by one token.
func TestManyEnrolAtOnce(t *testing.T) {
	n := newNode(t, &clock{time: today})
	token := n.token(40)
	ids := make(chan string, 40)
	var all sync.WaitGroup
	for range 40 {
		o := agent.Options{
			StateDir: t.TempDir(), Collector: n.address, JoinToken: token, Now: n.now, Random: func() float64 { return 0.5 }, Log: zap.NewNop(),
		}
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o.Wait = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
			a, err := agent.Open(o)
			if err == nil {
				err = a.Run(ctx)
			}
			if id, ok := a.Identity(); ok && err == nil {
				ids <- id.Name
			} else {
				t.Errorf("not enrolled: %v", err)
			}
		})
	}
	all.Wait()
	close(ids)
	different := map[string]bool{}
	for id := range ids {
		different[id] = true
	}
	if len(different) != 40 {
		t.Errorf("%d agents", len(different))
	}
}
