package sink

import "encoding/json"

// OCSFVersion is the version of the Open Cybersecurity Schema Framework that [OCSF] writes.
const OCSFVersion = "1.8.0"

// Numbers of the schema. docs/siem.md says field by field what goes where, and a test
// holds every document against testdata/ocsf.json.
const (
	ocsfCategoryFindings = 2
	ocsfClassDetection   = 2004

	ocsfCreate = 1 // activity
	ocsfUpdate = 2

	ocsfAnalyticRule = 1
	ocsfRoleAffected = 3
	ocsfRoleRelated  = 4
	ocsfDeviceServer = 1

	ocsfObservableHostname    = 1
	ocsfObservableIPAddress   = 2
	ocsfObservableUserName    = 4
	ocsfObservableProcessName = 9
	ocsfObservableResourceUID = 10
	ocsfObservableFilePath    = 45
)

// ocsfFinding is the class Detection Finding. Times are milliseconds since 1970.
type ocsfFinding struct {
	ActivityID   int              `json:"activity_id"`
	ActivityName string           `json:"activity_name"`
	CategoryUID  int              `json:"category_uid"`
	CategoryName string           `json:"category_name"`
	ClassUID     int              `json:"class_uid"`
	ClassName    string           `json:"class_name"`
	TypeUID      int              `json:"type_uid"`
	TypeName     string           `json:"type_name"`
	Time         int64            `json:"time"`
	StartTime    int64            `json:"start_time,omitempty"`
	EndTime      int64            `json:"end_time,omitempty"`
	SeverityID   int              `json:"severity_id"`
	Severity     string           `json:"severity"`
	IsAlert      bool             `json:"is_alert"`
	Message      string           `json:"message"`
	Metadata     ocsfMetadata     `json:"metadata"`
	FindingInfo  ocsfFindingInfo  `json:"finding_info"`
	Evidences    []ocsfEvidence   `json:"evidences,omitempty"`
	Resources    []ocsfResource   `json:"resources,omitempty"`
	Device       *ocsfDevice      `json:"device,omitempty"`
	Observables  []ocsfObservable `json:"observables,omitempty"`
	Unmapped     ocsfUnmapped     `json:"unmapped"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	Product        ocsfProduct `json:"product"`
	Profiles       []string    `json:"profiles"`
	UID            string      `json:"uid"`
	CorrelationUID string      `json:"correlation_uid"`
	Sequence       int64       `json:"sequence,omitempty"`
	EventCode      string      `json:"event_code,omitempty"`
	LoggedTime     int64       `json:"logged_time,omitempty"`
	Labels         []string    `json:"labels,omitempty"`
	IsTruncated    bool        `json:"is_truncated,omitempty"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

type ocsfFindingInfo struct {
	UID                string         `json:"uid"`
	Title              string         `json:"title"`
	Desc               string         `json:"desc,omitempty"`
	Types              []string       `json:"types,omitempty"`
	CreatedTime        int64          `json:"created_time,omitempty"`
	ModifiedTime       int64          `json:"modified_time,omitempty"`
	FirstSeenTime      int64          `json:"first_seen_time,omitempty"`
	LastSeenTime       int64          `json:"last_seen_time,omitempty"`
	Analytic           *ocsfAnalytic  `json:"analytic,omitempty"`
	RelatedAnalytics   []ocsfAnalytic `json:"related_analytics,omitempty"`
	Attacks            []ocsfAttack   `json:"attacks,omitempty"`
	RelatedEventsCount int64          `json:"related_events_count,omitempty"`
}

type ocsfAnalytic struct {
	UID    string `json:"uid"`
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
}

// ocsfAttack has one of the three.
type ocsfAttack struct {
	Tactic       *ocsfEntity `json:"tactic,omitempty"`
	Technique    *ocsfEntity `json:"technique,omitempty"`
	SubTechnique *ocsfEntity `json:"sub_technique,omitempty"`
}

type ocsfEntity struct {
	UID string `json:"uid"`
}

type ocsfEvidence struct {
	UID         string         `json:"uid,omitempty"`
	Name        string         `json:"name,omitempty"`
	Process     *ocsfProcess   `json:"process,omitempty"`
	File        *ocsfFile      `json:"file,omitempty"`
	Source      *ocsfEndpoint  `json:"src_endpoint,omitempty"`
	Destination *ocsfEndpoint  `json:"dst_endpoint,omitempty"`
	Container   *ocsfContainer `json:"container,omitempty"`
	// Of a request to the Kubernetes API: who sent it, as whom, what for, and with what.
	Actor       *ocsfActor       `json:"actor,omitempty"`
	User        *ocsfUser        `json:"user,omitempty"`
	API         *ocsfAPI         `json:"api,omitempty"`
	HTTPRequest *ocsfHTTPRequest `json:"http_request,omitempty"`
	Data        ocsfEvidenceData `json:"data"`
}

type ocsfActor struct {
	User *ocsfUser `json:"user"`
}

type ocsfUser struct {
	Name   string      `json:"name,omitempty"`
	UID    string      `json:"uid,omitempty"`
	Groups []ocsfGroup `json:"groups,omitempty"`
}

type ocsfGroup struct {
	Name string `json:"name"`
}

type ocsfAPI struct {
	Operation string        `json:"operation"`
	Request   ocsfRequest   `json:"request"`
	Response  *ocsfResponse `json:"response,omitempty"`
}

type ocsfRequest struct {
	UID string `json:"uid"`
}

type ocsfResponse struct {
	Code int64 `json:"code"`
}

type ocsfHTTPRequest struct {
	UserAgent string `json:"user_agent"`
}

type ocsfEndpoint struct {
	IP   string `json:"ip"`
	Port uint32 `json:"port,omitempty"`
}

// ocsfEvidenceData is what of an evidence has no attribute in OCSF.
type ocsfEvidenceData struct {
	Time        int64  `json:"time,omitempty"`
	Text        string `json:"text,omitempty"`
	Rule        string `json:"rule,omitempty"`
	DetectionID string `json:"detection_id,omitempty"`
	AuditID     string `json:"audit_id,omitempty"`
	// Of who came into a container: how, into which session, and how sure that is.
	Entry       string `json:"entry,omitempty"`
	SessionID   string `json:"session_id,omitempty"`
	Attribution string `json:"attribution,omitempty"`
	Object      string `json:"object,omitempty"`
	TokenPod    string `json:"token_pod,omitempty"`
	// Of a port-forward: where the node connected to within the pod meanwhile.
	Connections []ocsfConnection `json:"connections,omitempty"`
	Severity    string           `json:"severity,omitempty"`
	Revision    uint32           `json:"revision,omitempty"`
}

// ocsfConnection is a place within a pod, and how often it was connected to. As many as
// Ambiguous may have come by another request as well.
type ocsfConnection struct {
	IP        string `json:"ip,omitempty"`
	Port      uint32 `json:"port,omitempty"`
	Count     int64  `json:"count,omitempty"`
	Ambiguous int64  `json:"ambiguous,omitempty"`
	First     int64  `json:"first_time,omitempty"`
	Last      int64  `json:"last_time,omitempty"`
}

type ocsfProcess struct {
	UID              string       `json:"uid,omitempty"`
	PID              int64        `json:"pid,omitempty"`
	NamespacePID     int64        `json:"namespace_pid,omitempty"`
	Name             string       `json:"name,omitempty"`
	Path             string       `json:"path,omitempty"`
	CmdLine          string       `json:"cmd_line,omitempty"`
	WorkingDirectory string       `json:"working_directory,omitempty"`
	CreatedTime      int64        `json:"created_time,omitempty"`
	File             *ocsfFile    `json:"file,omitempty"`
	User             *ocsfEntity  `json:"user,omitempty"`
	ParentProcess    *ocsfProcess `json:"parent_process,omitempty"`
	Lineage          []string     `json:"lineage,omitempty"`
}

type ocsfFile struct {
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Size   int64  `json:"size,omitempty"`
}

type ocsfContainer struct {
	UID          string     `json:"uid,omitempty"`
	Name         string     `json:"name,omitempty"`
	Runtime      string     `json:"runtime,omitempty"`
	Orchestrator string     `json:"orchestrator,omitempty"`
	PodUUID      string     `json:"pod_uuid,omitempty"`
	Image        *ocsfImage `json:"image,omitempty"`
}

type ocsfImage struct {
	UID  string `json:"uid"`
	Name string `json:"name,omitempty"`
}

type ocsfResource struct {
	UID       string `json:"uid,omitempty"`
	Name      string `json:"name,omitempty"`
	Type      string `json:"type"`
	Namespace string `json:"namespace,omitempty"`
	Hostname  string `json:"hostname,omitempty"`
	RoleID    int    `json:"role_id"`
	Role      string `json:"role"`
}

type ocsfDevice struct {
	UID      string `json:"uid,omitempty"`
	Name     string `json:"name,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	TypeID   int    `json:"type_id"`
	Type     string `json:"type"`
}

type ocsfObservable struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}

// ocsfUnmapped has our own names.
type ocsfUnmapped struct {
	Cluster           string            `json:"cluster,omitempty"`
	AnchorKind        string            `json:"anchor_kind,omitempty"`
	AnchorKey         string            `json:"anchor_key,omitempty"`
	Episode           uint32            `json:"episode,omitempty"`
	Revision          uint32            `json:"revision"`
	EvidenceOmitted   uint64            `json:"evidence_omitted,omitempty"`
	TimeUncertaintyMS int64             `json:"time_uncertainty_ms,omitempty"`
	Gaps              []json.RawMessage `json:"gaps,omitempty"`
}
