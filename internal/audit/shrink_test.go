package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// large is an event with a request's body.
func large(t *testing.T, body string) *auditv1.Event {
	t.Helper()
	return redacted(t, patched("large", body))
}

func repeated(n int, item string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, item, i)
	}
	return b.String()
}

// What rules and joins look for is there however much stands beside it.
func TestPaddingHidesNothing(t *testing.T) {
	const bad = `"hostPID":true,"containers":[{"name":"c","image":"i","securityContext":{"privileged":true},"args":["%s"],"env":[{"name":"E","value":"%s"}]}],"volumes":[{"name":"v","hostPath":{"path":"/"}}]`
	pod := func(args, env, annotations string) string {
		return `{"kind":"Pod","metadata":{"name":"p","annotations":{` + annotations + `}},"spec":{` + fmt.Sprintf(bad, args, env) + `}}`
	}
	for name, test := range map[string]struct {
		body    string
		stays   []string
		omitted bool // a part of the structure is
	}{
		"args":        {pod(strings.Repeat("x", 400_000), "", ""), []string{`"hostPID":true`, `"privileged":true`, `"path":"/"`, `["[400000 bytes left out]"]`}, false},
		"env":         {pod("a", strings.Repeat("y ", 1_500_000), ""), []string{`"hostPID":true`, `"privileged":true`, `"path":"/"`, `"args":["a"]`}, false},
		"many texts":  {pod(strings.Repeat("x", 300)+`","`+repeated(9000, strings.Repeat("z", 300)+"%d\",\"")[:9000*305], "", ""), []string{`"privileged":true`, `"path":"/"`}, false},
		"annotations": {pod("", "", repeated(100, `"a%d":"`+strings.Repeat("z", 10_000)+`"`)), []string{`"hostPID":true`, `"privileged":true`, `"a99":"[10000 bytes left out]"`}, false},
		"many annotations": {pod("a", "b", repeated(100_000, `"a%d":"b"`)),
			[]string{`"hostPID":true`, `"privileged":true`, `"path":"/"`, `"a1":"b"`}, true},
		"long names": {pod("a", "b", `"`+strings.Repeat("k", 500_000)+`":""`), []string{`"hostPID":true`, `"privileged":true`}, true},
		"subjects": {`{"kind":"ClusterRoleBinding","subjects":[` + repeated(3500, `{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"somebody-with-a-name-of-some-length-in-it-`+strings.Repeat("s", 40)+`%d"}`) +
			`],"roleRef":{"kind":"ClusterRole","name":"cluster-admin"}}`, []string{`"name":"cluster-admin"`, `sss0"`, `sss1000"`}, true},
		"fields that nobody knows": {`{` + repeated(200_000, `"f%d":{"a":[1]}`) + `,"spec":{` + repeated(50_000, `"g%d":1`) + `,` + fmt.Sprintf(bad, "", "") + `}}`,
			[]string{`"hostPID":true`, `"privileged":true`, `"path":"/"`}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if !json.Valid([]byte(test.body)) {
				t.Fatalf("%.300s", test.body)
			}
			e := large(t, test.body)
			if !json.Valid(e.Request) || len(e.Request) > MaxBodyBytes {
				t.Fatalf("%d bytes: %.300s", len(e.Request), e.Request)
			}
			for _, text := range test.stays {
				if !bytes.Contains(e.Request, []byte(text)) {
					t.Errorf("%s is gone: %.300s", text, e.Request)
				}
			}
			if (e.RequestOmittedBytes > 0) != test.omitted || e.RequestOmittedBytes == 0 && e.RequestShortenedBytes == 0 {
				t.Errorf("%d bytes omitted, %d shortened", e.RequestOmittedBytes, e.RequestShortenedBytes)
			}
			// A try that is repeated changes nothing.
			again := fmt.Sprint(e)
			if err := testRedactor(t).Event(e); err != nil || fmt.Sprint(e) != again {
				t.Errorf("redacted again it is another: %v", err)
			}
		})
	}
}

// The longest texts go, and only they.
func TestShrinkKeepsShortTexts(t *testing.T) {
	long, middle := strings.Repeat("l", 300_000), strings.Repeat("m", 120_000)
	e := large(t, `{"a":"`+long+`","b":"`+middle+`","c":"`+middle+`"}`)
	if want := `{"a":"[300000 bytes left out]","b":"` + middle + `","c":"` + middle + `"}`; string(e.Request) != want {
		t.Errorf("%.300s", e.Request)
	}
	if e.RequestShortenedBytes != 300_000 || e.RequestOmittedBytes != 0 {
		t.Errorf("%d, %d", e.RequestShortenedBytes, e.RequestOmittedBytes)
	}
}

// No secret stays because the text that tells it is gone, or because it was made to fit.
func TestShrinkKeepsNoSecret(t *testing.T) {
	pad := strings.Repeat("p", 500_000)
	for name, body := range map[string]string{
		"secret":                    `{"pad":"` + pad + `","kind":"Secret","apiVersion":"v1","data":{"a":"CANARY"}}`,
		"secret behind many fields": `{` + repeated(100_000, `"f%d":"v"`) + `,"data":{"a":"CANARY"},"kind":"Secret"}`,
		"variable":                  `{"kind":"Pod","pad":"` + pad + `","spec":{"containers":[{"env":[{"name":"DB_PASSWORD","value":"CANARY-CANARY"}]}]}}`,
	} {
		if e := large(t, body); bytes.Contains(e.Request, []byte("CANARY")) || len(e.Request) == 0 {
			t.Errorf("%s: %.300s", name, e.Request)
		}
	}
}

func TestTruncatedByTheServer(t *testing.T) {
	line := strings.Replace(execLine, `"annotations":{`, `"annotations":{"audit.k8s.io/truncated":"true",`, 1)
	for text, want := range map[string]bool{execLine: false, line: true} {
		if e, err := Decode([]byte(text)); err != nil || e.Truncated != want {
			t.Errorf("%v, %v", e, err)
		}
	}
}

func FuzzShrink(f *testing.F) {
	f.Add([]byte(`{"kind":"Pod","spec":{"a":["x",1,true,null,{"b":"`+strings.Repeat("y", 300)+`"}],"c":{}}}`), uint16(200))
	f.Add([]byte(`[ [ ] , "\"\\" , -1.5e3 , { "k" : { } , "kind" : [ 0 ] } ]`), uint16(10))
	f.Fuzz(func(t *testing.T, raw []byte, most uint16) {
		if !json.Valid(raw) {
			return
		}
		kept, gone := shrink(raw, int(most))
		switch {
		case kept == nil && gone.omitted != uint64(len(raw)):
			t.Fatalf("%d bytes of %d are said to be gone", gone.omitted, len(raw))
		case kept == nil:
		case len(kept) > int(most) || !json.Valid(kept):
			t.Fatalf("%d bytes: %s", len(kept), kept)
		case len(raw) > int(most) && len(raw) < len(kept):
			t.Fatalf("%s grew to %s", raw, kept)
		}
	})
}

// giants are bodies that are large in every way.
func giants() map[string]string {
	const size = 3 << 20
	return map[string]string{
		"one text":   `{"a":"` + strings.Repeat("x", size) + `"}`,
		"texts":      `[` + repeated(size/290, `"`+strings.Repeat("x", 280)+`%06d"`) + `]`,
		"numbers":    `[` + strings.Repeat("0,", size/2) + `0]`,
		"objects":    `[` + strings.Repeat("{},", size/3) + `{}]`,
		"lists":      strings.Repeat("[", 4000) + strings.Repeat("0,", size/2) + "0" + strings.Repeat("]", 4000),
		"operations": `[` + repeated(size/50, `{"op":"add","path":"/a","value":"%d"}`) + `]`,
		"fields":     `{` + repeated(size/12, `"%d":"b"`) + `}`,
		"nested": `{"a":` + strings.Repeat(`{"kind":1,"spec":2,"name":3,"from":`, 9000) + "0" + strings.Repeat("}", 9000) +
			`,"b":[` + strings.Repeat("0,", size/2) + `0]}`,
		"commands": `{"command":[` + strings.Repeat(`"-p",`, size/5) + `"x"]}`,
		"same":     `{` + strings.Repeat(`"kind":1,`, size/9) + `"kind":1}`,
	}
}

// Whatever a client sends costs no more memory than a body that fits: what is decoded is
// what is left of it.
func TestShrinkIsBounded(t *testing.T) {
	redactor := testRedactor(t)
	for name, body := range giants() {
		e := &auditv1.Event{Request: []byte(body)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		kept, _ := shrink(e.Request, MaxBodyBytes)
		runtime.ReadMemStats(&after)
		if made := after.TotalAlloc - before.TotalAlloc; made > 8*MaxBodyBytes || len(kept) > MaxBodyBytes {
			t.Errorf("%s: %d KiB were allocated for %d", name, made>>10, len(kept)>>10)
		}
		if err := redactor.Event(e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if none := name == "same"; none != (len(e.Request) == 0) || none != (e.RequestOmittedBytes == uint64(len(body))) {
			t.Errorf("%s: %d bytes are kept, %d left out", name, len(e.Request), e.RequestOmittedBytes)
		}
	}
}

func BenchmarkShrink(b *testing.B) {
	redactor := testRedactor(b)
	for name, body := range giants() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				_ = redactor.Event(&auditv1.Event{Request: []byte(body)})
			}
		})
	}
}
