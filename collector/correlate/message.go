package correlate

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Message is one entry of the event log.
type Message struct {
	// Position rises from message to message, from 1.
	Position uint64
	// Shard is the one of the message's subject.
	Shard int
	// Data is a LogMessage.
	Data []byte
}

// maxID bounds ids that agents send; theirs have 32 to 64 characters.
const maxID = 128

// decode reads a message and what the log's clock showed as it was written. One that
// cannot be read, or is of a newer collector, says nothing.
func (m *Machine) decode(message Message) (log *collectorv1.LogMessage, now *timestamppb.Timestamp) {
	log = &collectorv1.LogMessage{}
	if err := proto.Unmarshal(message.Data, log); err != nil {
		m.stats.Unreadable++
		return nil, nil
	}
	switch body := log.Body.(type) {
	case *collectorv1.LogMessage_Envelope:
		return log, body.Envelope.GetReceived()
	case *collectorv1.LogMessage_Tick:
		return log, body.Tick.GetTime()
	case *collectorv1.LogMessage_Audit:
		return log, body.Audit.GetReceived()
	case *collectorv1.LogMessage_AuditState:
		return log, body.AuditState.GetTime()
	}
	m.stats.Unknown++
	return nil, nil
}

// envelope takes the items of an envelope in.
func (m *Machine) envelope(e *collectorv1.Envelope, shard int) error {
	agent := m.agent(e.AgentId)
	agent.Cluster, agent.Node = cutID(e.Cluster), cutID(e.Node)
	m.gaps, m.moreGaps = 0, nil
	observed := false
	for _, item := range e.Items {
		named := len(item.GetBootId()) <= maxID // else not even a mark is kept of it
		if named && !m.fresh(markKey{e.AgentId, item.GetBootId(), int32(e.Lane), shard}, item.GetSequence()) {
			m.stats.Duplicates++
			continue
		}
		if !observed && e.Skew != nil && e.Skew.IsValid() { // of a resend it says nothing new
			agent.Skew.observe(m.now(), e.Skew.AsDuration())
			observed = true
		}
		record := &sensorv1.Record{}
		// What this version does not know goes no further: it has no bounds here.
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(item.GetRecord(), record); err != nil || !named {
			m.stats.Unreadable++
			now := timestamppb.New(m.now())
			m.lose(e.AgentId, agent, "all", loss{max(agent.Heard-int64(penHold), 0), m.place.Now})
			m.gap(e.AgentId, agent, &sensorv1.Gap{
				Class: "all", Stage: "collector", Reason: "unreadable", Since: now, Until: now, Count: 1,
			})
			continue
		}
		if err := m.record(e, agent, item.GetBootId(), record); err != nil {
			return err
		}
	}
	if m.moreGaps != nil {
		m.book(e.AgentId, agent, m.moreGaps)
	}
	return nil
}

// record takes one record in. What it says of its agent and boot is not looked at: both
// are known from better.
func (m *Machine) record(e *collectorv1.Envelope, agent *agentState, bootID string, r *sensorv1.Record) error {
	f := &fact{cluster: e.Cluster, agentID: e.AgentId, agent: agent, bootID: bootID, node: e.Node, localMasks: r.LocalMasks}
	switch body := r.Body.(type) {
	case *sensorv1.Record_Gap:
		m.stats.Gaps++
		m.lose(e.AgentId, agent, body.Gap.GetClass(), agent.Skew.lossBounds(body.Gap, m.now()))
		m.gap(e.AgentId, agent, agent.Skew.gap(body.Gap, m.now()))
		return nil
	case *sensorv1.Record_Event:
		f.event = body.Event
	case *sensorv1.Record_Detection:
		f.event, f.detection = body.Detection.GetEvent(), body.Detection
		// A number beyond the scale would outrank all that follows, without end.
		f.detection.Severity = min(max(f.detection.GetSeverity(), 0), critical)
	default:
		m.stats.Unknown++ // of a newer agent
		return nil
	}
	if f.event == nil || f.event.SelfTest || len(f.event.GetProcess().GetId()) > maxID || f.detection != nil && f.detection.Rule == "" {
		m.stats.Unknown++ // nothing could be made of it
		return nil
	}
	f.at, f.uncertainty = agent.Skew.correct(f.event.GetTime(), m.now())
	m.fact = f.at
	m.reached(f)
	if e.Lane != sensorv1.Lane_LANE_DETECTIONS {
		agent.Heard = max(agent.Heard, f.at.UnixNano())
	}
	if s := m.sighted(f); s != nil {
		f.session = s.Key
		m.alive(s.Pod, s.UID, f.at)
	}
	if f.detection != nil {
		m.stats.Detections++
		return m.detection(f)
	}
	m.stats.Events++
	return m.telemetry(f)
}
