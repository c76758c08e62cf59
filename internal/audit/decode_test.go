package audit

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// execLine is what kubectl exec with a terminal leaves behind, as one line of a log.
const execLine = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"0f6c9a55-2a4e-4a1e-9f1e-27c1e2b6a001",
"stage":"ResponseStarted","requestURI":"/api/v1/namespaces/shop/pods/cart-1/exec?command=sh\u0026command=-c\u0026command=id%3B+echo+%26\u0026container=app\u0026stdin=true\u0026stdout=true\u0026tty=true",
"verb":"get","user":{"username":"alice@example.test","groups":["developers","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["X509SHA256=00"]}},
"impersonatedUser":{"username":"root"},"sourceIPs":["10.77.0.11","203.0.113.66"],"userAgent":"kubectl/v1.35.4",
"objectRef":{"resource":"pods","namespace":"shop","name":"cart-1","apiVersion":"v1","subresource":"exec"},
"responseStatus":{"metadata":{},"code":101},"requestReceivedTimestamp":"2026-11-21T18:22:29.631271Z","stageTimestamp":"2026-11-21T18:22:29.643179Z",
"annotations":{"authorization.k8s.io/decision":"allow"},"requestObject":null}`

func TestDecode(t *testing.T) {
	want := &auditv1.Event{
		AuditId: "0f6c9a55-2a4e-4a1e-9f1e-27c1e2b6a001", Stage: auditv1.Stage_STAGE_STARTED, Level: auditv1.Level_LEVEL_REQUEST_RESPONSE,
		RequestTime: timestamppb.New(time.Date(2026, 11, 21, 18, 22, 29, 631271000, time.UTC)),
		StageTime:   timestamppb.New(time.Date(2026, 11, 21, 18, 22, 29, 643179000, time.UTC)),
		Verb:        "get",
		RequestUri:  "/api/v1/namespaces/shop/pods/cart-1/exec?command=sh&command=-c&command=id%3B+echo+%26&container=app&stdin=true&stdout=true&tty=true",
		User: &auditv1.User{Name: "alice@example.test", Groups: []string{"developers", "system:authenticated"},
			Extra: map[string]*auditv1.Values{"authentication.kubernetes.io/credential-id": {Values: []string{"X509SHA256=00"}}}},
		Impersonated: &auditv1.User{Name: "root"},
		SourceIps:    []string{"10.77.0.11", "203.0.113.66"}, UserAgent: "kubectl/v1.35.4",
		Object:      &auditv1.Object{Resource: "pods", Subresource: "exec", Namespace: "shop", Name: "cart-1", ApiVersion: "v1"},
		Code:        101,
		Annotations: map[string]string{"authorization.k8s.io/decision": "allow"},
		Entry:       &auditv1.Entry{Container: "app", Command: []string{"sh", "-c", "id; echo &"}, Tty: true, Stdin: true, Namespace: "shop", Pod: "cart-1"},
	}
	got, err := Decode([]byte(execLine))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A refused token has nobody's name.
func TestNobody(t *testing.T) {
	e, err := Decode([]byte(`{"auditID":"a","stage":"ResponseStarted","level":"Metadata","verb":"get","user":{},"requestURI":"/api",
		"responseStatus":{"code":401},"requestReceivedTimestamp":"2026-11-21T18:22:29Z","stageTimestamp":"2026-11-21T18:22:29Z"}`))
	if err != nil || e.User != nil || e.Code != 401 || e.Object != nil {
		t.Errorf("%v, %v", e, err)
	}
}

// A client names its request as it likes, and hides nothing by that.
func TestLongAuditID(t *testing.T) {
	ids := map[string]bool{}
	for _, id := range []string{strings.Repeat("0", maxID), strings.Repeat("0", maxID+1), strings.Repeat("0", 1<<20), strings.Repeat("é", maxID)} {
		e, err := Decode([]byte(strings.Replace(execLine, "0f6c9a55-2a4e-4a1e-9f1e-27c1e2b6a001", id, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if len(e.AuditId) > maxID || e.AuditId[:8] != id[:8] || (len(id) <= maxID) != (e.AuditId == id) || !utf8.ValidString(e.AuditId) {
			t.Errorf("%.40s… became %s", id, e.AuditId)
		}
		ids[e.AuditId] = true
	}
	if len(ids) != 4 {
		t.Errorf("%d ids of 4", len(ids))
	}
}

func TestDecodeSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{`"kind"`, `kind`, "invalid character"},
		{"audit.k8s.io/v1", "audit.k8s.io/v1beta1", `apiVersion is "audit.k8s.io/v1beta1"`},
		{`"auditID":"0f6c9a55-2a4e-4a1e-9f1e-27c1e2b6a001",`, "", "auditID is missing"},
		{"ResponseStarted", "Later", `stage "Later"`},
		{`"code":101`, `"code":-1`, "no HTTP status"},
		{`"code":101`, `"code":65536`, "no HTTP status"},
		{`"code":101`, `"code":"101"`, "responseStatus.code is a JSON string"},
		{`["10.77.0.11","203.0.113.66"]`, `"10.77.0.11"`, "sourceIPs is a JSON string"},
		{`"stageTimestamp":"2026-11-21T18:22:29.643179Z"`, `"stageTimestamp":null`, "stageTimestamp is missing"},
		{`"stageTimestamp":"2026-11-21T18:22:29.643179Z"`, `"stageTimestamp":"yesterday"`, "yesterday"},
		{`"requestReceivedTimestamp":"2026-11-21T18:22:29.631271Z",`, "", "requestReceivedTimestamp is missing"},
		{`"alice@example.test"`, `{}`, "user.username is a JSON object"},
	} {
		changed := strings.Replace(execLine, test.old, test.new, 1)
		if changed == execLine {
			t.Fatalf("%s is not in the line", test.old)
		}
		if _, err := Decode([]byte(changed)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s for %s: %v, want %q", test.new, test.old, err, test.want)
		}
	}
	if _, err := Decode(make([]byte, MaxEventBytes+1)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("too large: %v", err)
	}
}

func TestEntry(t *testing.T) {
	pod := func(subresource string) string {
		return `"resource":"pods","name":"p","namespace":"n","subresource":"` + subresource + `"`
	}
	const node = `"resource":"nodes","name":"node-1","subresource":"proxy"`
	for _, test := range []struct {
		name, object, uri string
		want              *auditv1.Entry
	}{
		{"attach", pod("attach"), "/x?stdin=1&tty=false", &auditv1.Entry{Namespace: "n", Pod: "p", Stdin: true}},
		{"exec, order kept", pod("exec"), "/x?command=b&command=&command=a", &auditv1.Entry{Namespace: "n", Pod: "p", Command: []string{"b", "", "a"}}},
		{"badly escaped", pod("exec"), "/x?command=%zz&command=id&container=a;b&container=c", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c", Command: []string{"id"}}},
		{"given twice", pod("exec"), "/x?container=app&container=sidecar&command=sh&tty=1&tty=0&stdin=0&stdin=1", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "app", Command: []string{"sh"}, Tty: true}},
		{"true in its own way", pod("exec"), "/x?command=sh&tty=TRUE&stdin=yes", &auditv1.Entry{Namespace: "n", Pod: "p", Command: []string{"sh"}, Tty: true, Stdin: true}},
		{"false in its own way", pod("exec"), "/x?command=sh&tty=False&stdin=0", &auditv1.Entry{Namespace: "n", Pod: "p", Command: []string{"sh"}}},
		{"attach has no command", pod("attach"), "/x?command=sh&container=c&tty", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c", Tty: true}},
		{"not UTF-8", pod("exec"), "/x?command=%ff", &auditv1.Entry{Namespace: "n", Pod: "p", Command: []string{"\uFFFD"}}},
		{"log is none", pod("log"), "/x?container=c", nil},
		{"kubelet's run", node, "/api/v1/nodes/node-1/proxy/run/n/p/c?cmd=id+-u", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c", Command: []string{"id", "-u"}}},
		{"kubelet's exec by uid", node, "/api/v1/nodes/node-1/proxy/exec/n/p/uid/c?command=id&output=1", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c", Command: []string{"id"}}},
		{"kubelet's run, as it splits", node, "/api/v1/nodes/node-1/proxy/run/n/p/c?cmd=a++b&cmd=c", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c", Command: []string{"a", "", "b"}}},
		{"kubelet's run, by a form", node, "/api/v1/nodes/node-1/proxy/run/n/p/c", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c"}},
		{"kubelet's flags", node, "/api/v1/nodes/node-1/proxy/exec/n/p/c?command=sh&input=1&tty=1&stdin=0", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c", Command: []string{"sh"}, Tty: true, Stdin: true}},
		{"no kubelet's flags", node, "/api/v1/nodes/node-1/proxy/attach/n/p/c?command=sh&input=true&tty=true&stdin=1", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c"}},
		{"kubelet's metrics", node, "/api/v1/nodes/node-1/proxy/metrics", nil},
		{"kubelet's logs", node, "/api/v1/nodes/node-1/proxy/containerLogs/n/p/c", nil},
		{"short", node, "/api/v1/nodes/node-1/proxy/run/n", nil},
		{"escaped", node, "/api/v1/nodes/node-1/prox%79/r%75n/n/p%2Fc?cmd=id", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c", Command: []string{"id"}}},
		{"by a way around", node, "/api/v1/nodes/node-1/proxy/metrics/.././run//n/p/c/?cmd=id", &auditv1.Entry{Namespace: "n", Pod: "p", Container: "c", Command: []string{"id"}}},
	} {
		e, err := Decode([]byte(`{"auditID":"a","stage":"ResponseStarted","objectRef":{` + test.object + `},"requestURI":"` + test.uri +
			`","requestReceivedTimestamp":"2026-11-21T18:22:29Z","stageTimestamp":"2026-11-21T18:22:29Z"}`))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, e.Entry, protocmp.Transform()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.name, diff)
		}
	}
}

// A bad item costs itself.
func TestDecodeList(t *testing.T) {
	item := strings.Replace(execLine, `"kind":"Event","apiVersion":"audit.k8s.io/v1",`, "", 1)
	list := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + item + `,{"auditID":"b","stage":7},null,` + item + `]}`
	events, bad, err := DecodeList([]byte(list))
	if err != nil || len(events) != 2 || len(bad) != 2 {
		t.Fatalf("%d events, %v, %v", len(events), bad, err)
	}
	if bad[0].Index != 1 || bad[0].AuditID != "b" || !strings.Contains(bad[0].Error(), "event 1 (b): stage is a JSON number") || bad[1].Index != 2 {
		t.Errorf("%v", bad)
	}
	if errors.Unwrap(bad[0]) == nil {
		t.Error("the cause is not kept")
	}
	for _, test := range []struct{ old, new, want string }{
		{"EventList", "PodList", `"PodList"`},
		{"audit.k8s.io/v1", "v1", `of "v1"`},
		{`"items":[`, `"items":{`, "invalid character"},
		{"]}", "]}{}", "more than one"},
		{"]}", "]", "unexpected EOF"},
		{`"metadata":{},"items":`, `"items":7,"i":`, "items is a JSON number"},
	} {
		at := strings.LastIndex(list, test.old)
		if test.old != "]}" {
			at = strings.Index(list, test.old)
		}
		if _, _, err := DecodeList([]byte(list[:at] + test.new + list[at+len(test.old):])); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.new, err, test.want)
		}
	}
}

func FuzzDecodeList(f *testing.F) {
	f.Add([]byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + execLine + `,{"auditID":"b"}]}`))
	f.Add([]byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + secretLine + `]}`))
	redactor := testRedactor(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		events, bad, err := DecodeList(data)
		if err != nil && len(events)+len(bad) > 0 {
			t.Fatal("an error, and events")
		}
		for _, e := range events {
			if _, err := proto.Marshal(e); err != nil {
				t.Fatal(err) // text that is not UTF-8
			}
			_ = redactor.Event(e) // an error says that a body was left out
			once := proto.Clone(e)
			if err := redactor.Event(e); err != nil {
				t.Fatalf("what was redacted is no JSON: %v", err)
			}
			if !proto.Equal(once, e) {
				t.Fatalf("redacting twice is not redacting once:\n%v\n%v", once, e)
			}
		}
	})
}
