package deploy

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/seawall-security/seawall/internal/testkube"
)

// oneBatch has the API server keep what it records for the webhook until it ends, and send
// all of it at once; it tries again without waiting.
var oneBatch = []string{"--audit-webhook-batch-max-size=10000", "--audit-webhook-initial-backoff=20ms"}

// truncating is what docs/audit.md advises.
var truncating = []string{"--audit-webhook-truncate-enabled", "--audit-webhook-truncate-max-event-size=8000000", "--audit-webhook-truncate-max-batch-size=20000000",
	"--audit-log-truncate-enabled", "--audit-log-truncate-max-event-size=8000000"}

// receiver is an audit webhook that takes everything.
type receiver struct {
	webhook *testkube.Webhook

	mu    sync.Mutex // guards taken
	taken map[string][]recordedEvent
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	h := &receiver{taken: map[string][]recordedEvent{}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var list struct{ Items []recordedEvent }
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Errorf("the webhook got %v", err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, e := range list.Items {
			h.taken[e.AuditID] = append(h.taken[e.AuditID], e)
		}
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	h.webhook = &testkube.Webhook{URL: server.URL, CA: ca, Wait: time.Hour}
	return h
}

// events are those that came since the last call, by their audit id.
func (h *receiver) events() map[string][]recordedEvent {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := h.taken
	h.taken = map[string][]recordedEvent{}
	return taken
}
