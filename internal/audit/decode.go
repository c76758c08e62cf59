package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// MaxEventBytes bounds one event. The API server takes request bodies of 3 MiB, and an
// event can hold a request and a response.
const MaxEventBytes = 8 << 20

// maxID bounds names that we make keys of. The API server's are UUIDs, but a client may name
// its request itself (header Audit-ID), at any length: nobody is to hide behind that.
const maxID = 128

// shortID is the id itself, or of one that is too long its beginning and a hash of it.
func shortID(id string) string {
	if len(id) <= maxID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return strings.ToValidUTF8(id[:maxID/4], "") + "~" + hex.EncodeToString(sum[:])
}

// wire is an event as the API server writes it. In a webhook's list, kind and apiVersion
// stand in the list only.
type wire struct {
	APIVersion string `json:"apiVersion"`
	AuditID    string `json:"auditID"`
	Level      string `json:"level"`
	Stage      string `json:"stage"`
	RequestURI string `json:"requestURI"`
	Verb       string `json:"verb"`

	User             wireUser    `json:"user"`
	ImpersonatedUser *wireUser   `json:"impersonatedUser"`
	SourceIPs        []string    `json:"sourceIPs"`
	UserAgent        string      `json:"userAgent"`
	ObjectRef        *wireObject `json:"objectRef"`
	ResponseStatus   struct {
		Code    int64  `json:"code"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"responseStatus"`
	RequestObject  json.RawMessage   `json:"requestObject"`
	ResponseObject json.RawMessage   `json:"responseObject"`
	RequestTime    time.Time         `json:"requestReceivedTimestamp"`
	StageTime      time.Time         `json:"stageTimestamp"`
	Annotations    map[string]string `json:"annotations"`
}

type wireUser struct {
	Username string              `json:"username"`
	UID      string              `json:"uid"`
	Groups   []string            `json:"groups"`
	Extra    map[string][]string `json:"extra"`
}

type wireObject struct {
	Resource        string `json:"resource"`
	Subresource     string `json:"subresource"`
	Namespace       string `json:"namespace"`
	Name            string `json:"name"`
	UID             string `json:"uid"`
	APIGroup        string `json:"apiGroup"`
	APIVersion      string `json:"apiVersion"`
	ResourceVersion string `json:"resourceVersion"`
}

const apiVersion = "audit.k8s.io/v1"

// truncated is the API server's annotation of events whose bodies it left out.
const truncated = "audit.k8s.io/truncated"

var stages = map[string]auditv1.Stage{
	"RequestReceived":  auditv1.Stage_STAGE_RECEIVED,
	"ResponseStarted":  auditv1.Stage_STAGE_STARTED,
	"ResponseComplete": auditv1.Stage_STAGE_COMPLETE,
	"Panic":            auditv1.Stage_STAGE_PANIC,
}

var levels = map[string]auditv1.Level{
	"Metadata":        auditv1.Level_LEVEL_METADATA,
	"Request":         auditv1.Level_LEVEL_REQUEST,
	"RequestResponse": auditv1.Level_LEVEL_REQUEST_RESPONSE,
}

// Decode reads the JSON of one event. Text that is not UTF-8 has U+FFFD where it is not.
func Decode(data []byte) (*auditv1.Event, error) {
	if len(data) > MaxEventBytes {
		return nil, fmt.Errorf("the event has %d bytes, more than %d", len(data), MaxEventBytes)
	}
	var w wire
	err := json.Unmarshal(data, &w)
	if err == nil {
		return w.event()
	}
	// A body that nobody can read costs itself.
	rest, request, response, split := withoutBodies(data)
	if split != nil || request+response == 0 {
		return nil, describe(err)
	}
	w = wire{}
	if json.Unmarshal(rest, &w) != nil {
		return nil, describe(err)
	}
	e, err := w.event()
	if err == nil {
		e.RequestOmittedBytes, e.ResponseOmittedBytes = uint64(request), uint64(response)
	}
	return e, err
}

// describe says what encoding/json says, in fewer words of Go.
func describe(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s is a JSON %s", wrong.Field, wrong.Value)
	}
	return err
}

func (w *wire) event() (*auditv1.Event, error) {
	stage, known := stages[w.Stage]
	switch {
	case w.APIVersion != "" && w.APIVersion != apiVersion:
		return nil, fmt.Errorf("apiVersion is %.64q, only %s is read", w.APIVersion, apiVersion)
	case w.AuditID == "":
		return nil, errors.New("auditID is missing")
	case !known:
		return nil, fmt.Errorf("stage %.64q is none of audit.k8s.io/v1", w.Stage)
	case w.ResponseStatus.Code < 0 || w.ResponseStatus.Code > math.MaxUint16:
		return nil, fmt.Errorf("responseStatus.code %d is no HTTP status", w.ResponseStatus.Code)
	}
	e := &auditv1.Event{
		AuditId: shortID(w.AuditID), Stage: stage, Level: levels[w.Level], Verb: w.Verb, RequestUri: w.RequestURI,
		User: w.User.user(), SourceIps: w.SourceIPs, UserAgent: w.UserAgent,
		Code: uint32(w.ResponseStatus.Code), Reason: w.ResponseStatus.Reason, Message: w.ResponseStatus.Message,
		Annotations: w.Annotations, Request: body(w.RequestObject), Response: body(w.ResponseObject),
	}
	var err error
	if e.RequestTime, err = timestamp("requestReceivedTimestamp", w.RequestTime); err != nil {
		return nil, err
	}
	if e.StageTime, err = timestamp("stageTimestamp", w.StageTime); err != nil {
		return nil, err
	}
	if w.ImpersonatedUser != nil {
		e.Impersonated = w.ImpersonatedUser.user()
	}
	if o := w.ObjectRef; o != nil {
		e.Object = &auditv1.Object{
			Resource: o.Resource, Subresource: o.Subresource, Namespace: o.Namespace, Name: o.Name, Uid: o.UID,
			ApiGroup: o.APIGroup, ApiVersion: o.APIVersion, ResourceVersion: o.ResourceVersion,
		}
	}
	e.Truncated = w.Annotations[truncated] == "true"
	e.Entry = entryOf(e)
	return e, nil
}

func timestamp(name string, t time.Time) (*timestamppb.Timestamp, error) {
	m := timestamppb.New(t)
	if t.IsZero() || m.CheckValid() != nil {
		return nil, fmt.Errorf("%s is missing or no time", name)
	}
	return m, nil
}

// user is nil for one who was not authenticated.
func (w *wireUser) user() *auditv1.User {
	if w.Username == "" && w.UID == "" && len(w.Groups) == 0 && len(w.Extra) == 0 {
		return nil
	}
	u := &auditv1.User{Name: w.Username, Uid: w.UID, Groups: w.Groups}
	if len(w.Extra) > 0 {
		u.Extra = make(map[string]*auditv1.Values, len(w.Extra))
		for name, values := range w.Extra {
			u.Extra[name] = &auditv1.Values{Values: values}
		}
	}
	return u
}

func body(raw json.RawMessage) []byte {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	return raw
}
