package audit

import (
	"context"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

const (
	// probeMark begins what a request that is made to be found has in its URI.
	probeMark = "seawall-verify-"
	maxProbes = 256
	// Longer texts of a probe's event are cut: a client chose them.
	maxProbeText = 512
)

var nonce = regexp.MustCompile(`^[a-z0-9-]{8,64}$`)

// probe remembers an event if its request was made to be found. h.mu is held.
func (h *Health) probe(source string, received time.Time, e *auditv1.Event) {
	if !isProbe(e) {
		return
	}
	p := &collectorv1.ProbeEvent{
		Source: source, Received: timestamppb.New(received), AuditId: e.AuditId, Stage: e.Stage, Level: e.Level, Verb: cut(e.Verb),
		RequestUri: cut(e.RequestUri), Code: e.Code, StageTime: e.StageTime,
		RequestBody: len(e.Request) > 0 || e.RequestOmittedBytes > 0, ResponseBody: len(e.Response) > 0 || e.ResponseOmittedBytes > 0,
	}
	if o := e.Object; o != nil {
		p.Object = &auditv1.Object{Resource: cut(o.Resource), Subresource: cut(o.Subresource), Namespace: cut(o.Namespace), Name: cut(o.Name),
			Uid: cut(o.Uid), ApiGroup: cut(o.ApiGroup), ApiVersion: cut(o.ApiVersion), ResourceVersion: cut(o.ResourceVersion)}
	}
	if len(h.probes) < maxProbes {
		h.probes = append(h.probes, p)
	} else {
		h.probes[h.probed%maxProbes] = p
	}
	h.probed++
}

func isProbe(e *auditv1.Event) bool { return strings.Contains(e.RequestUri, probeMark) }

// cut is a copy of a text's beginning, of whole characters.
func cut(text string) string {
	return strings.ToValidUTF8(strings.Clone(text[:min(len(text), maxProbeText)]), "")
}

// Service is the part of Management that is about audit sources. Who may call it is for the
// server to check.
type Service struct{ health *Health }

// NewService returns a service, to be registered as a part of Management.
func NewService(h *Health) *Service { return &Service{h} }

// AuditStatus implements Management.
func (s *Service) AuditStatus(context.Context, *collectorv1.AuditStatusRequest) (*collectorv1.AuditStatusResponse, error) {
	return &collectorv1.AuditStatusResponse{State: s.health.State(), Blind: s.health.blind()}, nil
}

// AuditProbe implements Management.
func (s *Service) AuditProbe(_ context.Context, r *collectorv1.AuditProbeRequest) (*collectorv1.AuditProbeResponse, error) {
	if !nonce.MatchString(r.GetNonce()) {
		return nil, status.Error(codes.InvalidArgument, "the nonce is not 8 to 64 of a-z, 0-9 and -")
	}
	return &collectorv1.AuditProbeResponse{Events: s.health.probesOf(r.GetNonce())}, nil
}

// probesOf are the events of requests with a nonce, in the order in which they came.
func (h *Health) probesOf(nonce string) []*collectorv1.ProbeEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*collectorv1.ProbeEvent
	for i := range h.probes {
		p := h.probes[(h.probed+i)%len(h.probes)] // the oldest first, once the ring is full
		if _, behind, found := strings.Cut(p.RequestUri, probeMark+nonce); found && !continues(behind) {
			out = append(out, p)
		}
	}
	return out
}

// continues says whether a nonce goes on in what is behind it.
func continues(behind string) bool {
	return behind != "" && (behind[0] >= 'a' && behind[0] <= 'z' || behind[0] >= '0' && behind[0] <= '9' || behind[0] == '-')
}
