package whole

import (
	"context"
	"errors"
	"os"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/eventlog"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// eachMessage reads the event log of a collector that has ended. Its files are compressed.
func (w *world) eachMessage(take func([]byte) error) {
	w.Helper()
	l, err := eventlog.Open(w.Context(), eventlog.Options{Dir: w.path("collector", "data", "events"), MaxBytes: 96 << 20, Log: zap.NewNop()})
	if err != nil {
		w.Fatal(err)
	}
	defer l.Close()
	state, err := l.State(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	ended := errors.New("the log's end")
	err = l.Read(context.WithoutCancel(w.Context()), state.First-1, func(m eventlog.Message) error {
		if err := take(m.Data); err != nil {
			return err
		}
		if m.Position == state.Last {
			return ended
		}
		return nil
	})
	if !errors.Is(err, ended) {
		w.Fatal(err)
	}
}

// dumpLog writes its messages to a file.
func (w *world) dumpLog(path string) {
	w.Helper()
	f, err := os.Create(path)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	w.eachMessage(func(data []byte) error {
		_, err := f.Write(data)
		return err
	})
}

// logged is what the event log has.
type logged struct {
	items, again int
	marks        map[string]int
	gaps         []*sensorv1.Gap // each once
}

func (w *world) readLog() logged {
	w.Helper()
	type position struct {
		boot     string
		lane     sensorv1.Lane
		sequence uint64
	}
	seen := map[position]bool{}
	found := logged{marks: map[string]int{}}
	w.eachMessage(func(data []byte) error {
		message := &collectorv1.LogMessage{}
		if err := proto.Unmarshal(data, message); err != nil {
			return err
		}
		e := message.GetEnvelope()
		for _, item := range e.GetItems() {
			found.items++
			at := position{item.BootId, e.Lane, item.Sequence}
			if seen[at] {
				found.again++
				continue
			}
			seen[at] = true
			record := &sensorv1.Record{}
			if err := proto.Unmarshal(item.Record, record); err != nil {
				return err
			}
			if g := record.GetGap(); g != nil {
				found.gaps = append(found.gaps, g)
			}
			if d := record.GetDetection(); d.GetRule() == markRule {
				mark, _, _ := strings.Cut(d.GetSummary(), " ")
				found.marks[mark]++
			}
		}
		return nil
	})
	return found
}
