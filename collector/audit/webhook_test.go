package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// body is an EventList of events with these ids.
func body(ids ...string) string {
	items := make([]string, len(ids))
	for i, id := range ids {
		items[i] = line(id)
	}
	return list(items...)
}

func list(items ...string) string {
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
}

func (w *world) webhook() *Webhook {
	return NewWebhook("webhook", w.intake, Bearer("let me in"), zap.NewNop())
}

func post(t *testing.T, h http.Handler, method, token, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer
}

const good = "Bearer let me in"

// 200 is said when the events are in the log, and each comes there once, whatever comes again.
func TestWebhookAnswersWhenItIsStored(t *testing.T) {
	w := newWorld(t)
	h := w.webhook()
	for _, b := range []string{body("a", "b"), body("b", "c", "c"), body("a")} {
		if got := post(t, h, http.MethodPost, good, b); got.Code != http.StatusOK {
			t.Fatal(got.Code)
		}
	}
	if !slices.Equal(w.ids, []string{"a", "b", "c"}) {
		t.Errorf("%v", w.ids)
	}
	for result, want := range map[string]float64{"new": 3, "repeated": 3} {
		if got := w.count("seawall_collector_audit_events_total", map[string]string{"result": result}); got != want {
			t.Errorf("%v %s", got, result)
		}
	}
	if got := w.count("seawall_collector_audit_latest_event_seconds", nil); got != 1795285349 {
		t.Errorf("latest %v", got)
	}
}

// What the log refused is taken when it comes again.
func TestWebhookWhileTheLogIsFull(t *testing.T) {
	w := newWorld(t)
	h := w.webhook()
	w.failing(errFull)
	got := post(t, h, http.MethodPost, good, body("a"))
	if got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") == "" {
		t.Errorf("%d, retry after %q", got.Code, got.Header().Get("Retry-After"))
	}
	w.failing(nil)
	if got := post(t, h, http.MethodPost, good, body("a")); got.Code != http.StatusOK || !slices.Equal(w.ids, []string{"a"}) {
		t.Errorf("%d, %v", got.Code, w.ids)
	}
}

// A bad item costs itself.
func TestWebhookTakesTheGoodOnes(t *testing.T) {
	w := newWorld(t)
	if got := post(t, w.webhook(), http.MethodPost, good, list(line("a"), `{"auditID":7}`, line("b"))); got.Code != http.StatusOK {
		t.Error(got.Code)
	}
	if bad := w.count("seawall_collector_audit_events_total", map[string]string{"result": "unreadable"}); bad != 1 || !slices.Equal(w.ids, []string{"a", "b"}) {
		t.Errorf("%v unreadable, %v", bad, w.ids)
	}
}

func TestWebhookRefuses(t *testing.T) {
	w := newWorld(t)
	h := w.webhook()
	for _, test := range []struct {
		name, method, token, body string
		code                      int
		text                      string
	}{
		{"nobody", http.MethodPost, "", body("a"), http.StatusUnauthorized, "bearer token"},
		{"wrong token", http.MethodPost, good + "x", body("a"), http.StatusUnauthorized, "bearer token"},
		{"another scheme", http.MethodPost, "Basic let me in", body("a"), http.StatusUnauthorized, "bearer token"},
		{"a question", http.MethodGet, good, "", http.StatusMethodNotAllowed, "posted"},
		{"garbage", http.MethodPost, good, "<xml>", http.StatusBadRequest, "decode EventList"},
		{"another list", http.MethodPost, good, strings.Replace(body("a"), "EventList", "PodList", 1), http.StatusBadRequest, "PodList"},
		{"empty", http.MethodPost, good, "", http.StatusBadRequest, "decode EventList"},
		{"cut", http.MethodPost, good, body("a")[:100], http.StatusBadRequest, "unexpected EOF"},
		{"too large", http.MethodPost, good, strings.Repeat(" ", MaxBodyBytes+1), http.StatusRequestEntityTooLarge, "batch-max-size"},
	} {
		got := post(t, h, test.method, test.token, test.body)
		text := got.Body.String()
		if got.Code != test.code || !strings.Contains(text, test.text) {
			t.Errorf("%s: %d: %s", test.name, got.Code, text)
		}
		if strings.Contains(text, "let me in") {
			t.Errorf("%s: the answer has the token", test.name)
		}
	}
	if len(w.ids) != 0 {
		t.Errorf("%v came", w.ids)
	}
}

// held is a body that does not end before the test says so.
type held struct {
	io.Reader
	begun, go_ chan struct{}
}

func (h *held) Read(p []byte) (int, error) {
	select {
	case <-h.begun:
	default:
		close(h.begun)
	}
	<-h.go_
	return h.Reader.Read(p)
}

// Bodies under way are bounded; who is turned away is told to come again.
func TestWebhookBoundsWhatIsUnderWay(t *testing.T) {
	w := newWorld(t)
	h := w.webhook()
	var bodies []*held
	answers := make(chan int)
	for n := range maxInFlight / MaxBodyBytes {
		b := &held{strings.NewReader(body(fmt.Sprint(n))), make(chan struct{}), make(chan struct{})}
		bodies = append(bodies, b)
		go func() {
			r := httptest.NewRequest(http.MethodPost, "/", b) // of unknown length
			r.Header.Set("Authorization", good)
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			answers <- answer.Code
		}()
		<-b.begun
	}
	if got := post(t, h, http.MethodPost, good, body("x")); got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") == "" {
		t.Error(got.Code)
	}
	for _, b := range bodies {
		close(b.go_)
		if code := <-answers; code != http.StatusOK {
			t.Error(code)
		}
	}
	if got := post(t, h, http.MethodPost, good, body("x")); got.Code != http.StatusOK {
		t.Error(got.Code)
	}
}

// Messages fit into the log, however large events are.
func TestIntakeSplits(t *testing.T) {
	w := newWorld(t)
	pod := `{"kind":"Pod","x":"` + strings.Repeat("y", 300<<10) + `"}`
	var items, ids []string
	for n := range 20 {
		ids = append(ids, id(n))
		items = append(items, strings.Replace(line(id(n)), `"verb"`, `"requestObject":`+pod+`,"verb"`, 1))
	}
	if got := post(t, w.webhook(), http.MethodPost, good, list(items...)); got.Code != http.StatusOK {
		t.Fatal(got.Code)
	}
	if !slices.Equal(w.ids, ids) || w.largest > 1<<20 || w.largest < 800<<10 {
		t.Errorf("%d came, the largest message has %d bytes", len(w.ids), w.largest)
	}
}

// However long what a client says is, his request is there, and says who wanted what.
func TestIntakeKeepsHugeRequests(t *testing.T) {
	w := newWorld(t)
	long := func(n int) string { return strings.Repeat("v", n) }
	words := func(n int, word string) string { return strings.TrimSuffix(strings.Repeat(`"`+word+`",`, n), ",") }
	const huge = 1 << 20
	bodies := `"requestObject":{"x":"` + long(300<<10) + `"},`
	for n, item := range []string{
		strings.Replace(line("uri"), "/api/v1/namespaces/shop/pods", "/api/v1/namespaces/shop/pods/web/exec?command=id&x="+long(huge), 1),
		strings.Replace(line("verb"), `"verb":"list"`, bodies+`"verb":"`+long(huge)+`"`, 1),
		strings.Replace(line("agent"), `"verb"`, `"userAgent":"`+long(huge)+`","verb"`, 1),
		strings.Replace(line("addresses"), `"10.77.0.11"`, words(huge/10, "10.77.255.255")+`,"10.77.0.11"`, 1),
		strings.Replace(line("groups"), `"alice@example.test"`, `"alice@example.test","groups":[`+words(huge/4, "group")+`]`, 1),
		strings.Replace(line("extra"), `"alice@example.test"`, `"alice@example.test","extra":{"a":[`+words(huge/4, "value")+`],"`+long(huge)+`":["x"]}`, 1),
		strings.Replace(line("name"), `"namespace"`, `"name":"`+long(huge)+`","namespace"`, 1),
		strings.Replace(line("message"), `"code":200`, `"code":403,"message":"`+long(huge)+`"`, 1),
		strings.Replace(line("annotations"), `"verb"`, `"annotations":{"a":"`+long(huge)+`","`+long(huge)+`":"b"},"verb"`, 1),
	} {
		w.ids = nil
		if got := post(t, w.webhook(), http.MethodPost, good, list(line(fmt.Sprint("before", n)), item, line(fmt.Sprint("behind", n)))); got.Code != http.StatusOK {
			t.Fatal(got.Code)
		}
		if post(t, w.webhook(), http.MethodPost, good, list(item)); len(w.ids) != 3 {
			t.Errorf("it came %d times", len(w.ids)-2)
		}
		m := &collectorv1.LogMessage{}
		if err := proto.Unmarshal(w.batches[len(w.batches)-1], m); err != nil {
			t.Fatal(err)
		}
		events := m.GetAudit().GetEvents()
		e := events[max(0, len(events)-2)]
		if e.User.GetName() != "alice@example.test" || e.SourceIps[len(e.SourceIps)-1] != "10.77.0.11" || e.Object.GetNamespace() != "shop" || e.Annotations[cutMark] != "true" {
			t.Errorf("%.30s became %.300v", item[60:], e)
		}
		if len(m.GetAudit().GetEvents()) == 0 || proto.Size(e) > 256<<10 {
			t.Errorf("%s has %d bytes", e.AuditId, proto.Size(e))
		}
	}
	if n := w.count("seawall_collector_audit_events_total", map[string]string{"result": "too_large"}); n != 9 {
		t.Errorf("%v too large", n)
	}
}

// A client that says an audit id twice hides nothing behind the first.
func TestIntakeTakesAnotherRequestOfTheSameID(t *testing.T) {
	w := newWorld(t)
	first := line("a")
	for _, changed := range []struct{ from, to string }{
		{"29.631271Z", "29.631272Z"}, {"29.643179Z", "29.643180Z"}, {`"verb":"list"`, `"verb":"get"`},
		{"alice@example.test", "bob@example.test"}, {`"resource":"pods"`, `"resource":"pods","subresource":"exec"`},
		{`"namespace":"shop"}`, `"namespace":"kube-system"}`}, {`"namespace":"shop"}`, `"namespace":"shop","name":"web"}`},
	} {
		other := strings.Replace(first, changed.from, changed.to, 1)
		if other == first {
			t.Fatalf("%q is not there", changed.from)
		}
		w.ids = nil
		w.restart()
		if got := post(t, w.webhook(), http.MethodPost, good, list(first, other, first)); got.Code != http.StatusOK || len(w.ids) != 2 {
			t.Errorf("%s: %d, %d came", changed.to, got.Code, len(w.ids))
		}
	}
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent(3)
	for key := range uint64(5) {
		r.add(key)
		r.add(key)
	}
	var has []uint64
	for key := range uint64(5) {
		if r.contains(key) {
			has = append(has, key)
		}
	}
	if !slices.Equal(has, []uint64{2, 3, 4}) || len(r.has) != 3 {
		t.Errorf("%v", has)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\n\nbcdefghijkl\nm"), 8)
	f.Fuzz(func(t *testing.T, text []byte, most int) {
		most = max(1, min(most, 1<<16))
		l, at := newLines(bytes.NewReader(text), most), int64(0)
		for {
			line, n, err := l.next()
			if at += n; errors.Is(err, io.EOF) {
				break
			}
			if len(line) > most || bytes.ContainsRune(line, '\n') {
				t.Fatalf("%q", line)
			}
		}
		if at != int64(len(text)) {
			t.Fatalf("%d of %d bytes", at, len(text))
		}
	})
}
