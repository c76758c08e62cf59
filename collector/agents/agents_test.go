package agents

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/ingest"
	"github.com/seawall-security/seawall/collector/store"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func peer(id string) ingest.Peer { return ingest.Peer{Cluster: "prod", AgentID: id} }

func open(t *testing.T, path string) *Agents {
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
	return New(s, zap.NewNop())
}

func list(t *testing.T, a *Agents) []*collectorv1.Agent {
	t.Helper()
	answer, err := NewLister(a).ListAgents(t.Context(), &collectorv1.ListAgentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return answer.Agents
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatAgentsSaidIsListed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	a := open(t, path)
	hello := &sensorv1.Hello{BootId: "b", Node: "node-1", MachineId: "m", Version: "v1", Kernel: "6.1", Architecture: "amd64",
		Hooks: []*sensorv1.Hook{{Name: "exec", Rung: "tracepoint", Confirmed: true}}}
	must(t, a.Seen(t.Context(), peer("a"), hello, at(0)))
	want := &collectorv1.Agent{Id: "a", Cluster: "prod", Node: "node-1", MachineId: "m", Version: "v1", Kernel: "6.1", Architecture: "amd64",
		Hooks: hello.Hooks, FirstSeen: timestamppb.New(at(0)), LastSeen: timestamppb.New(at(0))}
	compare := func(a *Agents) {
		t.Helper()
		if diff := cmp.Diff([]*collectorv1.Agent{want}, list(t, a), protocmp.Transform()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	compare(a)

	// It says how it is, then comes again with another version.
	must(t, a.Status(t.Context(), peer("a"), &sensorv1.AgentStatus{SpoolBytes: 1}, at(5)))
	must(t, a.Status(t.Context(), peer("a"), &sensorv1.AgentStatus{SpoolBytes: 2}, at(10)))
	must(t, a.Applied(t.Context(), peer("a"), &sensorv1.Applied{Part: sensorv1.Part_PART_BUNDLE, Error: "no signature"}))
	want.Status, want.LastSeen, want.BundleError = &sensorv1.AgentStatus{SpoolBytes: 2}, timestamppb.New(at(10)), "no signature"
	compare(a)
	hello.Version = "v2"
	must(t, a.Seen(t.Context(), peer("a"), hello, at(20)))
	want.Version, want.LastSeen = "v2", timestamppb.New(at(20))
	compare(a)

	// What waits when the collector stops is kept.
	must(t, a.Applied(t.Context(), peer("a"), &sensorv1.Applied{Part: sensorv1.Part_PART_BUNDLE}))
	must(t, a.Applied(t.Context(), peer("a"), &sensorv1.Applied{Part: sensorv1.Part_PART_SETTINGS, Error: "not known"}))
	must(t, a.Applied(t.Context(), peer("a"), &sensorv1.Applied{Error: "of a part that is not known"}))
	must(t, a.Status(t.Context(), peer("a"), &sensorv1.AgentStatus{SpoolBytes: 3}, at(30)))
	stopped, stop := context.WithCancel(t.Context())
	stop()
	must(t, a.Run(stopped))
	want.Status, want.LastSeen = &sensorv1.AgentStatus{SpoolBytes: 3}, timestamppb.New(at(30))
	want.BundleError, want.SettingsError = "", "not known"
	compare(open(t, path))
}

// While the store fails, what came waits, and the newer word counts in the end.
func TestStatusesWaitForTheStore(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "store.db"))
	must(t, a.Seen(t.Context(), peer("a"), &sensorv1.Hello{}, at(0)))
	must(t, a.Applied(t.Context(), peer("a"), &sensorv1.Applied{Part: sensorv1.Part_PART_SETTINGS, Error: "older"}))
	must(t, a.Status(t.Context(), peer("a"), &sensorv1.AgentStatus{SpoolBytes: 1}, at(1)))
	failing, fail := context.WithCancel(t.Context())
	fail()
	if err := a.flush(failing); err == nil {
		t.Fatal("the store did not fail")
	}
	must(t, a.Status(t.Context(), peer("a"), &sensorv1.AgentStatus{SpoolBytes: 2}, at(2)))
	must(t, a.Applied(t.Context(), peer("a"), &sensorv1.Applied{Part: sensorv1.Part_PART_BUNDLE, Error: "newer"}))
	if err := a.flush(failing); err == nil {
		t.Fatal("the store did not fail")
	}
	got := list(t, a)[0]
	if got.Status.SpoolBytes != 2 || got.SettingsError != "older" || got.BundleError != "newer" || !got.LastSeen.AsTime().Equal(at(2)) {
		t.Errorf("got %v", got)
	}
}

func TestListByPages(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "store.db"))
	large := &sensorv1.Hello{Kernel: strings.Repeat("k", maxMessageBytes-100)}
	for i := range 70 {
		must(t, a.Seen(t.Context(), peer(fmt.Sprintf("%02d", i)), large, at(i)))
	}
	for _, size := range []uint32{0, 1, 7, 70, 1000} {
		var ids []string
		request := &collectorv1.ListAgentsRequest{PageSize: size}
		for first := true; first || request.PageToken != ""; first = false {
			answer, err := NewLister(a).ListAgents(t.Context(), request)
			must(t, err)
			bytes := 0
			for _, agent := range answer.Agents {
				ids, bytes = append(ids, agent.Id), bytes+len(agent.Kernel)
			}
			if bytes > pageBytes || size > 0 && len(answer.Agents) > int(size) {
				t.Fatalf("a page of %d agents, %d bytes", len(answer.Agents), bytes)
			}
			request.PageToken = answer.NextPageToken
		}
		if len(ids) != 70 || ids[0] != "00" || ids[69] != "69" {
			t.Errorf("by %d: %v", size, ids)
		}
	}
	for _, bad := range []*collectorv1.ListAgentsRequest{{PageSize: 1001}, {PageToken: strings.Repeat("x", 65)}} {
		if _, err := NewLister(a).ListAgents(t.Context(), bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
	}
}

func TestWhatIsTooLargeIsNotKept(t *testing.T) {
	a := open(t, filepath.Join(t.TempDir(), "store.db"))
	huge := strings.Repeat("x", maxMessageBytes)
	if err := a.Seen(t.Context(), peer("a"), &sensorv1.Hello{Kernel: huge}, at(0)); err == nil {
		t.Error("a Hello without end is kept")
	}
	must(t, a.Seen(t.Context(), peer("a"), &sensorv1.Hello{}, at(0)))
	if err := a.Status(t.Context(), peer("a"), &sensorv1.AgentStatus{BundleVersion: huge}, at(1)); err == nil {
		t.Error("a status without end is kept")
	}
	must(t, a.Applied(t.Context(), peer("a"), &sensorv1.Applied{Part: sensorv1.Part_PART_BUNDLE, Error: strings.Repeat("é", maxErrorBytes)}))
	if got := list(t, a)[0].BundleError; len(got) > maxErrorBytes || !strings.HasPrefix(got, "éé") {
		t.Errorf("%d bytes of error are kept", len(got))
	}
}
