package bundle

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/bundle"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const good = `
rules:
  - id: netcat-started
    title: Netcat was started
    description: A test.
    severity: low
    kinds: [process_exec]
    condition: process.name == "nc"
    summary: |
      "netcat"
`

// sealed encodes a bundle as one that somebody signed: the collector does not look by whom.
func sealed(t testing.TB, b *sensorv1.Bundle) *sensorv1.SignedBundle {
	t.Helper()
	data, err := proto.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return &sensorv1.SignedBundle{Bundle: data, Signature: make([]byte, 64), KeyId: make([]byte, 32)}
}

func of(serial uint64, files ...*sensorv1.BundleFile) *sensorv1.Bundle {
	return &sensorv1.Bundle{Serial: serial, Version: "v", Files: files}
}

func file(name, text string) *sensorv1.BundleFile {
	return &sensorv1.BundleFile{Name: name, Data: []byte(text)}
}

// desk is a service over a store's file.
type desk struct {
	*testing.T
	*Service
	bundles *Bundles
	offered []uint64 // the serial there was at each offer
	logs    *observer.ObservedLogs
}

func open(t *testing.T, path string) *desk {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	core, logs := observer.New(zap.InfoLevel)
	d := &desk{T: t, logs: logs}
	if d.bundles, err = Open(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	d.Service = NewService(Options{
		Bundles: d.bundles, Now: func() time.Time { return now }, Log: zap.New(core),
		Client: func(context.Context) (string, error) { return "olga", nil },
		Offer:  func() int { d.offered = append(d.offered, d.bundles.Current().Serial); return 3 },
	})
	return d
}

func (d *desk) push(signed *sensorv1.SignedBundle) (*collectorv1.PushBundleResponse, error) {
	return d.PushBundle(d.Context(), &collectorv1.PushBundleRequest{Bundle: signed})
}

func TestPushedBundleIsKeptAndOffered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	d := open(t, path)
	if d.bundles.Current() != nil {
		t.Error("there is a bundle before any was pushed")
	}
	if _, err := d.GetBundle(t.Context(), nil); status.Code(err) != codes.NotFound {
		t.Errorf("before any was pushed: %v", err)
	}
	first := sealed(t, of(7, file("a.yaml", good)))
	answer, err := d.push(first)
	if err != nil || answer.Serial != 7 || answer.Version != "v" || answer.SentTo != 3 {
		t.Errorf("answered %v, %v", answer, err)
	}
	if len(d.offered) != 1 || d.offered[0] != 7 {
		t.Errorf("offered %v", d.offered)
	}
	line := d.logs.FilterMessage("bundle pushed").All()
	if len(line) != 1 || line[0].ContextMap()["client"] != "olga" || line[0].ContextMap()["bundle_serial"] != uint64(7) {
		t.Errorf("the journal says %v", line)
	}

	// Nothing but a higher serial takes its place; after a restart it is there as it came.
	for _, serial := range []uint64{6, 7} {
		if _, err := d.push(sealed(t, of(serial))); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "is not above 7") {
			t.Errorf("serial %d: %v", serial, err)
		}
	}
	d = open(t, path)
	got, err := d.GetBundle(t.Context(), nil)
	if err != nil || !proto.Equal(got.Bundle, first) || got.PushedBy != "olga" || !got.Pushed.AsTime().Equal(now) || d.bundles.Current().Serial != 7 {
		t.Errorf("after a restart: %v, %v", got, err)
	}
	if _, err := d.push(sealed(t, of(8))); err != nil { // takes the rules back
		t.Error(err)
	}
	if d.bundles.Current().Serial != 8 {
		t.Error("the newer bundle does not count")
	}
}

func TestBundlesThatNoAgentCouldUse(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "store.db"))
	large := strings.Repeat("#"+strings.Repeat("x", 1<<10)+"\n", 1<<10)
	unsigned, foreign, torn := sealed(t, of(1)), sealed(t, of(1)), sealed(t, of(1))
	unsigned.Signature, foreign.KeyId, torn.Bundle = nil, nil, []byte{0xff}
	many := of(1)
	for i := range bundle.MaxFiles + 1 {
		many.Files = append(many.Files, file(fmt.Sprint("f", i, ".yaml"), ""))
	}
	for name, test := range map[string]struct {
		signed *sensorv1.SignedBundle
		want   string
	}{
		"nothing":           {nil, "is the bundle signed"},
		"unsigned":          {unsigned, "is the bundle signed"},
		"no key id":         {foreign, "the key's id has 0 bytes"},
		"no bundle":         {torn, "read bundle"},
		"no serial":         {sealed(t, of(0)), "no serial number"},
		"serial of a store": {sealed(t, of(1<<63)), "serial 9223372036854775808"},
		"too large":         {sealed(t, of(1, file("a.yaml", large), file("b.yaml", large))), "more than 2097152"},
		"too many files":    {sealed(t, many), "more than 256 files"},
		"a rule that does not compile": {sealed(t, of(1, file("a.yaml", good), file("ours/b.yaml",
			strings.NewReplacer("netcat-started", "other", "process.name", "process.nam").Replace(good)))), "ours/b.yaml:8:"},
		"a file twice":                {sealed(t, of(1, file("a.yaml", good), file("a.yaml", ""))), "two files called a.yaml"},
		"a name that leads elsewhere": {sealed(t, of(1, file("../a.yaml", good))), "../a.yaml"},
	} {
		_, err := d.push(test.signed)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d.bundles.Current() != nil || len(d.offered) > 0 {
		t.Error("one of them was kept")
	}
}

// An operator who sends rubbish is told some of it, and not more than fits a line of metadata.
func TestManyProblemsAreToldInBrief(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "store.db"))
	_, err := d.push(sealed(t, of(1, file("a.yaml", "rules:\n"+strings.Repeat("  - id: \"\\e[2Jé\"\n", 900)))))
	if len(err.Error()) > maxProblemBytes+1024 || !strings.Contains(err.Error(), "a.yaml:2:") || !strings.HasSuffix(err.Error(), "and more") {
		t.Errorf("%d bytes: %.2000s", len(err.Error()), err)
	}
}
