package collecting

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// alerts are detections of programs that differ: each raises an alert.
func alerts(t *testing.T, from, n int) (all []*sensorv1.Record) {
	t.Helper()
	var like *sensorv1.Record
	for _, r := range recording(t, "sensitive-file-read-positive-cat") {
		if r.GetDetection() != nil {
			like = r
		}
	}
	for i := range n {
		r := proto.CloneOf(like)
		e := r.GetDetection().Event
		e.Sequence, e.Time = uint64(from+i), timestamppb.Now()
		e.Process.Exe.Path = fmt.Sprintf("/tmp/program-%d", from+i)
		r.GetDetection().Id = fmt.Sprintf("%032x", from+i)
		all = append(all, r)
	}
	return all
}

// TestReaderThatNeverReads: it is ended and told so, costs the collector little, and others
// are served meanwhile.
func TestReaderThatNeverReads(t *testing.T) {
	t.Parallel()
	n := newNode(t, "cluster: harbour\n").measured()
	siem := n.client("siem", "viewer")
	n.start()
	defer n.stop()
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	const batches, each = 20, 50
	s, sent := n.stream(a), 0
	_, stream := n.subscribe(siem, "", 0)
	raise := func() {
		for range batches {
			if _, err := n.report(s, uint64(sent+1), alerts(t, sent+1, each)...); err != nil {
				t.Fatal(err, n.log())
			}
			sent += each
		}
		for range batches * each {
			n.alert(stream)
		}
	}
	raise() // what so many alerts cost is not what the reader does
	ctx, cancel := context.WithTimeout(t.Context(), 2*waiting)
	defer cancel()
	slow, err := alertv1.NewAlertStreamClient(n.dialAs(siem)).Subscribe(ctx, &alertv1.SubscribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	before := n.footprint(0)
	raise()
	n.until(`seawall_collector_siem_subscriptions_ended_total{reason="slow"}`, func(v float64) bool { return v == 1 })
	after := n.footprint(0)
	t.Logf("%d alerts: from %+v to %+v", sent, before, after)
	if after.resident > before.resident+64<<20 {
		t.Errorf("from %v to %v bytes", before.resident, after.resident)
	}
	got := 0
	for ; err == nil; got++ {
		_, err = slow.Recv()
	}
	refused(t, err, codes.Aborted, "was not taken within 30s", "subscribe again")
	if got > sent/2 {
		t.Errorf("%d of %d alerts waited for one who did not read", got, sent)
	}
}

// TestAgentThatNeverReads: acknowledgements that nobody takes hold its stream back, and no
// other agent's. When it comes again, that stream ends and the new one is served.
func TestAgentThatNeverReads(t *testing.T) {
	t.Parallel()
	n := newNode(t, "cluster: harbour\n").measured()
	n.start()
	defer n.stop()
	a, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	other, err := n.enrol(n.must("token create"))
	if err != nil {
		t.Fatal(err, n.log())
	}
	record, err := proto.Marshal(alerts(t, 1, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	slow := n.stream(a)
	before := n.footprint(0)
	// Send waits once the collector takes no more: that is how it ends.
	held := make(chan struct{})
	var taken atomic.Uint64
	go func() {
		for i := uint64(1); ; i++ {
			err := slow.Send(&sensorv1.FromAgent{Body: &sensorv1.FromAgent_Batch{Batch: &sensorv1.Batch{Lane: sensorv1.Lane_LANE_DETECTIONS,
				Items: []*sensorv1.Item{{Sequence: i, BootId: boot, Record: record}}}}})
			if err != nil {
				close(held)
				return
			}
			taken.Store(i)
		}
	}()
	sent := 0
	for last := -1; sent != last; { // it takes some hundred in this time
		last = sent
		time.Sleep(3 * time.Second)
		sent = int(taken.Load())
	}
	if _, err := n.report(n.stream(other), 1, alerts(t, 1, 10)...); err != nil {
		t.Errorf("another agent: %v", err)
	}
	after := n.footprint(0)
	t.Logf("held back after %d batches: from %+v to %+v", sent, before, after)
	if after.resident > before.resident+64<<20 {
		t.Errorf("from %v to %v bytes", before.resident, after.resident)
	}
	if _, err := n.report(n.stream(a), uint64(sent+1), alerts(t, sent+1, 1)...); err != nil {
		t.Errorf("the same agent again: %v", err)
	}
	for err == nil {
		_, err = slow.Recv()
	}
	refused(t, err, codes.Aborted, "a newer stream of this agent has taken over")
	<-held
}
