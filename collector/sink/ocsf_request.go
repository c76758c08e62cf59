package sink

import (
	"strings"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// ocsfRequests are an alert's requests to the Kubernetes API. One that is evidence is told
// there; the others are evidence of their own.
type ocsfRequests struct {
	all  []*alertv1.Request
	told map[*alertv1.Request]bool
}

func newOCSFRequests(a *alertv1.Alert) *ocsfRequests {
	return &ocsfRequests{all: a.GetRequests(), told: make(map[*alertv1.Request]bool)}
}

// requestsOf are all requests that an alert names.
func requestsOf(a *alertv1.Alert) []*alertv1.Request {
	all := append([]*alertv1.Request{}, a.GetRequests()...)
	for _, e := range a.GetEntries() {
		all = append(all, e.GetRequests()...)
	}
	return all
}

// describe adds to evidence of a request who sent it. Several may have one audit id, which
// clients can choose: then the time decides, and else the first of them.
func (r *ocsfRequests) describe(evidence *ocsfEvidence, e *alertv1.Evidence) {
	var found *alertv1.Request
	for _, request := range r.all {
		if e.GetAuditId() == "" || request.GetAuditId() != e.GetAuditId() {
			continue
		}
		if found == nil || request.GetTime().AsTime().Equal(e.GetTime().AsTime()) {
			found = request
		}
	}
	if found != nil {
		r.told[found] = true
		describeRequest(evidence, found)
	}
}

// rest are the requests that are not told yet, and who came in.
func (r *ocsfRequests) rest(a *alertv1.Alert) (evidences []ocsfEvidence) {
	for _, request := range a.GetRequests() {
		if r.told[request] {
			continue
		}
		evidence := ocsfEvidence{UID: request.GetAuditId(), Name: request.GetRole()}
		evidence.Data.Time = milliseconds(request.GetTime())
		describeRequest(&evidence, request)
		evidences = append(evidences, evidence)
	}
	for _, entry := range a.GetEntries() {
		evidences = append(evidences, ocsfEntriesOf(entry)...)
	}
	return evidences
}

// ocsfEntriesOf is an entry, once for each request that may have begun it.
func ocsfEntriesOf(entry *alertv1.Entry) (evidences []ocsfEvidence) {
	blank := ocsfEvidence{UID: entry.GetSessionId(), Name: "entry", Data: ocsfEvidenceData{
		Time: milliseconds(entry.GetTime()), Entry: entry.GetKind(), SessionID: entry.GetSessionId(),
		Attribution: strings.ToLower(strings.TrimPrefix(entry.GetAttribution().String(), "ATTRIBUTION_")),
		Text:        commandLine(entry.GetArgs()),
	}}
	if len(entry.GetRequests()) == 0 {
		return []ocsfEvidence{blank}
	}
	for _, request := range entry.GetRequests() {
		evidence := blank
		evidence.UID = request.GetAuditId()
		describeRequest(&evidence, request)
		evidences = append(evidences, evidence)
	}
	return evidences
}

func describeRequest(evidence *ocsfEvidence, r *alertv1.Request) {
	if user := ocsfUserOf(r.GetUser()); user != nil {
		evidence.Actor = &ocsfActor{User: user}
	}
	evidence.User = ocsfUserOf(r.GetImpersonated())
	if evidence.Source == nil {
		evidence.Source = ocsfEndpointOf(&sensorv1.Address{Ip: r.GetSourceIp()})
	}
	o := r.GetObject()
	resource := o.GetResource()
	if o.GetSubresource() != "" {
		resource += "/" + o.GetSubresource()
	}
	if operation := strings.TrimSpace(r.GetVerb() + " " + resource); operation != "" && r.GetAuditId() != "" {
		evidence.API = &ocsfAPI{Operation: operation, Request: ocsfRequest{UID: r.GetAuditId()}}
		if r.GetCode() != 0 {
			evidence.API.Response = &ocsfResponse{Code: integer(uint64(r.GetCode()))}
		}
	}
	if r.GetUserAgent() != "" {
		evidence.HTTPRequest = &ocsfHTTPRequest{UserAgent: r.GetUserAgent()}
	}
	evidence.Data.AuditID = r.GetAuditId()
	evidence.Data.Object = strings.Trim(o.GetNamespace()+"/"+o.GetName(), "/")
	if p := r.GetTokenPod(); p.GetName() != "" {
		evidence.Data.TokenPod = p.GetNamespace() + "/" + p.GetName()
	}
	for _, c := range r.GetConnections() {
		evidence.Data.Connections = append(evidence.Data.Connections, ocsfConnection{
			IP: c.GetIp(), Port: c.GetPort(), Count: integer(c.GetCount()), Ambiguous: integer(c.GetAmbiguous()),
			First: milliseconds(c.GetFirst()), Last: milliseconds(c.GetLast()),
		})
	}
}

func ocsfUserOf(u *auditv1.User) *ocsfUser {
	if u.GetName() == "" && u.GetUid() == "" {
		return nil
	}
	out := &ocsfUser{Name: u.GetName(), UID: u.GetUid()}
	for _, group := range u.GetGroups() {
		if group != "" {
			out.Groups = append(out.Groups, ocsfGroup{Name: group})
		}
	}
	return out
}
