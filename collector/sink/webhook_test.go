package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

// serveHTTPS answers with handler on loopback.
func serveHTTPS(t *testing.T, handler http.HandlerFunc) (url string, roots *tls.Config) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return server.URL, &tls.Config{RootCAs: pool}
}

func newWebhook(t *testing.T, o WebhookOptions) *Webhook {
	t.Helper()
	if o.Format == nil {
		o.Format = JSON
	}
	w, err := NewWebhook(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() }) // the test is over
	return w
}

func TestWebhookPostsSignedBatches(t *testing.T) {
	secret, now := []byte("0123456789abcdef"), time.Unix(1772366406, 0)
	var header http.Header
	var body []byte
	url, roots := serveHTTPS(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	})
	for _, lines := range []bool{false, true} {
		w := newWebhook(t, WebhookOptions{URL: url, TLS: roots, Secret: secret, Lines: lines, Version: "1.0",
			Header: http.Header{"authorization": {"Bearer x"}}, Now: func() time.Time { return now }})
		deliver(t, w, []Revision{webShell(), {Position: 2, Alert: alertOf(2)}})
		var documents []struct{ ID string }
		if lines {
			for line := range bytes.Lines(body) {
				documents = append(documents, struct{ ID string }{})
				if err := json.Unmarshal(line, &documents[len(documents)-1]); err != nil {
					t.Fatal(err)
				}
			}
		} else if err := json.Unmarshal(body, &documents); err != nil {
			t.Fatal(err)
		}
		if len(documents) != 2 || documents[1].ID != alertOf(2).GetId() {
			t.Errorf("body %s", body)
		}
		if got := header.Get(SignatureHeader); got != Signature(secret, now, body) || !strings.HasPrefix(got, "t=1772366406,v1=") ||
			got == Signature([]byte("another secret!!"), now, body) || got == Signature(secret, now.Add(time.Second), body) {
			t.Errorf("signature %s", got)
		}
		want := map[bool]string{false: "application/json", true: "application/x-ndjson"}[lines]
		if header.Get("Content-Type") != want || header.Get("Authorization") != "Bearer x" || header.Get("User-Agent") != "seawall/1.0" {
			t.Errorf("header %v", header)
		}
	}
}

// The signature's form is a promise: HMAC-SHA-256 of "<t>.<body>" (computed with openssl).
func TestSignatureStays(t *testing.T) {
	got := Signature([]byte("0123456789abcdef"), time.Unix(1772366406, 0), []byte(`[{"id":"1"}]`))
	if want := "t=1772366406,v1=4ab1aa0f36f839a2e86c80c3d7ecf65290b0949fec3edc67522b6a94e125717f"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWebhookStatuses(t *testing.T) {
	status, header := 0, http.Header{}
	url, roots := serveHTTPS(t, func(w http.ResponseWriter, _ *http.Request) {
		for name := range header {
			w.Header().Set(name, header.Get(name))
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "because\nof this"+strings.Repeat("!", 10000))
	})
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := newWebhook(t, WebhookOptions{URL: url, TLS: roots, Now: func() time.Time { return now }})
	for _, test := range []struct {
		status int
		header string
		want   string
	}{
		{200, "", "taken"}, {204, "", "taken"}, {299, "", "taken"},
		{301, "", "declined"}, {302, "", "declined"}, {307, "", "declined"}, {308, "", "declined"}, {304, "", "declined"},
		{400, "", "refused"}, {413, "", "refused"}, {422, "", "refused"}, {400, "5", "refused"},
		{401, "", "declined"}, {403, "", "declined"}, {404, "", "declined"}, {404, "5", "after 5s"}, {410, "", "declined"},
		{408, "", "later"}, {429, "", "later"}, {500, "", "declined"}, {502, "", "declined"}, {599, "", "declined"},
		{429, "7", "after 7s"}, {503, "Sun, 01 Mar 2026 12:01:00 GMT", "after 1m0s"}, {503, "Sun, 01 Mar 2026 11:00:00 GMT", "declined"},
		{503, "soon", "declined"}, {503, "-1", "declined"}, {503, "99999999999999999999", "declined"},
	} {
		status, header = test.status, http.Header{"Location": {"https://127.0.0.1:1/elsewhere"}}
		if test.header != "" {
			header.Set("Retry-After", test.header)
		}
		err := w.Deliver(t.Context(), revisions(1, 1))
		got := "later"
		var refused *RefusedError
		var later *LaterError
		var declined *DeclinedError
		switch {
		case err == nil:
			got = "taken"
		case errors.As(err, &refused):
			got = "refused"
		case errors.As(err, &declined):
			got = "declined"
		case errors.As(err, &later):
			got = "after " + later.After.String()
		}
		if got != test.want {
			t.Errorf("%d, Retry-After %q: %s (%v), want %s", test.status, test.header, got, err, test.want)
		}
		if err != nil && (len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "elsewhere")) {
			t.Errorf("%d: error %q", test.status, err)
		}
	}
}

func TestWebhookAnswerWithoutEnd(t *testing.T) {
	var sent atomic.Int64
	url, roots := serveHTTPS(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		for chunk := make([]byte, 32<<10); ; {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	w := newWebhook(t, WebhookOptions{URL: url, TLS: roots})
	var refused *RefusedError
	if err := w.Deliver(t.Context(), revisions(1, 1)); !errors.As(err, &refused) {
		t.Errorf("%v", err)
	}
	if n := sent.Load(); n > 8<<20 { // ours and the buffers between
		t.Errorf("%d bytes of an answer were taken", n)
	}
}

// A receiver that misbehaves costs attempts; the delivery brings each revision.
func TestWebhookReceiverMisbehaves(t *testing.T) {
	type handler func(w http.ResponseWriter, r *http.Request, hold <-chan struct{})
	hijack := func(w http.ResponseWriter) net.Conn {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
		}
		return conn.(*tls.Conn).NetConn()
	}
	for name, misbehave := range map[string]handler{
		"hangs": func(_ http.ResponseWriter, _ *http.Request, hold <-chan struct{}) { <-hold },
		"resets": func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
			conn := hijack(w)
			_ = conn.(*net.TCPConn).SetLinger(0) // a reset instead of a goodbye
			_ = conn.Close()
		},
		"closes half": func(w http.ResponseWriter, _ *http.Request, hold <-chan struct{}) {
			_ = hijack(w).(*net.TCPConn).CloseWrite()
			<-hold
		},
		"answers with something else": func(w http.ResponseWriter, _ *http.Request, hold <-chan struct{}) {
			_, _ = hijack(w).Write([]byte("220 hello\r\n"))
			<-hold
		},
		"answers too slowly": func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done() // after us
		},
		"sends a large header": func(w http.ResponseWriter, _ *http.Request, hold <-chan struct{}) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		},
		"is overloaded": func(w http.ResponseWriter, _ *http.Request, hold <-chan struct{}) {
			w.WriteHeader(http.StatusServiceUnavailable)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			hold := make(chan struct{})
			got := make(chan string, 100)
			url, roots := serveHTTPS(t, func(w http.ResponseWriter, r *http.Request) {
				if requests.Add(1) <= 2 {
					misbehave(w, r, hold)
					return
				}
				var documents []struct{ Title string }
				if err := json.NewDecoder(r.Body).Decode(&documents); err != nil {
					t.Error(err)
				}
				for _, d := range documents {
					got <- d.Title
				}
			})
			t.Cleanup(func() { close(hold) }) // before the server waits for its handlers
			w := newWebhook(t, WebhookOptions{URL: url, TLS: roots, Timeout: time.Second})
			source := newMemory(20)
			_, stop := start(t, Options{Source: source, Sink: w, BatchRevisions: 7, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond})
			for n := range 20 {
				if title := <-got; title != fmt.Sprint("Alert ", n+1) {
					t.Errorf("%s, want alert %d", title, n+1)
				}
			}
			stop()
			if got := source.saved("test"); got != 20 {
				t.Errorf("position %d", got)
			}
		})
	}
}

func TestWebhookPoisonEndsInTheDeadLetters(t *testing.T) {
	var taken atomic.Int32
	url, roots := serveHTTPS(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte(`"Alert 5"`)) {
			http.Error(w, "no fives here", http.StatusUnprocessableEntity)
			return
		}
		taken.Add(int32(bytes.Count(body, []byte(`"title"`))))
	})
	w := newWebhook(t, WebhookOptions{URL: url, TLS: roots})
	source, dead := newMemory(12), filepath.Join(t.TempDir(), "dead")
	d, stop := start(t, Options{Source: source, Sink: w, DeadLetterPath: dead, MinBackoff: time.Millisecond})
	if err := source.waitSaved(t.Context(), "test", 12); err != nil {
		t.Fatal(err)
	}
	stop()
	letters := deadLettersOf(t, dead)
	if len(letters) != 1 || letters[0].Position != 5 || !strings.Contains(letters[0].Reason, "422") || !strings.Contains(letters[0].Reason, "no fives here") || taken.Load() != 11 {
		t.Errorf("%d taken, dead letters %+v, position %d", taken.Load(), letters, d.position)
	}
}

func TestWebhookTrustsItsRootsOnly(t *testing.T) {
	reached := false
	url, roots := serveHTTPS(t, func(http.ResponseWriter, *http.Request) { reached = true })
	_, others := certificate(t)
	var unknown x509.UnknownAuthorityError
	if err := newWebhook(t, WebhookOptions{URL: url, TLS: &tls.Config{RootCAs: others}}).Deliver(t.Context(), revisions(1, 1)); !errors.As(err, &unknown) {
		t.Errorf("a stranger's certificate: %v", err)
	}
	roots.ServerName = "siem.internal"
	var name x509.HostnameError
	if err := newWebhook(t, WebhookOptions{URL: url, TLS: roots}).Deliver(t.Context(), revisions(1, 1)); !errors.As(err, &name) {
		t.Errorf("another's name: %v", err)
	}
	plain := listen(t, func(conn net.Conn) { _, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); _ = conn.Close() })
	if err := newWebhook(t, WebhookOptions{URL: "https://" + plain}).Deliver(t.Context(), revisions(1, 1)); err == nil {
		t.Error("an answer without TLS is taken")
	}
	if reached {
		t.Error("an alert reached a stranger")
	}
}

func TestWebhookOptions(t *testing.T) {
	for _, test := range []struct {
		url, secret string
		good        bool
	}{
		{"https://siem.example/hook", "", true},
		{"http://127.0.0.1:8080/", "", true},
		{"http://[::1]:8080/", "0123456789abcdef", true},
		{"http://siem.example/hook", "", false},
		{"ftp://127.0.0.1/", "", false},
		{"https:///hook", "", false},
		{"https://siem.example/secret-token\x7f", "", false},
		{"https://siem.example/", "short", false},
	} {
		_, err := NewWebhook(WebhookOptions{URL: test.url, Secret: []byte(test.secret)})
		if (err == nil) != test.good || err != nil && strings.Contains(err.Error(), "secret-token") {
			t.Errorf("%q: %v", test.url, err)
		}
	}
	// Nor does the token in a URL get into what is logged.
	err := newWebhook(t, WebhookOptions{URL: "http://127.0.0.1:1/secret-token"}).Deliver(t.Context(), revisions(1, 1))
	if err == nil || strings.Contains(err.Error(), "secret-token") {
		t.Errorf("%v", err)
	}
}

// waitSaved waits for a position.
func (m *memory) waitSaved(ctx context.Context, name string, position uint64) error {
	for {
		m.mu.Lock()
		saved, moved := m.cursors[CursorOwner+" "+name], m.moved
		m.mu.Unlock()
		if saved >= position {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// FuzzRetryAfter: whatever a receiver says, a pause is neither negative nor longer than is
// believed.
func FuzzRetryAfter(f *testing.F) {
	for _, text := range []string{"", "0", "30", "4294967295", "-1", "1e9", "Fri, 20 Nov 2026 12:00:30 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"} {
		f.Add(text)
	}
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		after := retryAfter(text, now)
		b := backoff{min: time.Second, max: time.Minute}
		if pause := b.after(&LaterError{After: after, Err: errDown}); pause <= 0 || pause > max(maxRetryAfter, time.Minute) {
			t.Errorf("%q: %v, and a pause of %v", text, after, pause)
		}
	})
}
