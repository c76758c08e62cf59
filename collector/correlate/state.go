package correlate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/collector/alert"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// Row is a part of what a machine remembers.
type Row struct {
	Kind string
	Key  string
	Body []byte // nil: forgotten
}

// Kinds of rows.
const (
	rowPlace  = "place"
	rowMark   = "mark"
	rowAgent  = "agent"
	rowAnchor = "anchor"
	// Of who came into containers.
	rowSession = "session"
	rowRequest = "request"
	rowObject  = "object"
	rowAudit   = "audit"
	rowLost    = "lost"
	rowReach   = "reach"
	rowHost    = "host"
	rowRule    = "rule"
)

type rowName struct{ kind, key string }

func (k markKey) row() string {
	return alert.Hash("mark", k.Agent, k.Boot, fmt.Sprint(k.Lane), fmt.Sprint(k.Shard))
}

func (m *Machine) change(kind, key string) { m.changed[rowName{kind, key}] = true }

// Changes returns the rows that differ from what was returned before. A machine that is
// given all rows returned so far goes on like this one.
func (m *Machine) Changes() []Row {
	rows := make([]Row, 0, len(m.changed)+len(m.moved))
	for key := range m.moved {
		row := Row{Kind: rowMark, Key: key.row()}
		if s := m.shares[key.Agent]; s != nil {
			if known := s.marks.get(key); known != nil {
				row.Body = encode(known)
			}
		}
		rows = append(rows, row)
	}
	clear(m.moved)
	rows = m.ruleStates(m.reachRows(m.entryRows(rows)))
	for name := range m.changed {
		row := Row{Kind: name.kind, Key: name.key}
		switch name.kind {
		case rowPlace:
			row.Body = encode(m.place)
		case rowAgent:
			if known := m.agents.get(name.key); known != nil {
				row.Body = encode(known.keep())
			}
		case rowAnchor:
			if a := m.known(name.key); a != nil {
				row.Body = encode(a.keep())
			}
		case rowAudit:
			if a := m.audits[name.key]; a != nil {
				row.Body = encode(a)
			}
		}
		rows = append(rows, row)
	}
	clear(m.changed)
	slices.SortFunc(rows, func(x, y Row) int { return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Key, y.Key)) })
	return rows
}

// keptAnchor is an anchor as a row has it.
type keptAnchor struct {
	*anchor
	Alert   []byte
	Waiting []keptFact `json:",omitempty"`
}

type keptFact struct {
	waitingFact
	Evidence, Process []byte
}

func (a *anchor) keep() keptAnchor {
	kept := keptAnchor{anchor: a, Alert: pack(a.Alert)}
	for _, w := range a.Waiting {
		kept.Waiting = append(kept.Waiting, keptFact{*w, pack(w.Evidence), pack(w.Process)})
	}
	return kept
}

type keptAgent struct {
	*agentState
	Gaps [][]byte `json:",omitempty"`
}

func (a *agentState) keep() keptAgent {
	kept := keptAgent{agentState: a}
	for _, g := range a.Gaps {
		kept.Gaps = append(kept.Gaps, pack(g))
	}
	return kept
}

// encode cannot fail: the types are ours, and have nothing that JSON lacks.
func encode(what any) []byte {
	body, err := json.Marshal(what)
	if err != nil {
		panic(fmt.Sprintf("correlate: encode %T: %v", what, err))
	}
	return body
}

// pack is deterministic. It cannot fail: all text came out of a message.
func pack(message proto.Message) []byte {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		panic(fmt.Sprintf("correlate: encode %T: %v", message, err))
	}
	if body == nil {
		body = []byte{} // of nil: a row does not tell it from an empty message
	}
	return body
}

// restore takes one row; restored ends it.
func (m *Machine) restore(row Row) error {
	if err := m.restoreRow(row); err != nil {
		return fmt.Errorf("%s %s: %w", row.Kind, row.Key, err)
	}
	return nil
}

func (m *Machine) restoreRow(row Row) error {
	switch row.Kind {
	case rowPlace:
		return json.Unmarshal(row.Body, &m.place)
	case rowMark:
		known := &mark{}
		if err := json.Unmarshal(row.Body, known); err != nil {
			return err
		}
		m.share(known.Key.Agent).marks.add(known.Key, known)
		m.marked++
	case rowAgent:
		kept := keptAgent{agentState: &agentState{}}
		if err := json.Unmarshal(row.Body, &kept); err != nil {
			return err
		}
		for _, body := range kept.Gaps {
			g := &sensorv1.Gap{}
			if err := proto.Unmarshal(body, g); err != nil {
				return err
			}
			kept.agentState.Gaps = append(kept.agentState.Gaps, g)
		}
		m.agents.add(kept.ID, kept.agentState)
	case rowAnchor:
		kept := keptAnchor{anchor: &anchor{Alert: &alertv1.Alert{}}}
		if err := json.Unmarshal(row.Body, &kept); err != nil {
			return err
		}
		return m.restoreAnchor(kept)
	case rowRule:
		m.ruleRows = append(m.ruleRows, row)
	case rowReach:
		return m.restoreReach(row)
	case rowSession, rowRequest, rowObject, rowHost, rowAudit, rowLost:
		return m.restoreEntry(row)
	default:
		return errors.New("of an unknown kind")
	}
	return nil
}

func (m *Machine) restoreAnchor(kept keptAnchor) error {
	a := kept.anchor
	if err := proto.Unmarshal(kept.Alert, a.Alert); err != nil {
		return err
	}
	for _, k := range kept.Waiting {
		w := k.waitingFact
		w.Evidence, w.Process = &alertv1.Evidence{}, &sensorv1.Process{}
		if err := proto.Unmarshal(k.Evidence, w.Evidence); err != nil {
			return err
		}
		if err := proto.Unmarshal(k.Process, w.Process); err != nil {
			return err
		}
		a.Waiting = append(a.Waiting, &w)
	}
	a.size = a.measure()
	m.bytes += a.size
	s := m.share(a.Agent)
	s.anchors++
	s.bytes += a.size
	if !a.isRaised() {
		m.waiting.add(a.Key, a)
		return nil
	}
	m.raised.add(a.Key, a)
	s.raised.add(a.Key, a)
	if a.Due != 0 {
		m.due[a.Key] = a
		if m.nextDue == 0 || a.Due < m.nextDue {
			m.nextDue = a.Due
		}
	}
	return nil
}

// restored puts in order what came in any: by when it was touched.
func (m *Machine) restored() {
	for _, s := range m.shares {
		s.marks.sort(func(k *mark) uint64 { return k.Serial })
		s.raised.sort(func(a *anchor) uint64 { return a.Serial })
		s.reaches.sort(func(r *reach) uint64 { return r.Serial })
	}
	m.restoredEntries()
	m.agents.sort(func(a *agentState) uint64 { return a.Serial })
	m.waiting.sort(func(a *anchor) uint64 { return a.Serial })
	m.raised.sort(func(a *anchor) uint64 { return a.Serial })
	for _, a := range m.raised.all() {
		for _, id := range a.Family {
			m.family[processKey{a.Alert.GetAsset().GetAgentId(), id}] = a.Key
		}
		m.watch(a)
	}
}
