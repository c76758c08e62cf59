package audit

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"google.golang.org/protobuf/proto"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// sample is the body of a webhook request of Kubernetes 1.35.4, 50 events.
func sample(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/corpus/eventlist-sample.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestWebhookOfARealServer(t *testing.T) {
	events, bad, err := DecodeList(sample(t))
	if err != nil || len(bad) > 0 || len(events) != 50 {
		t.Fatalf("%d events, %v, %v", len(events), bad, err)
	}
	for _, e := range events {
		if e.AuditId == "" || e.Level == 0 || e.Verb == "" || e.User == nil || len(e.SourceIps) == 0 || e.Code == 0 {
			t.Errorf("%v", e)
		}
	}
}

// signed finds tokens that are still whole: the corpus has their signatures masked by As.
var signed = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}\.`)

// The whole corpus: what real clients, controllers and attacks leave behind.
func TestCorpus(t *testing.T) {
	const corpus = "testdata/corpus"
	files, err := filepath.Glob(filepath.Join(corpus, "attacks/*/*.jsonl.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no attacks in the corpus: %v", err)
	}
	redactor := testRedactor(t)
	events := 0
	for _, name := range append(files, filepath.Join(corpus, "benign.jsonl.gz"), filepath.Join(corpus, "all-stages-sample.jsonl.gz")) {
		eachLine(t, name, func(line []byte) {
			e, err := Decode(line)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, line)
			}
			events++
			if err := redactor.Event(e); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, line)
			}
			if m := signed.Find(marshal(t, e)); m != nil {
				t.Errorf("%s: a token is left: %s", e.AuditId, m)
			}
			if e.RequestOmittedBytes+e.ResponseOmittedBytes > 0 {
				t.Errorf("%s: a body is left out", e.AuditId)
			}
		})
	}
	t.Logf("%d events of %d files", events, len(files)+2)
}

func marshal(t testing.TB, e *auditv1.Event) []byte {
	t.Helper()
	out, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func eachLine(t testing.TB, name string, do func(line []byte)) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(nil, MaxEventBytes)
	for s.Scan() {
		do(s.Bytes())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkDecodeList(b *testing.B) {
	body := sample(b)
	redactor := testRedactor(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		events, _, err := DecodeList(body)
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range events {
			if err := redactor.Event(e); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50, "ns/event")
}
