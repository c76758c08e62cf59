package ingest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/eventlog"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Bounds of a batch. Agents stay below MaxBatchBytes; a message may be larger by
// what its fields cost.
const (
	MaxBatchBytes  = 512 << 10
	maxBatchItems  = 16384
	maxMessageSize = MaxBatchBytes + 64<<10
	maxBootIDBytes = 64
	maxNameBytes   = 256
)

// lanes are those that agents may send, and are told of in Welcome.
var lanes = []sensorv1.Lane{sensorv1.Lane_LANE_DETECTIONS, sensorv1.Lane_LANE_ENTRIES, sensorv1.Lane_LANE_TELEMETRY}

// check says what is wrong with a batch as a whole; such a batch is the agent's
// fault and ends its stream.
func check(b *sensorv1.Batch) error {
	if !slices.Contains(lanes, b.Lane) {
		return fmt.Errorf("batch of lane %d", b.Lane)
	}
	if len(b.Items) == 0 {
		return errors.New("batch without items")
	}
	if len(b.Items) > maxBatchItems {
		return fmt.Errorf("batch of %d items, more than %d", len(b.Items), maxBatchItems)
	}
	bytes := 0
	var last uint64
	for i, item := range b.Items {
		if item.Sequence <= last && (i == 0 || item.BootId == b.Items[i-1].BootId) {
			return fmt.Errorf("item %d: sequence %d does not rise above %d", i, item.Sequence, last)
		}
		if item.BootId == "" || len(item.BootId) > maxBootIDBytes {
			return fmt.Errorf("item %d: boot id of %d bytes", i, len(item.BootId))
		}
		last = item.Sequence
		bytes += len(item.Record)
	}
	if bytes > MaxBatchBytes {
		return fmt.Errorf("batch of %d bytes, more than %d", bytes, MaxBatchBytes)
	}
	return nil
}

// split puts the items of a batch into one envelope per shard, in the order of the
// shards. Items that are no records are returned, too: they go the way of the node's own,
// and correlation books each as a gap, for they are acknowledged.
func (s *session) split(b *sensorv1.Batch, now time.Time) (envelopes [eventlog.Shards]*collectorv1.Envelope, bad []*sensorv1.Item) {
	var record sensorv1.Record
	for _, item := range b.Items {
		proto.Reset(&record)
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(item.Record, &record); err != nil {
			bad = append(bad, item)
			proto.Reset(&record)
		}
		pod := containerOf(&record).GetPod()
		shard := eventlog.ShardOf(s.peer.Cluster, pod.GetNamespace(), pod.GetName(), s.node)
		e := envelopes[shard]
		if e == nil {
			e = &collectorv1.Envelope{
				Cluster: s.peer.Cluster, AgentId: s.peer.AgentID, Node: s.node, Lane: b.Lane, Received: timestamppb.New(now),
			}
			if b.Sent.IsValid() {
				e.Skew = durationpb.New(now.Sub(b.Sent.AsTime()))
			}
			envelopes[shard] = e
		}
		e.Items = append(e.Items, item)
	}
	return envelopes, bad
}

// containerOf is the container that a record is about; nil: the host. An entry is about
// what was entered: the request for it goes there, too.
func containerOf(r *sensorv1.Record) *sensorv1.Container {
	if c := r.GetEvent().GetEnteredContainer(); c != nil {
		return c
	}
	if d := r.GetDetection(); d != nil {
		return d.GetEvent().GetContainer()
	}
	return r.GetEvent().GetContainer()
}
