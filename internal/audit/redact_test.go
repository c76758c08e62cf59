package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/redact"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// secretLine is a Secret made with kubectl apply.
const secretLine = `{"auditID":"s","stage":"ResponseComplete","level":"RequestResponse","verb":"create","requestURI":"/api/v1/namespaces/shop/secrets",
"objectRef":{"resource":"secrets","namespace":"shop","name":"db","apiVersion":"v1"},"responseStatus":{"code":201},
"requestReceivedTimestamp":"2026-11-21T18:22:29Z","stageTimestamp":"2026-11-21T18:22:29Z",
"requestObject":{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db","labels":{"app":"shop"},"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"password\":\"c2VjcmV0\"}}"}},
"data":{"password":"c2VjcmV0","port":5432,"nested":{"kind":"CANARY","metadata":{"x":"CANARY"}}},"stringData":{"user":"CANARY"},"type":"Opaque"}}`

func testRedactor(t testing.TB) *Redactor {
	t.Helper()
	r, err := redact.New(bytes.Repeat([]byte{7}, redact.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return NewRedactor(r)
}

func redacted(t *testing.T, line string) *auditv1.Event {
	t.Helper()
	e, err := Decode([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := testRedactor(t).Event(e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestNothingOfASecretStays(t *testing.T) {
	e := redacted(t, secretLine)
	const want = `{"apiVersion":"v1","data":{"nested":{"kind":"[dropped]","metadata":{"x":"[dropped]"}},"password":"[dropped]","port":"[dropped]"},` +
		`"kind":"Secret","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"[dropped]"},"labels":{"app":"shop"},"name":"db"},` +
		`"stringData":{"user":"[dropped]"},"type":"Opaque"}`
	if string(e.Request) != want {
		t.Errorf("got  %s\nwant %s", e.Request, want)
	}
}

// Whatever the shape that a secret comes in, no byte of it stays.
func TestSecretsByShape(t *testing.T) {
	const canary = "kJ8vQ2mZp4Wx7Rt1"
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	jwt := "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6c2hvcDp3ZWIifQ." + strings.Repeat(canary, 4)
	line := func(object, uri, bodies string) string {
		return `{"auditID":"a","stage":"ResponseComplete","objectRef":{` + object + `},"requestURI":` + quote(uri) + `,` + bodies +
			`,"requestReceivedTimestamp":"2026-11-21T18:22:29Z","stageTimestamp":"2026-11-21T18:22:29Z"}`
	}
	request := func(object, body string) string { return line(object, "/x", `"requestObject":`+body) }
	pod := func(container string) string {
		return request(`"resource":"pods"`, `{"kind":"Pod","spec":{"containers":[{`+container+`}]}}`)
	}
	const secrets = `"resource":"secrets"`
	for name, text := range map[string]string{
		"list of secrets":         line(secrets, "/x", `"responseObject":{"kind":"SecretList","apiVersion":"v1","items":[{"metadata":{"name":"a"},"data":{"k":"`+encoded+`"}}]}`),
		"merge patch":             request(secrets, `{"data":{"k":"`+encoded+`"}}`),
		"JSON patch":              request(secrets, `[{"op":"replace","path":"/data/k","value":"`+encoded+`"}]`),
		"JSON patch of all":       request(secrets, `[{"op":"add","path":"/data","value":{"k":"`+encoded+`"}}]`),
		"table":                   line(secrets, "/x", `"responseObject":{"kind":"Table","rows":[{"cells":["`+canary+`"]}]}`),
		"secret in a list":        request(`"resource":"x"`, `{"kind":"List","items":[{"kind":"Secret","apiVersion":"v1","data":{"k":"`+encoded+`"}}]}`),
		"number in a secret":      request(secrets, `{"data":{"pin":7391046528173645}}`),
		"issued token":            line(`"resource":"serviceaccounts","subresource":"token"`, "/x", `"responseObject":{"kind":"TokenRequest","status":{"token":"`+jwt+`"}}`),
		"reviewed token":          request(`"resource":"tokenreviews"`, `{"kind":"TokenReview","spec":{"token":"`+jwt+`"}}`),
		"opaque reviewed token":   request(`"resource":"tokenreviews"`, `{"kind":"TokenReview","spec":{"token":"`+canary+`"}}`),
		"environment":             pod(`"env":[{"name":"DB_PASSWORD","value":"` + canary + `"}]`),
		"environment by a patch":  request(`"resource":"deployments"`, `[{"op":"add","path":"/spec/env/-","value":{"name":"API_TOKEN","value":"`+canary+`"}}]`),
		"config by a patch":       request(`"resource":"configmaps"`, `[{"op":"add","path":"/data/password","value":"`+canary+`"}]`),
		"variable by a patch":     request(`"resource":"deployments"`, `[{"op":"replace","path":"/spec/template/spec/containers/0/env/3/value","value":"`+canary+`"}]`),
		"variables by a patch":    request(`"resource":"deployments"`, `[{"op":"add","path":"/spec/env","value":[{"name":"API_TOKEN","value":"`+canary+`"}]}]`),
		"variable in a patch":     request(`"resource":"deployments"`, `[{"op":"add","path":"/spec/env/0","value":{"name":"API_TOKEN","value":"`+canary+`"}}]`),
		"last applied by a patch": request(`"resource":"x"`, `[{"op":"add","path":"/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration","value":`+quote(`{"kind":"Secret","apiVersion":"v1","data":{"k":"`+encoded+`"}}`)+`}]`),
		"escaped name by a patch": request(`"resource":"x"`, `[{"op":"add","path":"/metadata/annotations/example.org~1api-token","value":"`+canary+`"}]`),
		"manifest, JSON":          request(`"resource":"configmaps"`, `{"kind":"ConfigMap","data":{"m":`+quote(` {"apiVersion": "v1", "kind": "Secret", "data": {"k": "`+encoded+`"}}`)+`}}`),
		"manifest, JSON in JSON":  request(`"resource":"configmaps"`, `{"data":{"m":`+quote(`{"a":`+quote(`{"kind":"Secret","stringData":{"k":"`+canary+`"}}`)+`}`)+`}}`),
		"manifest, spoiled JSON":  request(`"resource":"configmaps"`, `{"data":{"m":`+quote(`{"kind":"Secret","stringData":{"k":"`+canary+`"}`)+`}}`),
		"manifest, YAML":          request(`"resource":"configmaps"`, `{"data":{"m":`+quote("kind: A\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: db\ndata:\n  value: "+encoded+"\n---\nkind: B\n")+`}}`),
		"manifest, YAML list":     request(`"resource":"x"`, `{"spec":{"m":`+quote("items:\n- 'kind' : \"Secret\"\n  data: {value: "+encoded+"}\n")+`}}`),
		"manifest in annotation":  request(`"resource":"pods"`, `{"metadata":{"annotations":{"backup/original":`+quote(`{"kind":"SecretList","items":[{"data":{"v":"`+encoded+`"}}]}`)+`}}}`),
		"manifest by a patch":     request(`"resource":"configmaps"`, `[{"op":"add","path":"/data/m","value":`+quote("kind: Secret\ndata:\n  v: "+encoded)+`}]`),
		"binary data":             request(`"resource":"configmaps"`, `{"kind":"ConfigMap","binaryData":{"config":"`+encoded+`"}}`),
		"binary data by a patch":  request(`"resource":"configmaps"`, `[{"op":"add","path":"/binaryData/config","value":"`+encoded+`"}]`),
		"command and args":        pod(`"command":["mysql"],"args":["-uroot","-p` + canary + `"]`),
		"args of a shell":         pod(`"args":["sh","-c","curl -u admin:` + canary + ` http://x"]`),
		"probe":                   pod(`"livenessProbe":{"exec":{"command":["redis-cli","-a","` + canary + `","ping"]}}`),
		"config map":              request(`"resource":"configmaps"`, `{"kind":"ConfigMap","data":{"app.properties":"user=a\npassword=`+canary+`\n"}}`),
		"annotation":              request(`"resource":"pods"`, `{"metadata":{"annotations":{"x/api-token":"`+canary+`"}}}`),
		"last applied":            request(`"resource":"pods"`, `{"metadata":{"annotations":{"`+lastApplied+`":`+quote(`{"spec":{"containers":[{"env":[{"name":"DB_PASSWORD","value":"`+canary+`"}]}]}}`)+`}}}`),
		"exec":                    line(`"resource":"pods","subresource":"exec"`, "/x/exec?command=mysql&command=-uroot&command=-p"+canary, `"verb":"get"`),
		"exec of a shell":         line(`"resource":"pods","subresource":"exec"`, "/x/exec?command=sh&command=-c&command="+url.QueryEscape("export TOKEN="+canary), `"verb":"get"`),
		"query":                   line(`"resource":"pods"`, "/x?access_token="+canary, `"verb":"get"`),
		"proxied query":           line(`"resource":"services","subresource":"proxy"`, "/api/v1/namespaces/n/services/s/proxy/login?user=a&password="+canary, `"verb":"get"`),
		"user agent":              line(`"resource":"pods"`, "/x", `"userAgent":"curl password=`+canary+`"`),
		"message":                 line(`"resource":"pods"`, "/x", `"responseStatus":{"message":"bad header Authorization: Bearer `+jwt+`"}`),
		"audit annotation":        line(`"resource":"pods"`, "/x", `"annotations":{"x/secret-token":"`+canary+`"}`),
	} {
		e := redacted(t, text)
		out, err := proto.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{canary, encoded, "7391046528173645"} {
			for i := 0; i+8 <= len(secret); i++ {
				if bytes.Contains(out, []byte(secret[i:i+8])) {
					t.Errorf("%s: %q stays in %v", name, secret[i:i+8], e)
					break
				}
			}
		}
	}
}

// What stands beside a Secret's manifest stays, and what only sounds like one.
func TestManifestsBesideSecrets(t *testing.T) {
	r := testRedactor(t)
	for text, want := range map[string]string{
		"kind: A\n---\nkind: Secret\ndata: {a: b}\n---\nkind: B\n": "kind: A\n---\n[dropped]\n---\nkind: B\n",
		"kind: Secret\ndata: {a: b}\n":                             "[dropped]",
		`{"kind":"Secret","data":{"a":"b"},"type":"t"}`:            `{"data":{"a":"[dropped]"},"kind":"Secret","type":"t"}`,
		"kind: SecretProviderClass\nspec: {a: b}\n":                "kind: SecretProviderClass\nspec: {a: b}\n",
		`{"kind":"Secrets","data":{"a":"b"}}`:                      `{"kind":"Secrets","data":{"a":"b"}}`,
	} {
		got := r.manifests(text)
		if got != want || r.manifests(got) != got {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// What rules and joins need stays.
func TestWhatIsNoSecretStays(t *testing.T) {
	e := redacted(t, execLine)
	want, err := Decode([]byte(execLine))
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(want, e) {
		t.Errorf("got  %v\nwant %v", e, want)
	}
	const pod = `{"kind":"Pod","metadata":{"name":"miner"},"spec":{"containers":[{"args":["-o","stratum+tcp://pool.example:3333"],"command":["xmrig"],` +
		`"image":"a/b@sha256:0123","securityContext":{"privileged":true,"runAsUser":0}}],"hostPID":true,"volumes":[{"hostPath":{"path":"/"}}]}}`
	e = redacted(t, `{"auditID":"a","stage":"ResponseComplete","requestObject":`+pod+`,"requestReceivedTimestamp":"2026-11-21T18:22:29Z","stageTimestamp":"2026-11-21T18:22:29Z"}`)
	if string(e.Request) != pod {
		t.Errorf("got  %s\nwant %s", e.Request, pod)
	}
}

func TestBodiesAreKeptUpToTheBound(t *testing.T) {
	for _, size := range []int{MaxBodyBytes - 1, MaxBodyBytes, MaxBodyBytes + 1} {
		text := fmt.Sprintf(`{"a":"%s"}`, strings.Repeat("x", size-8))
		e := redacted(t, `{"auditID":"a","stage":"ResponseComplete","requestObject":`+text+`,"requestReceivedTimestamp":"2026-11-21T18:22:29Z","stageTimestamp":"2026-11-21T18:22:29Z"}`)
		if fits := len(text) <= MaxBodyBytes; fits != (string(e.Request) == text) || fits != (e.RequestShortenedBytes == 0) {
			t.Errorf("of %d bytes %d are kept, %d said to be left out", len(text), len(e.Request), e.RequestShortenedBytes)
		}
	}
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string has always a JSON form
	}
	return string(text)
}
