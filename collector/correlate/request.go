package correlate

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Kinds of ways in.
const (
	entryExec    = "exec"
	entryAttach  = "attach"
	entryDebug   = "debug"
	entryForward = "port-forward"
	// No request leads there: past the container runtime, and through it past the kubelet.
	entryNamespace = "namespace"
	entryRuntime   = "runtime"
)

// recordKept is how long a request, or a session that may be one's, is remembered by the
// log: records are joined that come up to ten minutes late, and twice that, and some.
const recordKept = 30 * time.Minute

// Bounds of what is kept of a request.
const (
	maxGroups      = 32
	maxExtra       = 16
	maxDebug       = 64 // containers of one patch
	maxRecordBytes = 8 << 10
)

// requestKey names a request. An audit id alone does not: clients may choose it.
type requestKey struct {
	Cluster, AuditID string
	Time             int64 // that it came, by the API server
}

func (k requestKey) row() string {
	return alert.Hash("request", k.Cluster, k.AuditID, strconv.FormatInt(k.Time, 10))
}

// request is one granted request to get into a pod.
type request struct {
	Key  requestKey
	Kind string
	Pod  podKey
	// Container may be empty: the only one of the pod. Of debug they are Added, those that
	// the request speaks of.
	Container string
	Added     []string
	Args      []string
	Truncated bool
	TTY       bool
	// Ports are those to forward, where the request names them; Tellers the alerts that tell
	// of it, beside those of its pod.
	Ports   []uint32 `json:",omitempty"`
	Tellers []string `json:",omitempty"`
	// From and Until are between which times it came; it was over by End, 0: not that it
	// is known. All by the collector's clock.
	From, Until, End int64
	// UID is the pod's; "": not known.
	UID  string `json:",omitempty"`
	Told storedRequest
	// Due is when it is looked at, log time; 0: it was.
	Due int64
	stamp

	size int
	// session is the one that is fixed to be its own; nil: none is.
	session *session
	// moved is the last message that told of it.
	moved uint64
}

// wayIn is how an event gets into a pod; "": it does not.
func wayIn(e *auditv1.Event) string {
	o := e.GetObject()
	switch o.GetResource() {
	case "pods":
		switch o.GetSubresource() {
		case "exec", "attach":
			return o.Subresource
		case "portforward":
			return entryForward
		case "ephemeralcontainers":
			if e.Verb != "get" {
				return entryDebug
			}
		}
	case "nodes": // the kubelet's own doors, through the API server
		if e.Entry == nil {
			return ""
		}
		if strings.Contains(e.RequestUri, "/proxy/attach/") {
			return entryAttach
		}
		return entryExec
	}
	return ""
}

// granted reports whether the event says that its request was let through.
func granted(e *auditv1.Event) bool {
	return e.Stage != auditv1.Stage_STAGE_RECEIVED && e.Code >= 100 && e.Code < 400
}

// newRequest reads a request of an event.
func newRequest(kind, cluster string, e *auditv1.Event) *request {
	o := e.GetObject()
	r := &request{Kind: kind, Key: keyOf(cluster, e), Pod: podKey{cluster, cutID(o.GetNamespace()), cutName(o.GetName())}}
	if entry := e.Entry; entry != nil {
		r.Pod = podKey{cluster, cutID(entry.Namespace), cutName(entry.Pod)}
		r.Container, r.TTY = cutName(entry.Container), entry.Tty
		r.Args, r.Truncated = cutArgs(entry.Command, false)
	}
	switch kind {
	case entryDebug:
		r.Added = addedContainers(e.Request)
		r.UID = cutID(cmp.Or(podUID(e), o.GetUid()))
	case entryForward:
		r.Ports = forwardedPorts(e)
	}
	return r
}

func keyOf(cluster string, e *auditv1.Event) requestKey {
	key := requestKey{Cluster: cutID(cluster), AuditID: cutID(e.AuditId)}
	if known(e.RequestTime) && plausible(e.RequestTime) {
		key.Time = e.RequestTime.AsTime().UnixNano()
	}
	return key
}

// addedContainers are the names of ephemeral containers in a patch, of whatever sort, or
// an object.
func addedContainers(body []byte) (names []string) {
	type named struct {
		Name string `json:"name"`
	}
	var object struct {
		Spec struct {
			EphemeralContainers []named `json:"ephemeralContainers"`
		} `json:"spec"`
	}
	var operations []struct {
		Path  string          `json:"path"`
		Value json.RawMessage `json:"value"`
	}
	containers := []named{}
	if json.Unmarshal(body, &object) == nil {
		containers = object.Spec.EphemeralContainers
	} else if json.Unmarshal(body, &operations) == nil {
		for _, o := range operations {
			var one named
			var several []named
			switch {
			case !strings.HasPrefix(o.Path, "/spec/ephemeralContainers"):
			case json.Unmarshal(o.Value, &several) == nil:
				containers = append(containers, several...)
			case json.Unmarshal(o.Value, &one) == nil:
				containers = append(containers, one)
			}
		}
	}
	for _, c := range containers[:min(len(containers), maxDebug)] {
		names = append(names, cutName(c.Name))
	}
	return names
}

// tellRequest is who sent a request, as alerts say it, bounded.
func tellRequest(role string, e *auditv1.Event, at int64) *alertv1.Request {
	r := &alertv1.Request{
		AuditId: cutID(e.AuditId), Time: timestamp(at), Role: role, User: userOf(e.User), Impersonated: userOf(e.Impersonated),
		UserAgent: cutName(e.UserAgent), Verb: cutID(e.Verb), Code: e.Code,
	}
	if n := len(e.SourceIps); n > 0 {
		r.SourceIp = cutID(e.SourceIps[n-1])
	}
	if o := e.Object; o != nil {
		r.Object = &auditv1.Object{
			Resource: cutID(o.Resource), Subresource: cutID(o.Subresource), Namespace: cutID(o.Namespace), Name: cutName(o.Name), Uid: cutID(o.Uid),
			ApiGroup: cutID(o.ApiGroup), ApiVersion: cutID(o.ApiVersion), ResourceVersion: cutID(o.ResourceVersion),
		}
	}
	r.TokenPod = tokenPod(e.User)
	for proto.Size(r) > maxRecordBytes && (len(r.GetUser().GetExtra()) > 0 || len(r.GetImpersonated().GetExtra()) > 0) {
		// Of one who can choose what is said of them, the names are enough.
		r.User.Extra = nil
		if r.Impersonated != nil {
			r.Impersonated.Extra = nil
		}
	}
	return r
}

func userOf(u *auditv1.User) *auditv1.User {
	if u == nil {
		return nil
	}
	out := &auditv1.User{Name: cutName(u.Name), Uid: cutID(u.Uid)}
	for _, group := range u.Groups[:min(len(u.Groups), maxGroups)] {
		out.Groups = append(out.Groups, cutID(group))
	}
	names := sortedKeys(u.Extra)
	for _, name := range names[:min(len(names), maxExtra)] {
		values := &auditv1.Values{}
		for _, v := range u.Extra[name].GetValues()[:min(len(u.Extra[name].GetValues()), 8)] {
			values.Values = append(values.Values, cutID(v))
		}
		if out.Extra == nil {
			out.Extra = make(map[string]*auditv1.Values)
		}
		out.Extra[cutID(name)] = values
	}
	return out
}

// tokenPod is the pod that a service account's token is of; nil: it is of none.
func tokenPod(u *auditv1.User) *sensorv1.Pod {
	first := func(name string) string {
		if values := u.GetExtra()[name].GetValues(); len(values) > 0 {
			return cutName(values[0])
		}
		return ""
	}
	name, found := strings.CutPrefix(u.GetName(), serviceAccount)
	pod := first("authentication.kubernetes.io/pod-name")
	if !found || pod == "" {
		return nil
	}
	namespace, _, _ := strings.Cut(name, ":")
	return &sensorv1.Pod{Name: pod, Namespace: cutID(namespace), Uid: first("authentication.kubernetes.io/pod-uid")}
}

func (r *request) measure() int {
	size := 512 + len(r.Pod.Name) + proto.Size(r.Told.Request)
	for _, word := range slices.Concat(r.Args, r.Added) {
		size += len(word) + 16
	}
	return size
}

// enters takes an event in whose request gets into a pod.
func (m *Machine) enters(kind, cluster string, clock *skew, e *auditv1.Event) {
	key := keyOf(cluster, e)
	r := m.requests.get(key)
	switch {
	case key.Time == 0 || isDryRun(e):
		return
	case !granted(e):
		if r != nil && e.Code >= 400 { // it was let through, and then refused after all
			m.forgetRequest(r)
		}
		return
	case r == nil:
		stage := e.StageTime
		if !known(stage) || !plausible(stage) {
			stage = e.RequestTime
		}
		if m.place.Now-stage.AsTime().UnixNano() > int64(recordKept) || m.toldOf(kind, key, e) {
			return // what it may have begun is forgotten, or was joined with it
		}
		r = newRequest(kind, cluster, e)
		if r.Pod.Name == "" {
			return
		}
		from, until := clock.auditBounds(e.RequestTime.AsTime())
		r.From, r.Until = from.UnixNano(), until.UnixNano()
		// The clock's own word, moved where it is known to be wrong.
		r.Told = storedRequest{tellRequest(roleEntry, e, min(max(key.Time, r.From), r.Until))}
		r.End = endOf(clock, e)
		m.insertRequest(r)
		m.asked(r)
	default:
		if end := endOf(clock, e); end != 0 && r.End == 0 {
			m.ended(r, end)
		}
	}
	if kind == entryForward {
		m.forwarded[r.Pod] = true
	}
	m.touch(&r.stamp)
	m.requests.touch(key)
	m.requestPool.touch(r.payer(), key)
	m.movedRequests[key] = true
}

// podUID is that of the pod which an event's response shows; "": it shows none.
func podUID(e *auditv1.Event) string {
	var head wireObject
	if !readObject(e.Response, kindPod, &head) {
		return ""
	}
	return head.Metadata.UID
}

// endOf is when the event's request was over, at the latest; 0: it need not be.
func endOf(clock *skew, e *auditv1.Event) int64 {
	if e.Stage != auditv1.Stage_STAGE_COMPLETE || !known(e.StageTime) || !plausible(e.StageTime) {
		return 0
	}
	_, until := clock.auditBounds(e.StageTime.AsTime())
	return until.UnixNano()
}

// toldOf reports whether a request that is not remembered was joined before: its end comes
// hours after its beginning.
func (m *Machine) toldOf(kind string, key requestKey, e *auditv1.Event) bool {
	if m.place.Now-key.Time < int64(recordKept) {
		return false
	}
	p := m.pods[newRequest(kind, key.Cluster, e).Pod]
	if p == nil {
		return false
	}
	for _, s := range p.sessions {
		for _, r := range s.Requests {
			if told := unixNano(r.Time); r.AuditId == key.AuditID && told >= key.Time-int64(widest) && told <= key.Time+int64(widest) {
				return true
			}
		}
	}
	return false
}

func (m *Machine) insertRequest(r *request) {
	m.requests.add(r.Key, r)
	m.requestPool.add(r.payer(), r.Key, r)
	m.resizeRequest(r)
	m.indexRequest(r)
}

// resizeRequest books what the request now takes.
func (m *Machine) resizeRequest(r *request) {
	more := r.measure() - r.size
	m.requestBytes += more
	m.requestPool.resize(r.payer(), more)
	r.size += more
}

func (m *Machine) forgetRequest(r *request) {
	m.unindexRequest(r)
	m.requests.remove(r.Key)
	m.requestPool.remove(r.payer(), r.Key, r.size)
	m.requestBytes -= r.size
	m.movedRequests[r.Key] = true
}
