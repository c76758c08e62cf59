package enrol

import (
	"crypto"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// apiServer answers reviews as a test wants it to.
type apiServer struct {
	*httptest.Server
	at     APIServer
	answer func(http.ResponseWriter, *http.Request)

	mu        sync.Mutex
	questions []tokenReview // guarded by mu
}

func (s *apiServer) asked() []tokenReview {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.questions
}

func newAPIServer(t *testing.T, answer func(http.ResponseWriter, *http.Request)) *apiServer {
	t.Helper()
	s := &apiServer{answer: answer}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var question tokenReview
		if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.questions = append(s.questions, question)
		s.mu.Unlock()
		s.answer(w, r)
	}))
	t.Cleanup(s.Close)
	folder := t.TempDir()
	s.at = APIServer{URL: s.URL, TokenFile: filepath.Join(folder, "token"), Roots: filepath.Join(folder, "ca.crt")}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for file, text := range map[string][]byte{s.at.TokenFile: []byte("own-token\n"), s.at.Roots: root} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *apiServer) reviewer(t *testing.T) *APIReviewer {
	t.Helper()
	r, err := NewAPIReviewer(s.at, audience)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reviewed is what an API server answers about a good token.
const reviewed = `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{"managedFields":[]},
	"spec":{"token":"t","audiences":["seawall-collector"]},
	"status":{"authenticated":true,"user":{"username":"system:serviceaccount:seawall:agent","uid":"1",
	"groups":["system:serviceaccounts","system:serviceaccounts:seawall","system:authenticated"],
	"extra":{"authentication.kubernetes.io/credential-id":["JTI=1"],"authentication.kubernetes.io/node-name":["node-1"],
	"authentication.kubernetes.io/pod-name":["agent-x7"],"authentication.kubernetes.io/pod-uid":["2"]}},
	"audiences":["seawall-collector"]}}`

func says(code int, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body) // a client that has gone is what some tests want
	}
}

func TestAPIReviewer(t *testing.T) {
	without := func(old, replacement string) string {
		if !strings.Contains(reviewed, old) {
			t.Fatalf("no %s", old)
		}
		return strings.Replace(reviewed, old, replacement, 1)
	}
	hang := func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // one that returns would be answered for, which the client may see as it hangs up
	}
	for _, test := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request)
		want   string // "": let in
		unsure bool   // the token may be good
	}{
		{"good", says(201, reviewed), "", false},
		{"good, by a proxy's code", says(200, reviewed), "", false},
		{"without node", says(201, without(`"authentication.kubernetes.io/node-name":["node-1"],`, "")), "", false},
		{"unknown", says(201, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"user":{},"error":"[invalid bearer token, service account token has been invalidated]"}}`),
			"has been invalidated", false},
		{"said not to be known, with all the rest", says(201, without(`"authenticated":true`, `"authenticated":false`)), "does not know it", false},
		{"other audience", says(201, without(`"audiences":["seawall-collector"]}}`, `"audiences":["https://kubernetes.default.svc"]}}`)), "its audience is not", false},
		{"server that knows no audiences", says(201, without(`,
	"audiences":["seawall-collector"]}}`, `}}`)), "its audience is not", false},
		{"a person's", says(201, without("system:serviceaccount:seawall:agent", "alice")), "bound to a pod", false},
		{"a person's who calls himself so", says(201, without("system:serviceaccount:seawall:agent", "system:serviceaccount:seawall")), "bound to a pod", false},
		{"without pod", says(201, without(`"authentication.kubernetes.io/pod-name":["agent-x7"],`, "")), "bound to a pod", false},
		{"two pods", says(201, without(`["agent-x7"]`, `["agent-x7","b"]`)), "bound to a pod", false},

		{"own token is not taken", says(401, `{"kind":"Status"}`), "HTTP 401", true},
		{"no right to ask", says(403, `{"kind":"Status"}`), "system:auth-delegator", true},
		{"out of order", says(500, reviewed), "HTTP 500", true},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusTemporaryRedirect) }, "HTTP 307", true},
		{"garbage", says(201, "<html>"), "invalid character", true},
		{"nothing", says(201, ""), "unexpected end", true},
		{"something else", says(201, `{}`), "is no TokenReview", true},
		{"another version", says(201, without(`"authentication.k8s.io/v1"`, `"authentication.k8s.io/v2"`)), "is no TokenReview", true},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for _, err := io.WriteString(w, reviewed); err == nil; {
				_, err = io.WriteString(w, strings.Repeat(" ", 64<<10))
			}
		}, "has more than", true},
		{"large headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxReviewHeader))
		}, "header", true},
		{"silence", hang, "deadline", true},
		{"silence in the middle", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(201)
			_, _ = io.WriteString(w, reviewed[:20])
			w.(http.Flusher).Flush()
			hang(w, r)
		}, "read the API server's answer", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newAPIServer(t, test.answer)
			r := s.reviewer(t)
			if r.client.Timeout <= 0 {
				t.Error("it waits for ever")
			}
			if strings.HasPrefix(test.name, "silence") {
				r.client.Timeout = 3 * time.Second // enough to ask, on a busy machine
			}
			account, err := r.Review(t.Context(), "their-token")
			want := tokenReview{APIVersion: "authentication.k8s.io/v1", Kind: "TokenReview", Spec: reviewSpec{Token: "their-token", Audiences: []string{audience}}}
			if diff := cmp.Diff([]tokenReview{want}, s.asked()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if test.want == "" {
				want := ServiceAccount{Namespace: "seawall", Name: "agent", Pod: "agent-x7", Node: "node-1"}
				if test.name == "without node" {
					want.Node = ""
				}
				if err != nil || account != want {
					t.Errorf("%+v, %v", account, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrNotReviewed) != test.unsure || account != (ServiceAccount{}) {
				t.Errorf("%+v, %v: want %q, unsure %t", account, err, test.want, test.unsure)
			}
			if err != nil && (strings.Contains(err.Error(), "own-token") || strings.Contains(err.Error(), "their-token")) {
				t.Errorf("it tells a token: %v", err)
			}
		})
	}
}

// What the collector asks with is read anew, and shown to the one it is for only.
func TestAPIReviewerShowsItsTokenToTheServerOnly(t *testing.T) {
	var shown, path string
	s := newAPIServer(t, func(w http.ResponseWriter, r *http.Request) {
		shown, path = r.Header.Get("Authorization"), r.Method+" "+r.URL.Path
		says(201, reviewed)(w, r)
	})
	r := s.reviewer(t)
	if err := os.WriteFile(s.at.TokenFile, []byte("renewed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Review(t.Context(), "t"); err != nil || shown != "Bearer renewed" || path != "POST /apis/authentication.k8s.io/v1/tokenreviews" {
		t.Errorf("%v; asked with %q at %s", err, shown, path)
	}
	if err := os.Remove(s.at.TokenFile); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Review(t.Context(), "t"); !errors.Is(err, ErrNotReviewed) || len(s.asked()) != 1 {
		t.Errorf("without own token: %v", err)
	}

	imposter := newAPIServer(t, says(201, reviewed))
	imposter.at.Roots = func() string { // of somebody else
		file := filepath.Join(t.TempDir(), "ca.crt")
		authority, _, err := OpenAuthority(t.TempDir(), "prod", newClock().now)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Roots()[0].Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}()
	if _, err := imposter.reviewer(t).Review(t.Context(), "t"); !errors.Is(err, ErrNotReviewed) || len(imposter.asked()) != 0 {
		t.Errorf("a server of another CA: %v", err)
	}

	old := httptest.NewUnstartedServer(http.HandlerFunc(says(201, reviewed)))
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // what is to be refused
	old.StartTLS()
	defer old.Close()
	at := s.at
	at.URL = old.URL
	if err := os.WriteFile(s.at.TokenFile, []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := NewAPIReviewer(at, audience)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Review(t.Context(), "t"); !errors.Is(err, ErrNotReviewed) {
		t.Errorf("TLS 1.1: %v", err)
	}
}

func TestNewAPIReviewerIsStrict(t *testing.T) {
	s := newAPIServer(t, says(201, reviewed))
	s.reviewer(t)
	for _, change := range []func(*APIServer) string{
		func(at *APIServer) string { at.URL = strings.Replace(at.URL, "https", "http", 1); return audience },
		func(at *APIServer) string { at.URL = ""; return audience },
		func(at *APIServer) string { at.URL += "?x=y"; return audience },
		func(at *APIServer) string { at.URL = "https://user:pass@host"; return audience },
		func(at *APIServer) string { at.TokenFile = "/nowhere/token"; return audience },
		func(at *APIServer) string { at.Roots = at.TokenFile; return audience },
		func(*APIServer) string { return "" },
	} {
		at := s.at
		made := change(&at)
		if _, err := NewAPIReviewer(at, made); err == nil || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%+v: %v", at, err)
		}
	}
}

// A reviewer that cannot tell is nobody's fault who asks.
func TestEnrolByReview(t *testing.T) {
	s := newAPIServer(t, says(201, reviewed))
	w := newWorld(t, func(o *Options) { o.Reviewer, o.ServiceAccounts = s.reviewer(t), []string{"seawall/agent"} })
	enrol := func() error {
		_, err := w.stranger().Enrol(t.Context(), &sensorv1.EnrolRequest{
			Proof: &sensorv1.EnrolRequest_ServiceAccountToken{ServiceAccountToken: "t"}, CertificateRequestDer: request(t, p256(t)),
		})
		return err
	}
	if err := enrol(); err != nil || w.store.enrolments[0].ServiceAccount != "seawall/agent" {
		t.Fatalf("%v, booked %+v", err, w.store.enrolments)
	}
	s.answer = says(201, strings.ReplaceAll(reviewed, "system:serviceaccount:seawall:agent", "system:serviceaccount:default:web"))
	wantCode(t, enrol(), codes.PermissionDenied, "default/web is not one that may enrol")
	s.answer = says(403, "")
	wantCode(t, enrol(), codes.Unavailable, "could not look into it")
}

// Keys are those that the file has at the time.
func TestKeyFileReviewer(t *testing.T) {
	first, second := p256(t), p256(t)
	file := filepath.Join(t.TempDir(), "jwks.json")
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewKeyFileReviewer(file, issuer, audience, newClock().now); err == nil {
		t.Error("no file, and no word of it")
	}
	write(keySet(t, map[string]crypto.PublicKey{"first": first.Public()}))
	r, err := NewKeyFileReviewer(file, issuer, audience, newClock().now)
	if err != nil {
		t.Fatal(err)
	}
	old, renewed := issueToken(t, first, jose.ES256, "first", podClaims()), issueToken(t, second, jose.ES256, "second", podClaims())
	if _, err := r.Review(t.Context(), old); err != nil {
		t.Error(err)
	}
	if _, err := r.Review(t.Context(), renewed); err == nil || errors.Is(err, ErrNotReviewed) {
		t.Errorf("a key that is not there yet: %v", err)
	}
	write(keySet(t, map[string]crypto.PublicKey{"second": second.Public()}))
	if _, err := r.Review(t.Context(), renewed); err != nil {
		t.Error(err)
	}
	if _, err := r.Review(t.Context(), old); err == nil {
		t.Error("a key that is there no more")
	}
	write([]byte("{"))
	if _, err := r.Review(t.Context(), renewed); !errors.Is(err, ErrNotReviewed) {
		t.Errorf("a file that is no key set: %v", err)
	}
}

func FuzzReadReview(f *testing.F) {
	f.Add([]byte(reviewed))
	f.Add([]byte(`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,"audiences":["seawall-collector"],"user":{"username":"system:serviceaccount::"}}}`))
	f.Add([]byte(`{"kind":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		account, err := readReview(body, audience)
		if (err == nil) != (account.Namespace != "" && account.Name != "" && account.Pod != "") {
			t.Errorf("%+v, %v", account, err)
		}
	})
}
