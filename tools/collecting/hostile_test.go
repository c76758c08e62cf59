package collecting

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/internal/tlsconf"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// connections is how often an agent, and a stranger, come in the tests of what that costs.
const connections = 10_000

// refused says how a call ended, in the words that a user sees.
func refused(t *testing.T, err error, want codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%v, want %v", err, want)
	}
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %q", err, word)
		}
	}
}

// TestReconnectsCostNothing: ten thousand streams of one agent, each over a connection of
// its own, and as many handshakes of somebody with another CA's certificate.
func TestReconnectsCostNothing(t *testing.T) {
	n := newNode(t, "cluster: harbour\n").measured()
	n.start()
	defer n.stop()
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	foreign, err := clientOf(t, otherAuthority(t, time.Now), time.Hour).Load()
	if err != nil {
		t.Fatal(err)
	}
	config := a.TLS().Clone()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return foreign.Certificate, nil }
	comers := map[string]func() error{
		"agent": func() error {
			conn, err := grpc.NewClient(n.address, grpc.WithTransportCredentials(credentials.NewTLS(a.TLS())))
			if err != nil {
				return err
			}
			defer conn.Close()
			s, err := sensorv1.NewSensorClient(conn).Stream(t.Context())
			if err != nil {
				return err
			}
			if err := s.Send(&sensorv1.FromAgent{Body: &sensorv1.FromAgent_Hello{Hello: &sensorv1.Hello{BootId: boot, Node: "node-1"}}}); err != nil {
				return err
			}
			_, err = s.Recv() // a newer stream may have taken over: there are several at once
			if code := status.Code(err); code != codes.OK && code != codes.Aborted {
				return err
			}
			return nil
		},
		"stranger": func() error {
			conn, err := tls.Dial("tcp", n.address, config)
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "remote error: tls") {
				return errors.Join(errors.New("let in"), err)
			}
			return nil
		},
	}
	for who, come := range comers {
		knock := func(times int) {
			var all sync.WaitGroup
			left := make(chan struct{}, times)
			for range times {
				left <- struct{}{}
			}
			close(left)
			for range 4 {
				all.Go(func() {
					for range left {
						if err := come(); err != nil {
							t.Errorf("%s: %v", who, err)
							return
						}
					}
				})
			}
			all.Wait()
		}
		quiet := n.footprint(0)
		knock(connections / 20)
		before := n.footprint(quiet.goroutines + 5)
		began := time.Now()
		knock(connections)
		after := n.footprint(before.goroutines + 5)
		t.Logf("%s: %d times in %v, from %+v to %+v", who, connections, time.Since(began).Round(time.Millisecond), before, after)
		if after.files > before.files+5 {
			t.Errorf("%s: from %v to %v descriptors", who, before.files, after.files)
		}
		if after.resident > before.resident+24<<20 {
			t.Errorf("%s: from %v to %v bytes", who, before.resident, after.resident)
		}
	}
	if got := n.metrics()[`seawall_collector_handshakes_refused_total{reason="foreign_ca"}`]; got != connections+connections/20 {
		t.Errorf("%v strangers were counted", got)
	}
}

// otherAuthority is the CA of another installation, of a cluster with the same name.
func otherAuthority(t *testing.T, now func() time.Time) *enrol.Authority {
	t.Helper()
	a, _, err := enrol.OpenAuthority(t.TempDir(), "harbour", now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// clientOf makes files of an operator of a CA.
func clientOf(t *testing.T, a *enrol.Authority, lifetime time.Duration) tlsconf.Files {
	t.Helper()
	c, err := a.IssueClient("somebody", tlsconf.Operator, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	f := tlsconf.Files{Certificate: filepath.Join(folder, "client.crt"), Key: filepath.Join(folder, "client.key"), Roots: filepath.Join(folder, "ca.crt")}
	for path, text := range map[string][]byte{f.Certificate: c.Certificate, f.Key: c.Key, f.Roots: c.Roots} {
		if err := tlsconf.WriteSecret(path, text); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestCertificatesThatAreNotGood: whose CA is another one, is not yet or no more valid; and
// a collector that is another one. TLS tells a client little: the collector's log says it.
func TestCertificatesThatAreNotGood(t *testing.T) {
	n := newNode(t, "cluster: harbour\n").measured()
	n.start()
	defer n.stop()
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	at := func(d time.Duration) *enrol.Authority {
		own, _, err := enrol.OpenAuthority(filepath.Join(n.folder, "data"), "harbour", func() time.Time { return time.Now().Add(d) })
		if err != nil {
			t.Fatal(err)
		}
		return own
	}
	for reason, test := range map[string]struct {
		of    *enrol.Authority
		alert string // what the client is told
		says  string // what the operator is
	}{
		"expired":       {at(-3 * time.Hour), "tls: ", "expired on "},
		"not_yet_valid": {at(3 * time.Hour), "tls: ", "not valid before "},
		"foreign_ca":    {otherAuthority(t, time.Now), "tls: ", "is none of our CAs"},
	} {
		material, err := clientOf(t, test.of, time.Hour).Load()
		if err != nil {
			t.Fatal(err)
		}
		config := a.TLS().Clone() // which trusts the collector
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return material.Certificate, nil }
		_, err = alertv1.NewAlertStreamClient(n.dial(config)).List(t.Context(), &alertv1.ListRequest{})
		refused(t, err, codes.Unavailable, test.alert)
		n.logs(test.says)
		n.until(`seawall_collector_handshakes_refused_total{reason="`+reason+`"}`, func(v float64) bool { return v > 0 })
	}

	// The other way round: an agent of ours comes to another installation.
	other := newNode(t, "cluster: harbour\n")
	other.start()
	defer other.stop()
	up, err := sensorv1.NewSensorClient(other.dial(a.TLS())).Stream(t.Context())
	if err == nil {
		_, err = up.Recv()
	}
	refused(t, err, codes.Unavailable, "certificate of seawall://harbour/collector", "is none of our CAs")
	// Even with its token: the token knows the CA that it is for.
	if _, err := other.enrol(n.must("token create")); err == nil {
		t.Error("enrolled at a collector that the token is not for")
	}
}

// TestTokenIsReplayed: who has used it up is told so.
func TestTokenIsReplayed(t *testing.T) {
	n := newNode(t, "cluster: harbour\n")
	n.start()
	defer n.stop()
	text := n.must("token create", "--uses", "1")
	a, err := n.enrol(text)
	if err != nil {
		t.Fatal(err, n.log())
	}
	token, err := tlsconf.ParseJoinToken(text)
	if err != nil {
		t.Fatal(err)
	}
	config := a.TLS().Clone()
	config.GetClientCertificate = nil
	conn := n.dial(config)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	for proof, says := range map[string]string{token.Proof(): "used up", strings.Repeat("x", 16<<10): "the join token is unknown"} {
		_, err = sensorv1.NewEnrolmentClient(conn).Enrol(t.Context(), &sensorv1.EnrolRequest{
			Proof: &sensorv1.EnrolRequest_JoinToken{JoinToken: proof}, CertificateRequestDer: request})
		refused(t, err, codes.PermissionDenied, says)
	}
}

// TestBatchesThatAreTooLarge: of the protocol's bound and of gRPC's; the agent comes again
// and is served.
func TestBatchesThatAreTooLarge(t *testing.T) {
	n := newNode(t, "cluster: harbour\n").measured()
	n.start()
	defer n.stop()
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	for _, test := range []struct {
		bytes int
		code  codes.Code
		says  string
	}{
		{512<<10 + 1, codes.InvalidArgument, "more than 524288"},
		{1 << 20, codes.ResourceExhausted, "more than 589824"},
	} {
		s := n.stream(a)
		n.send(s, &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Batch{Batch: &sensorv1.Batch{Lane: sensorv1.Lane_LANE_TELEMETRY,
			Items: []*sensorv1.Item{{Sequence: 1, BootId: boot, Record: make([]byte, test.bytes)}}}}})
		_, err := s.Recv()
		refused(t, err, test.code, test.says)
	}
	if _, err := n.report(n.stream(a), 1, recording(t, "sensitive-file-read-positive-cat")...); err != nil {
		t.Error(err, n.log())
	}
	if got := n.metrics()["seawall_collector_ingest_refused_batches_total"]; got != 1 {
		t.Errorf("%v batches were counted as refused", got)
	}
}

// news is a field that this version does not know, as a newer one might send it.
func news(m proto.Message) {
	b := protowire.AppendTag(m.ProtoReflect().GetUnknown(), 4000, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendString(b, "of a newer version"))
}

// TestFieldsOfANewerAgent: at every level they hurt nobody, and what is in a record is in
// the event log as it came.
func TestFieldsOfANewerAgent(t *testing.T) {
	n := newNode(t, "cluster: harbour\n")
	siem := n.client("siem", "viewer")
	n.start()
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	s, err := sensorv1.NewSensorClient(n.dial(a.TLS())).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hello := &sensorv1.Hello{BootId: boot, Node: "node-1", Hooks: []*sensorv1.Hook{{Name: "exec"}}}
	first := &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Hello{Hello: hello}}
	for _, m := range []proto.Message{hello.Hooks[0], hello, first} {
		news(m)
	}
	n.send(s, first)
	if m, err := s.Recv(); err != nil || m.GetWelcome() == nil {
		t.Fatalf("greeted with %v, %v", m, err)
	}
	unknown := &sensorv1.FromAgent{}
	news(unknown) // a message of a kind that is not known
	n.send(s, unknown)

	var record *sensorv1.Record
	for _, r := range recording(t, "sensitive-file-read-positive-cat") {
		if r.GetDetection() != nil {
			record = r
		}
	}
	for _, m := range []proto.Message{record.GetDetection().GetEvent().GetProcess(), record.GetDetection().GetEvent(), record.GetDetection(), record} {
		if !m.ProtoReflect().IsValid() {
			t.Fatalf("the recording has no %T", m)
		}
		news(m)
	}
	data, err := proto.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	kind := protowire.AppendString(protowire.AppendTag(nil, 3000, protowire.BytesType), "a kind of record that is not known")
	batch := &sensorv1.Batch{Lane: sensorv1.Lane_LANE_DETECTIONS, Sent: timestamppb.Now(), Items: []*sensorv1.Item{
		{Sequence: 1, BootId: boot, Record: data}, {Sequence: 2, BootId: boot, Record: kind},
	}}
	m := &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Batch{Batch: batch}}
	for _, level := range []proto.Message{batch.Items[0], batch, m} {
		news(level)
	}
	n.send(s, m)
	if m, err := s.Recv(); err != nil || m.GetAck().GetPosition().GetSequence() != 2 {
		t.Fatalf("acknowledged with %v, %v\n%v", m, err, n.log())
	}
	_, alerts := n.subscribe(siem, "", 0)
	if told := n.alert(alerts); told.Alert.Revision != 1 || len(told.Alert.Evidence) == 0 {
		t.Errorf("told %v", told)
	}
	n.stop()

	log, err := eventlog.Open(t.Context(), eventlog.Options{Dir: filepath.Join(n.folder, "data", "events"), Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, found := context.WithTimeout(t.Context(), waiting)
	defer found()
	kept := 0
	_ = log.Read(ctx, 0, func(m eventlog.Message) error { // ends with ctx
		l := &collectorv1.LogMessage{}
		if err := proto.Unmarshal(m.Data, l); err != nil {
			t.Error(err)
		}
		for _, item := range l.GetEnvelope().GetItems() {
			if bytes.Equal(item.Record, data) || bytes.Equal(item.Record, kind) {
				kept++
			}
		}
		if kept == 2 {
			found()
		}
		return nil
	})
	if kept != 2 {
		t.Errorf("%d of 2 records are in the event log as they came", kept)
	}
}
