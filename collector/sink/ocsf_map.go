package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// OCSF returns the [Format] of OCSF's Detection Finding, class 2004. The version is the
// product's. The same revision gives the same bytes.
func OCSF(version string) Format {
	return func(dst []byte, r Revision) ([]byte, error) {
		f, err := ocsfFindingOf(r, version)
		if err != nil {
			return dst, err
		}
		b := bytes.NewBuffer(dst)
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false) // < and > are frequent in command lines
		if err := e.Encode(f); err != nil {
			return dst, fmt.Errorf("encode finding: %w", err)
		}
		return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
	}
}

func ocsfFindingOf(r Revision, version string) (*ocsfFinding, error) {
	a := r.Alert
	message, err := Summary(nil, r)
	if err != nil {
		return nil, err
	}
	f := &ocsfFinding{
		ActivityID: ocsfCreate, ActivityName: "Create",
		CategoryUID: ocsfCategoryFindings, CategoryName: "Findings",
		ClassUID: ocsfClassDetection, ClassName: "Detection Finding",
		Time:      milliseconds(a.GetStoredTime()),
		StartTime: milliseconds(a.GetFirstTime()),
		EndTime:   milliseconds(a.GetLastTime()),
		IsAlert:   true,
		Message:   string(message),
		Metadata: ocsfMetadata{
			Version:  OCSFVersion,
			Product:  ocsfProduct{Name: "Seawall", VendorName: "Seawall", Version: version},
			Profiles: []string{"container"},
			UID:      fmt.Sprintf("%s.%d", a.GetId(), a.GetRevision()), CorrelationUID: a.GetId(),
			Sequence: integer(r.Position), EventCode: a.GetKind(),
			LoggedTime: milliseconds(a.GetStoredTime()),
			Labels:     a.GetTags(), IsTruncated: a.GetEvidenceOmitted() > 0,
		},
		FindingInfo: ocsfFindingInfoOf(a),
		Evidences:   ocsfEvidencesOf(a),
		Resources:   ocsfResourcesOf(a),
		Device:      ocsfDeviceOf(a.GetAsset()),
		Observables: ocsfObservablesOf(a),
		Unmapped: ocsfUnmapped{
			Cluster:    a.GetCluster(),
			AnchorKind: a.GetAnchor().GetKind(), AnchorKey: a.GetAnchor().GetKey(), Episode: a.GetAnchor().GetEpisode(),
			Revision: a.GetRevision(), EvidenceOmitted: a.GetEvidenceOmitted(),
			TimeUncertaintyMS: a.GetTimeUncertainty().AsDuration().Milliseconds(),
		},
	}
	if a.GetRevision() > 1 {
		f.ActivityID, f.ActivityName = ocsfUpdate, "Update"
	}
	f.TypeUID = ocsfClassDetection*100 + f.ActivityID
	f.TypeName = f.ClassName + ": " + f.ActivityName
	f.SeverityID, f.Severity = ocsfSeverity(a.GetSeverity())
	if f.Unmapped.Gaps, err = ocsfGaps(a.GetGaps()); err != nil {
		return nil, err
	}
	return f, nil
}

func ocsfSeverity(s sensorv1.Severity) (int, string) {
	switch s {
	case sensorv1.Severity_SEVERITY_INFO:
		return 1, "Informational"
	case sensorv1.Severity_SEVERITY_LOW:
		return 2, "Low"
	case sensorv1.Severity_SEVERITY_MEDIUM:
		return 3, "Medium"
	case sensorv1.Severity_SEVERITY_HIGH:
		return 4, "High"
	case sensorv1.Severity_SEVERITY_CRITICAL:
		return 5, "Critical"
	}
	return 0, "Unknown"
}

func ocsfFindingInfoOf(a *alertv1.Alert) ocsfFindingInfo {
	info := ocsfFindingInfo{
		UID: a.GetId(), Title: a.GetTitle(), Desc: a.GetSummary(),
		CreatedTime:        milliseconds(a.GetCreatedTime()),
		ModifiedTime:       milliseconds(a.GetStoredTime()),
		FirstSeenTime:      milliseconds(a.GetFirstTime()),
		LastSeenTime:       milliseconds(a.GetLastTime()),
		RelatedEventsCount: integer(uint64(len(a.GetEvidence())) + min(a.GetEvidenceOmitted(), math.MaxInt32)),
	}
	rule := func(name string) ocsfAnalytic {
		return ocsfAnalytic{UID: name, Name: name, TypeID: ocsfAnalyticRule, Type: "Rule"}
	}
	if kind := a.GetKind(); kind != "" {
		analytic := rule(kind)
		info.Types, info.Analytic = []string{kind}, &analytic
	}
	seen := map[string]bool{"": true}
	for _, e := range a.GetEvidence() {
		if !seen[e.GetRule()] {
			seen[e.GetRule()] = true
			info.RelatedAnalytics = append(info.RelatedAnalytics, rule(e.GetRule()))
		}
	}
	for _, tactic := range a.GetTactics() {
		info.Attacks = append(info.Attacks, ocsfAttack{Tactic: &ocsfEntity{UID: tactic}})
	}
	for _, id := range a.GetTechniques() {
		attack := ocsfAttack{Technique: &ocsfEntity{UID: id}}
		if technique, _, sub := strings.Cut(id, "."); sub {
			attack = ocsfAttack{Technique: &ocsfEntity{UID: technique}, SubTechnique: &ocsfEntity{UID: id}}
		}
		info.Attacks = append(info.Attacks, attack)
	}
	return info
}

func ocsfEvidencesOf(a *alertv1.Alert) []ocsfEvidence {
	processes := newOCSFProcesses(a.GetProcesses())
	container := ocsfContainerOf(a.GetAsset().GetContainer())
	requests := newOCSFRequests(a)
	var evidences []ocsfEvidence
	for _, e := range a.GetEvidence() {
		evidence := ocsfEvidence{
			UID: e.GetEventId(), Name: e.GetRole(), Process: processes.of(e.GetProcessId()), File: ocsfFileOf(e.GetFile()), Container: container,
			Data: ocsfEvidenceData{
				Time: milliseconds(e.GetTime()), Text: e.GetText(), Rule: e.GetRule(),
				DetectionID: e.GetDetectionId(), Revision: e.GetRevision(), AuditID: e.GetAuditId(),
			},
		}
		evidence.Source, evidence.Destination = ocsfEndpointsOf(e)
		requests.describe(&evidence, e)
		if e.GetSeverity() != 0 {
			_, evidence.Data.Severity = ocsfSeverity(e.GetSeverity())
		}
		evidences = append(evidences, evidence)
	}
	return append(evidences, requests.rest(a)...)
}

// inbound is the kind of events in which the other side called.
const inbound = sensorv1.Kind_KIND_NETWORK_ACCEPT

// ocsfEndpointsOf tells who called whom: of what was accepted the other side called.
func ocsfEndpointsOf(e *alertv1.Evidence) (source, destination *ocsfEndpoint) {
	source, destination = ocsfEndpointOf(e.GetLocal()), ocsfEndpointOf(e.GetRemote())
	if e.GetKind() == inbound {
		return destination, source
	}
	return source, destination
}

func ocsfEndpointOf(a *sensorv1.Address) *ocsfEndpoint {
	if _, err := netip.ParseAddr(a.GetIp()); err != nil || a.GetPort() > math.MaxUint16 {
		return nil // required to be one
	}
	return &ocsfEndpoint{IP: a.GetIp(), Port: a.GetPort()}
}

func ocsfContainerOf(c *sensorv1.Container) *ocsfContainer {
	if c.GetId() == "" && c.GetName() == "" {
		return nil
	}
	out := &ocsfContainer{UID: c.GetId(), Name: c.GetName(), Runtime: c.GetRuntime()}
	if c.GetPod() != nil {
		out.Orchestrator = "Kubernetes"
		if uuid.MatchString(c.GetPod().GetUid()) {
			out.PodUUID = c.GetPod().GetUid()
		}
	}
	if c.GetImage() != "" || c.GetImageDigest() != "" {
		out.Image = &ocsfImage{UID: or(c.GetImageDigest(), c.GetImage()), Name: c.GetImage()}
	}
	return out
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

func ocsfResourcesOf(a *alertv1.Alert) []ocsfResource {
	var resources []ocsfResource
	add := func(r ocsfResource) {
		if r.UID != "" || r.Name != "" {
			resources = append(resources, r)
		}
	}
	c := a.GetAsset().GetContainer()
	add(ocsfResource{UID: c.GetId(), Name: c.GetName(), Type: "container", Namespace: c.GetPod().GetNamespace(), RoleID: ocsfRoleAffected, Role: "Affected"})
	add(ocsfResource{UID: c.GetPod().GetUid(), Name: c.GetPod().GetName(), Type: "pod", Namespace: c.GetPod().GetNamespace(), RoleID: ocsfRoleAffected, Role: "Affected"})
	add(ocsfResource{UID: a.GetAsset().GetAgentId(), Name: a.GetAsset().GetNode(), Type: "node", Hostname: a.GetAsset().GetNode(), RoleID: ocsfRoleRelated, Role: "Related"})
	for _, n := range a.GetNodes() {
		if n.GetAgentId() != a.GetAsset().GetAgentId() {
			add(ocsfResource{UID: n.GetAgentId(), Name: n.GetName(), Type: "node", Hostname: n.GetName(), RoleID: ocsfRoleRelated, Role: "Related"})
		}
	}
	add(ocsfResource{Name: a.GetCluster(), Type: "cluster", RoleID: ocsfRoleRelated, Role: "Related"})
	return resources
}

func ocsfDeviceOf(asset *alertv1.Asset) *ocsfDevice {
	if asset.GetNode() == "" && asset.GetAgentId() == "" {
		return nil
	}
	return &ocsfDevice{UID: asset.GetAgentId(), Name: asset.GetNode(), Hostname: asset.GetNode(), TypeID: ocsfDeviceServer, Type: "Server"}
}

// maxObservables bounds what is a second mention of values that stand elsewhere.
const maxObservables = 128

func ocsfObservablesOf(a *alertv1.Alert) []ocsfObservable {
	var observables []ocsfObservable
	seen := map[ocsfObservable]bool{}
	add := func(name string, id int, kind, value string) {
		o := ocsfObservable{Name: name, TypeID: id, Type: kind, Value: value}
		if value != "" && !seen[o] && len(observables) < maxObservables {
			seen[o] = true
			observables = append(observables, o)
		}
	}
	add("device.hostname", ocsfObservableHostname, "Hostname", a.GetAsset().GetNode())
	add("resources.uid", ocsfObservableResourceUID, "Resource UID", a.GetAsset().GetContainer().GetId())
	for _, r := range requestsOf(a) {
		add("evidences.actor.user.name", ocsfObservableUserName, "User Name", r.GetUser().GetName())
		add("evidences.src_endpoint.ip", ocsfObservableIPAddress, "IP Address", r.GetSourceIp())
	}
	processes := newOCSFProcesses(a.GetProcesses())
	for _, e := range a.GetEvidence() {
		p := processes.byID[e.GetProcessId()]
		add("evidences.process.name", ocsfObservableProcessName, "Process Name", p.GetName())
		add("evidences.process.file.path", ocsfObservableFilePath, "File Path", p.GetExe().GetPath())
		add("evidences.file.path", ocsfObservableFilePath, "File Path", e.GetFile().GetPath())
		end := "dst_endpoint"
		if e.GetKind() == inbound {
			end = "src_endpoint"
		}
		add("evidences."+end+".ip", ocsfObservableIPAddress, "IP Address", e.GetRemote().GetIp())
	}
	return observables
}

// ocsfGaps writes gaps as the schema has them.
func ocsfGaps(gaps []*sensorv1.Gap) ([]json.RawMessage, error) {
	var out []json.RawMessage
	for _, g := range gaps {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(g)
		if err != nil {
			return nil, fmt.Errorf("encode gap: %w", err)
		}
		out = append(out, text) // made compact with the rest
	}
	return out, nil
}

// milliseconds is 0 where there is no time, as OCSF counts them from 1970.
func milliseconds(t *timestamppb.Timestamp) int64 {
	if !t.IsValid() {
		return 0
	}
	return max(t.AsTime().UnixMilli(), 0)
}

// integer is n where OCSF's integer_t, which some readers take for 32 bits, holds it; else 0.
func integer(n uint64) int64 {
	if n > math.MaxInt32 {
		return 0
	}
	return int64(n)
}
