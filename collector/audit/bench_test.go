package audit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/redact"
)

// counting is a log that only counts.
type counting struct{ bytes int }

func (c *counting) Append(_ context.Context, message []byte) error {
	c.bytes += len(message)
	return nil
}

// BenchmarkWebhook is what an audit event of a real cluster costs from the request's body to
// the log's message: decoded, known again, redacted, encoded.
func BenchmarkWebhook(b *testing.B) {
	s, err := store.Open(b.Context(), filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	masks, err := redact.New(bytes.Repeat([]byte{7}, redact.KeyBytes))
	if err != nil {
		b.Fatal(err)
	}
	log := &counting{}
	health, err := NewHealth(b.Context(), HealthOptions{Cluster: "c", Sources: []Source{{"webhook", KindWebhook}}, Store: s, Log: log,
		Metrics: prometheus.NewRegistry(), Now: time.Now, Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	h := NewWebhook("webhook", NewIntake("c", log, audit.NewRedactor(masks), health, time.Now), func(*http.Request) bool { return true }, zap.NewNop())
	body, ids := recorded(b, 400)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	requests := 0
	for b.Loop() {
		for n, at := range ids {
			copy(body[at:], fmt.Sprintf("%012d-%012d", requests, n))
		}
		requests++
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body)))
		if answer.Code != http.StatusOK {
			b.Fatal(answer.Body.String())
		}
	}
	events := float64(requests * len(ids))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
	b.ReportMetric(float64(len(body)*requests)/events, "B-in/event")
	b.ReportMetric(float64(log.bytes)/events, "B-log/event")
}

// recorded is a request's body of real events, and where their ids stand in it.
func recorded(b *testing.B, n int) (body []byte, ids []int) {
	b.Helper()
	file, err := os.Open("../../internal/audit/testdata/corpus/benign.jsonl.gz")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		b.Fatal(err)
	}
	const mark = `"auditID":"`
	lines := bufio.NewScanner(plain)
	lines.Buffer(nil, 16<<20)
	body = append(body, list()[:len(list())-2]...)
	for lines.Scan() && len(ids) < n {
		if len(ids) > 0 {
			body = append(body, ',')
		}
		ids = append(ids, len(body)+bytes.Index(lines.Bytes(), []byte(mark))+len(mark))
		body = append(body, lines.Bytes()...)
	}
	return append(body, "]}"...), ids
}
