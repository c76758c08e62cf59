package audit

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

const (
	// A server counts once it has sent for so long without a pause that is too long: addresses
	// that a translation deals out anew do not.
	settleAfter = 5 * time.Minute
	// A server that is silent for so long while others send is taken to be gone for good, as a
	// control plane's node that was removed.
	forgetAfter = 30 * time.Minute
	// maxServers bounds the servers of a webhook that are told apart.
	maxServers = 64
)

// serverOf names who sends, as far as a connection tells it: the peer's address, and the
// name in its certificate where it showed one. A body does not say.
func serverOf(r *http.Request) string {
	name, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		name = r.RemoteAddr
	}
	var peers []*x509.Certificate
	if r.TLS != nil {
		peers = r.TLS.PeerCertificates
	}
	if len(peers) > 0 {
		name += " (" + cut(peers[0].Subject.CommonName) + ")"
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

// server is one API server that sends to a webhook. What is known of it is what is known of
// a source, and it counts if it is known to come.
func (s *source) server(name string) *source {
	if i := slices.IndexFunc(s.servers, func(one *source) bool { return one.name == name }); i >= 0 {
		return s.servers[i]
	}
	one := newSource(name, KindWebhook, time.Time{})
	if len(s.servers) == maxServers { // the one that was silent for longest goes
		slices.SortFunc(s.servers, func(a, b *source) int { return a.received.Compare(b.received) })
		s.servers = s.servers[1:]
	}
	s.servers = append(s.servers, one)
	return one
}

// served takes in what a server brought.
func (s *source) served(name string, received time.Time, down span, stages []time.Time) {
	if name == "" || len(stages) == 0 {
		return
	}
	one := s.server(name)
	if !one.settled() && received.Sub(one.received) > one.bound(one.silence, minSilence) {
		*one = *newSource(name, KindWebhook, time.Time{})
	}
	one.arrived(received, down, stages)
}

// settled says whether a server counts.
func (s *source) settled() bool { return !s.oldest.IsZero() && s.received.Sub(s.oldest) >= settleAfter }

// gone says whether a server is silent for so long that it is none any more.
func (s *source) gone(one *source) bool { return s.received.Sub(one.received) > forgetAfter }

// known are the servers that count.
func (s *source) known() []*source {
	var known []*source
	for _, one := range s.servers {
		if one.settled() && !s.gone(one) {
			known = append(known, one)
		}
	}
	slices.SortFunc(known, func(a, b *source) int { return strings.Compare(a.name, b.name) })
	return known
}

// quiet are the servers that send no more while others do, though each has its own lease to
// renew. After an outage of all, or a start, each has its time to come again.
func (s *source) quiet(now time.Time) []*source {
	return slices.DeleteFunc(s.known(), func(one *source) bool {
		return now.Sub(later(one.received, s.back)) <= one.bound(one.silence, minSilence)
	})
}

// expire forgets servers that nobody asks for any more; their gaps are too old to change.
func (s *source) expire(now time.Time) {
	s.servers = slices.DeleteFunc(s.servers, func(one *source) bool { return now.Sub(one.received) > horizon })
}

// explainQuiet says for people which servers are silent; empty: none is.
func (s *source) explainQuiet(now time.Time) string {
	var texts []string
	for _, one := range s.quiet(now) {
		texts = append(texts, fmt.Sprintf("nothing has come of the API server at %s since %s; it is taken to be gone at %s",
			one.name, clock(one.received), clock(one.received.Add(forgetAfter))))
	}
	return strings.Join(texts, ", ")
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// serverStates are the servers as they are told.
func (s *source) serverStates(now time.Time) []*collectorv1.AuditServer {
	var out []*collectorv1.AuditServer
	quiet := s.quiet(now)
	for _, one := range s.known() {
		m := &collectorv1.AuditServer{Name: one.name, Condition: collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING, Newest: stamp(one.newest), Received: stamp(one.received)}
		if slices.Contains(quiet, one) {
			m.Condition, m.Forgotten = collectorv1.AuditCondition_AUDIT_CONDITION_STALE, timestamppb.New(one.received.Add(forgetAfter))
		}
		out = append(out, m)
	}
	return out
}

// complete is up to where a source has brought everything: of several servers the one that
// is behind counts.
func (s *source) complete() time.Time {
	least := s.newest
	for _, one := range s.known() {
		least = earlier(least, one.newest)
	}
	return least
}
