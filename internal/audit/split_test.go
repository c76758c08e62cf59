package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// patched is an event with a body as a client sent it.
func patched(id, body string) string {
	return fmt.Sprintf(`{"level":"RequestResponse","auditID":"%s","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web","verb":"patch","user":{"username":"mallory"},`+
		`"objectRef":{"resource":"pods","namespace":"shop","name":"web"},"responseStatus":{"code":400},"requestObject":%s,`+
		`"requestReceivedTimestamp":"2026-11-21T18:22:29.631271Z","stageTimestamp":"2026-11-21T18:22:29.643179Z"}`, id, body)
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// Nobody hides his request, or those beside it, behind what he sends.
func TestHostileBodies(t *testing.T) {
	redactor := testRedactor(t)
	for name, test := range map[string]struct {
		body          string
		omitted, kept bool // a part, or more than nothing
	}{
		"3 MiB":                    {`{"data":"` + strings.Repeat("x", 3<<20) + `"}`, false, true},
		"3 MiB of small parts":     {`[` + strings.TrimSuffix(strings.Repeat(`{"op":"add","path":"/a","value":"b"},`, 3<<20/38), ",") + `]`, true, true},
		"3 MiB of commands":        {`{"command":[` + strings.TrimSuffix(strings.Repeat(`"-p",`, 3<<20/6), ",") + `]}`, true, true},
		"3 MiB of escapes":         {`"` + strings.Repeat(`\u0026`, 3<<20/6) + `"`, false, true},
		"nested for the event":     {nested(10_000), true, false},
		"nested for the list":      {nested(9_998), false, true},
		"nested beyond everything": {nested(1 << 20), true, false},
		"nested in objects":        {strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000), true, false},
		"applied in applied":       {applied(12), false, true},
		"brackets in strings":      {`{"a":"]}\"]}","b\\":["}]",{"\"":"{["}]}`, false, true},
		"keys twice":               {`{"kind":"ConfigMap","kind":"Secret","apiVersion":"v1","data":{"a":"CANARY"},"data":{"b":"CANARY"}}`, false, true},
		"keys twice, other order":  {`{"kind":"Secret","data":{"a":"CANARY"},"kind":"Secret","apiVersion":"v1"}`, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(e *auditv1.Event) {
				t.Helper()
				if e.AuditId != "hostile" || e.User.GetName() != "mallory" || e.Verb != "patch" || e.Object.GetName() != "web" || e.Code != 400 {
					t.Errorf("it became %.300v", e)
				}
				_ = redactor.Event(e) // an error says that a body was left out
				if omitted := e.RequestOmittedBytes > 0; omitted != test.omitted || test.kept != (len(e.Request) > 0) {
					t.Errorf("%d bytes are kept, %d left out", len(e.Request), e.RequestOmittedBytes)
				}
				if strings.Contains(string(e.Request), "CANARY") || len(e.Request) > 0 && !json.Valid(e.Request) {
					t.Errorf("%.200s", e.Request)
				}
			}
			e, err := Decode([]byte(patched("hostile", test.body)))
			if err != nil {
				t.Fatal(err)
			}
			check(e)
			events, bad, err := DecodeList([]byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` +
				patched("before", "{}") + "," + patched("hostile", test.body) + " , " + patched("behind", "null") + `]}`))
			if err != nil || len(bad) > 0 || len(events) != 3 || events[0].AuditId != "before" || events[2].AuditId != "behind" {
				t.Fatalf("%d events, %v, %v", len(events), bad, err)
			}
			check(events[1])
		})
	}
}

// applied is kubectl's copy of an object that has kubectl's copy.
func applied(depth int) string {
	text := `{"data":"` + strings.Repeat("x", 400) + `"}`
	for range depth {
		quoted, err := json.Marshal(text)
		if err != nil {
			panic(err)
		}
		text = `{"metadata":{"annotations":{"` + lastApplied + `":` + string(quoted) + `}}}`
	}
	return text
}

// What is split is what encoding/json finds, wherever that can read it.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{`{}`, `[]`, `{"a":1,"b":[{"c":"]}"}],"a":"\\\""}`, `[1, "x,y" ,{"a":[]},null]`, `{"a" : {} , "b":-1e3}`, `[,]`, `{"a"}`, `["`, `{"a":}`, patched("a", nested(20))} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var object map[string]json.RawMessage
		var list []json.RawMessage
		members := map[string]string{}
		err := eachMember(data, func(name string, value []byte) error {
			members[name] = string(value)
			return nil
		})
		if json.Unmarshal(data, &object) == nil && object != nil {
			if err != nil || len(members) != len(object) {
				t.Fatalf("%v: %q", err, members)
			}
			for name, want := range object {
				if members[name] != string(want) {
					t.Fatalf("%q is %q, want %q", name, members[name], want)
				}
			}
		}
		var items []string
		err = eachItem(data, func(item []byte) error {
			items = append(items, string(item))
			return nil
		})
		if json.Unmarshal(data, &list) == nil && list != nil {
			if err != nil || len(items) != len(list) {
				t.Fatalf("%v: %q", err, items)
			}
			for i, want := range list {
				if items[i] != string(want) {
					t.Fatalf("%q, want %q", items[i], want)
				}
			}
		}
	})
}

// FuzzBody has whatever a client sends as the body of an event.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{}`, `[{"op":"replace","path":"/data/password","value":"x"}]`, `{"kind":"Secret","kind":"Pod","data":{"a":"b"}}`, nested(50),
		`{"metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{}}"}}}`, `{"command":["mysql","-pX"],"args":["--password","y"]}`, `{"a":1e999}`, `"\ud800"`} {
		f.Add([]byte(seed))
	}
	redactor := testRedactor(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := Decode([]byte(patched("a", string(body))))
		if err != nil {
			if json.Valid(body) {
				t.Fatalf("a body that is JSON costs the event: %v", err)
			}
			return
		}
		_ = redactor.Event(e) // an error says that a body was left out
		if len(e.Request) > MaxBodyBytes || len(e.Request) > 0 && !json.Valid(e.Request) {
			t.Fatalf("%d bytes are kept: %.200s", len(e.Request), e.Request)
		}
	})
}
