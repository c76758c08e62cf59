package whole

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/spool"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// lane is the spool's lane of detections.
const lane spool.Lane = "detections"

// kept is what an agent that was killed has on disk, and the collector may not have.
type kept struct {
	marks   map[string]bool
	entries int
	corrupt []spool.Gap // what cannot be read
}

// readSpool reads a copy of a spool, as the next agent will. Nobody may have it open.
func readSpool(t testing.TB, dir string) kept {
	t.Helper()
	copied := t.TempDir()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "spare" || f.Name() == "lock" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, f.Name()), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	defer os.RemoveAll(copied)
	k := kept{marks: map[string]bool{}}
	gaps := make(chan spool.Gap, 64)
	s, err := spool.Open(copied, spool.Options{Lanes: []spool.Lane{lane, "telemetry"}, OnGap: func(_ *spool.Spool, g spool.Gap) { gaps <- g }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := s.Reader(lane)
	if err != nil {
		t.Fatal(err)
	}
	stats := s.Stats().Lanes[0]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range stats.Queued {
		e, err := r.Next(ctx)
		if err != nil {
			t.Fatalf("read the agent's spool: %v", err)
		}
		k.entries++
		record := &sensorv1.Record{}
		if err := proto.Unmarshal(e.Data, record); err != nil {
			t.Fatalf("read the agent's spool: %v", err)
		}
		if d := record.GetDetection(); d.GetRule() == markRule || d.GetRule() == canaryRule {
			mark, _, _ := strings.Cut(d.GetSummary(), " ")
			k.marks[mark] = true
		}
	}
	if stats.Dropped[spool.Corrupt] > 0 { // then there are gaps to be told
		for {
			select {
			case g := <-gaps:
				if g.Reason == spool.Corrupt && g.Lane == lane {
					k.corrupt = append(k.corrupt, g)
				}
				continue
			case <-ctx.Done():
				t.Fatal(errors.New("the spool does not tell what it lost"))
			default:
				if len(k.corrupt) == 0 {
					time.Sleep(time.Millisecond)
					continue
				}
			}
			break
		}
	}
	return k
}

// segments are the files of the lane, oldest first; the last is the one that was written to.
func segments(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, string(lane)+"-*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(found)
	return found
}
