package siem

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

func inNamespace(name string) *alertv1.Asset {
	return &alertv1.Asset{Container: &sensorv1.Container{Pod: &sensorv1.Pod{Namespace: name}}}
}

// until is when the certificate of a client ends; the zero map has none.
type until map[string]time.Time

// byMetadata believes what the caller says: here nobody lies.
func (u until) client(ctx context.Context) (Client, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if names := md.Get("client"); len(names) == 1 {
		return Client{Name: names[0], Until: u[names[0]]}, nil
	}
	return Client{}, errors.New("no certificate")
}

// serve runs a service on loopback and returns a client of it.
func serve(t *testing.T, store *memory, o Options) (*Service, alertv1.AlertStreamClient) {
	t.Helper()
	s, c, _ := serveTelling(t, store, o)
	return s, c
}

// serveTelling also tells of every subscription whose handler has returned.
func serveTelling(t *testing.T, store *memory, o Options) (*Service, alertv1.AlertStreamClient, <-chan error) {
	t.Helper()
	returned := make(chan error, 100)
	o.Store, o.Log, o.Metrics = store, zap.NewNop(), prometheus.NewPedanticRegistry()
	if o.Client == nil {
		o.Client = until{}.client
	}
	s := New(o)
	server := grpc.NewServer(grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		err := handler(srv, stream)
		returned <- err
		return err
	}))
	alertv1.RegisterAlertStreamServer(server, s)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		server.Stop()
		done.Wait()
	})
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the test is over
	return s, alertv1.NewAlertStreamClient(conn), returned
}

func as(t *testing.T, client string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "client", client)
}

func subscribe(t *testing.T, ctx context.Context, c alertv1.AlertStreamClient, r *alertv1.SubscribeRequest) grpc.ServerStreamingClient[alertv1.SubscribeResponse] {
	t.Helper()
	stream, err := c.Subscribe(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// next is a short form of the next message: id, revision and position, or idle.
func next(t *testing.T, stream grpc.ServerStreamingClient[alertv1.SubscribeResponse]) string {
	t.Helper()
	m, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if m.GetIdle() {
		if n := m.GetMissed(); n > 0 {
			return fmt.Sprintf("missed %d@%d", n, m.GetPosition())
		}
		return fmt.Sprint("idle@", m.GetPosition())
	}
	return fmt.Sprintf("%s.%d@%d", strings.TrimLeft(m.GetAlert().GetId(), "0"), m.GetAlert().GetRevision(), m.GetPosition())
}

func expect(t *testing.T, stream grpc.ServerStreamingClient[alertv1.SubscribeResponse], want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(t, stream); got != w {
			t.Fatalf("got %s, want %s", got, w)
		}
	}
}

// ended reads until the stream ends and returns why.
func ended(t *testing.T, stream grpc.ServerStreamingClient[alertv1.SubscribeResponse]) *status.Status {
	t.Helper()
	for {
		if _, err := stream.Recv(); err != nil {
			return status.Convert(err)
		}
	}
}

func TestSubscriberGetsWhatIsThereAndWhatComes(t *testing.T) {
	store := newMemory(alertOf(1, 1, "shop"), alertOf(2, 1, "shop"), alertOf(1, 2, "shop"))
	_, c := serve(t, store, Options{})
	stream := subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{})
	expect(t, stream, "1.1@1", "2.1@2", "1.2@3", "idle@3")
	store.add(alertOf(2, 2, "shop"))
	expect(t, stream, "2.2@4")

	expect(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{After: 3}), "2.2@4", "idle@4")
	now := subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{FromNow: true})
	expect(t, now, "idle@4")
	store.add(alertOf(3, 1, "shop"))
	expect(t, now, "3.1@5")
}

// TestLatencyIsOfEachDelivery: each subscriber that gets a decided revision counts, with
// how old it is by then; growth and what a filter leaves out do not.
func TestLatencyIsOfEachDelivery(t *testing.T) {
	store := newMemory()
	s, c := serve(t, store, Options{})
	store.add(&alertv1.Alert{Id: "a", Revision: 1, Kind: "escape", DecidedTime: timestamppb.New(time.Now().Add(-time.Hour))},
		&alertv1.Alert{Id: "a", Revision: 2, Kind: "escape"},
		&alertv1.Alert{Id: "b", Revision: 1, Kind: "web-shell", DecidedTime: timestamppb.Now()})
	for _, kinds := range [][]string{nil, {"web-shell"}} {
		stream := subscribe(t, as(t, "soc"), c, &alertv1.SubscribeRequest{Filter: &alertv1.Filter{Kinds: kinds}})
		for !strings.HasPrefix(next(t, stream), "idle") {
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.metrics.latency)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := families[0].GetMetric()[0].GetHistogram()
	if n, sum := h.GetSampleCount(), h.GetSampleSum(); n != 3 || sum < 3600 || sum > 3660 {
		t.Errorf("%d deliveries that took %v s together", n, sum)
	}
	if last := h.GetBucket()[len(h.GetBucket())-1]; last.GetCumulativeCount() != 2 {
		t.Errorf("%d within %v s", last.GetCumulativeCount(), last.GetUpperBound())
	}
}

func TestFilteredCursorMoves(t *testing.T) {
	store := newMemory()
	for i := range 50 {
		store.add(alertOf(i+1, 1, "other"))
	}
	store.scan = 7 // a store may look at some only
	_, c := serve(t, store, Options{IdleAfter: time.Millisecond})
	stream := subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{Filter: &alertv1.Filter{Namespaces: []string{"shop"}}})
	for got := ""; got != "idle@50"; got = next(t, stream) {
		if got != "" && !strings.HasPrefix(got, "idle@") {
			t.Fatalf("got %s", got)
		}
	}
	store.add(alertOf(60, 1, "other"))
	for next(t, stream) != "idle@51" {
	}
	store.add(alertOf(61, 1, "shop"))
	for next(t, stream) != "3d.1@52" {
	}
}

func TestCursorSurvivesAndNeverMovesBack(t *testing.T) {
	store := newMemory(alertOf(1, 1, ""), alertOf(2, 1, ""), alertOf(3, 1, ""))
	_, c := serve(t, store, Options{})
	acknowledge := func(client string, position uint64) {
		t.Helper()
		if _, err := c.Acknowledge(as(t, client), &alertv1.AcknowledgeRequest{Subscription: "siem", Position: position}); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{Subscription: "siem"}), "1.1@1")
	acknowledge("a", 2)
	acknowledge("a", 1)
	expect(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{Subscription: "siem"}), "3.1@3", "idle@3")
	// Another client's subscription of that name is another.
	expect(t, subscribe(t, as(t, "b"), c, &alertv1.SubscribeRequest{Subscription: "siem"}), "1.1@1")
	// A position beats the cursor, and leaves it alone.
	expect(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{Subscription: "siem", After: 1}), "2.1@2")
	expect(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{Subscription: "siem"}), "3.1@3")
}

func TestBeginningNowIsRemembered(t *testing.T) {
	store := newMemory(alertOf(1, 1, ""))
	_, c := serve(t, store, Options{})
	r := &alertv1.SubscribeRequest{Subscription: "siem", FromNow: true}
	expect(t, subscribe(t, as(t, "a"), c, r), "idle@1")
	store.add(alertOf(2, 1, ""))
	if got := ended(t, subscribe(t, as(t, "a"), c, r)); got.Code() != codes.FailedPrecondition {
		t.Errorf("a subscription with a cursor began anew: %v", got)
	}
	r.FromNow = false
	expect(t, subscribe(t, as(t, "a"), c, r), "2.1@2")
}

func TestNewReaderTakesASubscriptionOver(t *testing.T) {
	s, c := serve(t, newMemory(alertOf(1, 1, "")), Options{PerClient: 1})
	r := &alertv1.SubscribeRequest{Subscription: "siem"}
	old := subscribe(t, as(t, "a"), c, r)
	expect(t, old, "1.1@1", "idle@1")
	expect(t, subscribe(t, as(t, "a"), c, r), "1.1@1", "idle@1")
	if got := ended(t, old); got.Code() != codes.Aborted || !strings.Contains(got.Message(), "took this subscription over") {
		t.Errorf("the older reader: %v", got)
	}
	if got := s.sessions.len(); got != 1 {
		t.Errorf("%d sessions are open", got)
	}
}

func TestSubscriptionsAreCounted(t *testing.T) {
	s, c, returned := serveTelling(t, newMemory(), Options{PerClient: 2, MaxSubscriptions: 3})
	ctx, cancel := context.WithCancel(as(t, "a"))
	expect(t, subscribe(t, ctx, c, &alertv1.SubscribeRequest{}), "idle@0")
	expect(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{}), "idle@0")
	if got := ended(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{})); got.Code() != codes.ResourceExhausted {
		t.Errorf("a third of one client: %v", got)
	}
	expect(t, subscribe(t, as(t, "b"), c, &alertv1.SubscribeRequest{}), "idle@0")
	if got := ended(t, subscribe(t, as(t, "c"), c, &alertv1.SubscribeRequest{})); got.Code() != codes.ResourceExhausted {
		t.Errorf("a fourth of all: %v", got)
	}
	cancel()
	for err := range returned {
		if status.Code(err) == codes.Canceled { // the first one's place is free
			break
		}
	}
	expect(t, subscribe(t, as(t, "c"), c, &alertv1.SubscribeRequest{}), "idle@0")
	if got := testutil.ToFloat64(s.metrics.refused); got != 2 {
		t.Errorf("%v subscriptions are counted as refused", got)
	}
}

func TestSlowReaderIsEndedAndCostsAPage(t *testing.T) {
	store := newMemory()
	for i := range 2000 {
		a := alertOf(i+1, 1, "")
		a.Summary = strings.Repeat("x", 32<<10)
		store.add(a)
	}
	_, c, returned := serveTelling(t, store, Options{SendTimeout: 50 * time.Millisecond})
	stream := subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{})
	expect(t, stream, "1.1@1")
	if err := <-returned; status.Code(err) != codes.Aborted { // it reads no more
		t.Errorf("the handler returned %v", err)
	}
	store.mu.Lock()
	visited := store.visited
	store.mu.Unlock()
	if visited > 2*pageRevisions+2 {
		t.Errorf("%d revisions were read for a reader that took one", visited)
	}
	if got := ended(t, stream); got.Code() != codes.Aborted || !strings.Contains(got.Message(), "was not taken within 50ms") {
		t.Errorf("ended with %v", got)
	}
}

func TestPageIsBoundedInBytes(t *testing.T) {
	store := newMemory()
	for i := range 10 {
		a := alertOf(i+1, 1, "")
		a.Summary = strings.Repeat("x", 900<<10)
		store.add(a)
	}
	s, c := serve(t, store, Options{})
	page, through, _, err := s.page(t.Context(), 0, nil)
	if err != nil || len(page) != 2 || through != 2 {
		t.Errorf("%d revisions through %d, %v", len(page), through, err)
	}
	stream := subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{After: 8})
	expect(t, stream, "9.1@9", "a.1@10", "idle@10")
}

// Who reads too late is told how much is gone.
func TestWhatWasForgottenIsSaid(t *testing.T) {
	store := newMemory(alertOf(1, 1, ""), alertOf(2, 1, ""), alertOf(3, 1, ""))
	store.forgotten = 2
	s, c := serve(t, store, Options{})
	expect(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{}), "missed 2@0", "3.1@3", "idle@3")
	if got := testutil.ToFloat64(s.metrics.missed); got != 2 {
		t.Errorf("%v revisions are counted as missed", got)
	}
}

func TestSubscriptionEndsWithTheCertificate(t *testing.T) {
	clients := until{"a": time.Now().Add(50 * time.Millisecond)}
	_, c := serve(t, newMemory(), Options{Client: clients.client})
	if got := ended(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{})); got.Code() != codes.Unauthenticated || !strings.Contains(got.Message(), "certificate has ended") {
		t.Errorf("ended with %v", got)
	}
}

func TestCloseEndsAll(t *testing.T) {
	s, c := serve(t, newMemory(), Options{})
	stream := subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{})
	expect(t, stream, "idle@0")
	s.Close()
	if got := ended(t, stream); got.Code() != codes.Unavailable {
		t.Errorf("ended with %v", got)
	}
	if got := ended(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{})); got.Code() != codes.Unavailable {
		t.Errorf("one after it: %v", got)
	}
}

func TestListPagesStandStill(t *testing.T) {
	store := newMemory()
	for i := range 5 {
		store.add(alertOf(i+1, 1, "shop"))
	}
	_, c := serve(t, store, Options{})
	list := func(token string) *alertv1.ListResponse {
		t.Helper()
		r, err := c.List(as(t, "a"), &alertv1.ListRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var got []string
	for token, i := "", 0; i == 0 || token != ""; i++ {
		page := list(token)
		for _, a := range page.GetAlerts() {
			got = append(got, fmt.Sprintf("%s.%d", strings.TrimLeft(a.GetId(), "0"), a.GetRevision()))
		}
		token = page.GetNextPageToken()
		// What comes meanwhile moves nobody across a page's edge.
		store.add(alertOf(1, i+2, "shop"), alertOf(10+i, 1, "shop"))
	}
	if got := strings.Join(got, " "); got != "5.1 4.1 3.1 2.1 1.3" {
		t.Errorf("listed %s", got)
	}
}

func TestErrorsAreClear(t *testing.T) {
	store := newMemory(alertOf(1, 1, ""))
	_, c := serve(t, store, Options{})
	first, err := c.List(as(t, "a"), &alertv1.ListRequest{PageSize: 1})
	if err != nil || first.GetNextPageToken() != "" || len(first.GetAlerts()) != 1 {
		t.Fatalf("%v, %v", first, err)
	}
	store.add(alertOf(2, 1, ""))
	if first, err = c.List(as(t, "a"), &alertv1.ListRequest{PageSize: 1}); err != nil {
		t.Fatal(err)
	}
	list := func(client string, r *alertv1.ListRequest) error {
		_, err := c.List(as(t, client), r)
		return err
	}
	open := func(r *alertv1.SubscribeRequest) error {
		return ended(t, subscribe(t, as(t, "a"), c, r)).Err()
	}
	acknowledge := func(name string, position uint64) error {
		_, err := c.Acknowledge(as(t, "a"), &alertv1.AcknowledgeRequest{Subscription: name, Position: position})
		return err
	}
	get := func(ctx context.Context, id string) error {
		_, err := c.Get(ctx, &alertv1.GetRequest{Id: id})
		return err
	}
	many := make([]string, maxFilterValues+1)
	token := first.GetNextPageToken()
	for _, test := range []struct {
		name string
		err  error
		code codes.Code
		text string
	}{
		{"nobody", get(t.Context(), fmt.Sprintf("%032x", 1)), codes.Unauthenticated, "no certificate"},
		{"client without a name", get(as(t, ""), fmt.Sprintf("%032x", 1)), codes.Unauthenticated, "no name"},
		{"no id", get(as(t, "a"), "1"), codes.InvalidArgument, "no alert id"},
		{"not there", get(as(t, "a"), fmt.Sprintf("%032x", 9)), codes.NotFound, "there is no alert"},
		{"large page", list("a", &alertv1.ListRequest{PageSize: 1001}), codes.InvalidArgument, "more than 1000"},
		{"token made up", list("a", &alertv1.ListRequest{PageToken: strings.Repeat("A", 32)}), codes.InvalidArgument, "begin again"},
		{"token of another client", list("b", &alertv1.ListRequest{PageToken: token}), codes.InvalidArgument, "begin again"},
		{"token of another filter", list("a", &alertv1.ListRequest{PageToken: token, Filter: &alertv1.Filter{Kinds: []string{"escape"}}}), codes.InvalidArgument, "begin again"},
		{"token of this list", list("a", &alertv1.ListRequest{PageToken: token}), codes.OK, ""},
		{"severity", list("a", &alertv1.ListRequest{Filter: &alertv1.Filter{MinimumSeverity: 77}}), codes.InvalidArgument, "no severity 77"},
		{"many kinds", open(&alertv1.SubscribeRequest{Filter: &alertv1.Filter{Kinds: many}}), codes.InvalidArgument, "65 kinds"},
		{"long cluster", open(&alertv1.SubscribeRequest{Filter: &alertv1.Filter{Clusters: []string{strings.Repeat("x", 254)}}}), codes.InvalidArgument, "254 bytes"},
		{"two beginnings", open(&alertv1.SubscribeRequest{After: 1, FromNow: true}), codes.InvalidArgument, "two beginnings"},
		{"another store's position", open(&alertv1.SubscribeRequest{After: 3}), codes.OutOfRange, "behind the last one, 2"},
		{"name", open(&alertv1.SubscribeRequest{Subscription: "../x"}), codes.InvalidArgument, "subscription name"},
		{"no name", acknowledge("", 1), codes.InvalidArgument, "named subscription"},
		{"name of a cursor", acknowledge("a b", 1), codes.InvalidArgument, "subscription name"},
		{"future", acknowledge("siem", 3), codes.OutOfRange, "behind the last one, 2"},
	} {
		if s := status.Convert(test.err); s.Code() != test.code || !strings.Contains(s.Message(), test.text) {
			t.Errorf("%s: %v %q, want %v %q", test.name, s.Code(), s.Message(), test.code, test.text)
		}
	}
}

func TestCursorsAreCounted(t *testing.T) {
	store := newMemory(alertOf(1, 1, ""))
	_, c := serve(t, store, Options{})
	acknowledge := func(client, name string) error {
		_, err := c.Acknowledge(as(t, client), &alertv1.AcknowledgeRequest{Subscription: name, Position: 1})
		return err
	}
	for i := range MaxCursors {
		if err := acknowledge("a", fmt.Sprint("s", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := acknowledge("a", "one-more"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more: %v", err)
	}
	r := &alertv1.SubscribeRequest{Subscription: "one-more", FromNow: true}
	if got := ended(t, subscribe(t, as(t, "a"), c, r)); got.Code() != codes.ResourceExhausted {
		t.Errorf("one more from now: %v", got)
	}
	if err := errors.Join(acknowledge("a", "s0"), acknowledge("b", "one-more")); err != nil {
		t.Errorf("one that is there, and another client's: %v", err)
	}
}

func TestStoreErrorsStayInside(t *testing.T) {
	store := newMemory(alertOf(1, 1, ""))
	s, c := serve(t, store, Options{})
	store.fails = errors.New("disk /data/secret-place is gone")
	if got := ended(t, subscribe(t, as(t, "a"), c, &alertv1.SubscribeRequest{})); got.Code() != codes.Internal || strings.Contains(got.Message(), "secret-place") {
		t.Errorf("subscribe: %v", got)
	}
	if _, err := c.List(as(t, "a"), &alertv1.ListRequest{}); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret-place") {
		t.Errorf("list: %v", err)
	}
	if got := testutil.ToFloat64(s.metrics.ended.WithLabelValues(endError)); got != 1 {
		t.Errorf("%v subscriptions are counted as failed", got)
	}
}

func FuzzPageToken(f *testing.F) {
	tokens := newTokens()
	good, err := tokens.seal("7", "a", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, "a", "7")
	f.Add(good+"\n", "", "")
	f.Add(strings.Repeat("\n", 32), "a", strings.Repeat("9", maxStoreToken+1))
	f.Fuzz(func(t *testing.T, sealed, client, own string) {
		if got, err := tokens.open(sealed, client, nil); err == nil && (sealed != good || client != "a" || got != "7") {
			t.Fatalf("token %q of %q was never given and holds %q", sealed, client, got)
		}
		sealed, err := tokens.seal(own, client, nil)
		if err != nil {
			if len(own) <= maxStoreToken {
				t.Fatal(err)
			}
			return
		}
		if got, err := tokens.open(sealed, client, nil); err != nil || got != own {
			t.Fatalf("%q became %q, then %q, %v", own, sealed, got, err)
		}
		if _, err := newTokens().open(sealed, client, nil); err == nil {
			t.Fatalf("token %q is good under another key", sealed)
		}
	})
}
