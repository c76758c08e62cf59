package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
)

const (
	stateName  = "state"
	stateMagic = "SEAWSTA1"
	// The state is written into one of two slots in turn: in place, because a full disk
	// must not keep us from booking what it cost, and in turn, because a write may tear.
	slotBytes  = 128 << 10
	slotHeader = 16 // magic [8], length u32, checksum u32 over what follows
)

// state is what the segments themselves do not tell.
type state struct {
	Generation uint64
	// Clean says that everything was durable and nothing has been written since, unless
	// there are segments with NextID or above.
	Clean  bool
	NextID uint64
	Lanes  map[Lane]laneState
	Gaps   []Gap `json:",omitempty"`
	// Note is the owner's, see Spool.Leave; only of a state that is clean.
	Note int64 `json:",omitempty"`
}

type laneState struct {
	// Acked is the highest sequence that was acked, Floor the ordinal below which
	// everything is settled and whose files may be gone.
	Acked, Floor uint64
	// Next is the ordinal after the last durable entry, Last the highest sequence that
	// was appended.
	Next, Last uint64
	// Done is the ordinal below which everything is acked; 0: not known.
	Done uint64 `json:",omitempty"`
	// Until is the time of the last durable entry.
	Until int64
}

// plausible says that the numbers can be ours. Sequences begin at 1 and rise strictly, so
// there are no more entries than the highest sequence.
func (l *laneState) plausible() bool {
	return l.Floor > 0 && l.Floor <= l.Next && l.Next-1 <= l.Last && l.Acked <= l.Last && l.Done <= l.Next
}

func encodeState(st *state) ([]byte, error) {
	body, err := json.Marshal(st)
	if err != nil {
		return nil, err
	}
	if len(body) > slotBytes-slotHeader {
		// Counts per class are the only part that gets long.
		short := *st
		short.Gaps = nil
		for _, g := range st.Gaps {
			g.Classes = nil
			short.Gaps = append(short.Gaps, g)
		}
		if body, err = json.Marshal(&short); err != nil {
			return nil, err
		}
	}
	if len(body) > slotBytes-slotHeader {
		return nil, fmt.Errorf("state of %d bytes", len(body))
	}
	b := append([]byte(stateMagic), make([]byte, slotHeader-len(stateMagic))...)
	little.PutUint32(b[8:], uint32(len(body)))
	little.PutUint32(b[12:], stateChecksum(body))
	return append(b, body...), nil
}

func stateChecksum(body []byte) uint32 { return crc32.Checksum(body, castagnoli) }

func decodeState(b []byte) (*state, error) {
	if len(b) < slotHeader || string(b[:8]) != stateMagic {
		return nil, errors.New("not a state")
	}
	length := uint64(little.Uint32(b[8:]))
	if length > uint64(len(b)-slotHeader) {
		return nil, errors.New("state is cut off")
	}
	body := b[slotHeader : slotHeader+length]
	if stateChecksum(body) != little.Uint32(b[12:]) {
		return nil, errDamaged
	}
	st := &state{}
	if err := json.Unmarshal(body, st); err != nil {
		return nil, err
	}
	return st, nil
}

// loadState reads the newer of the two slots. A state that is missing or damaged is a
// new one: reading then begins at the first entry there is.
func loadState(fs files) *state {
	best := &state{}
	f, err := fs.Open(stateName)
	if err != nil {
		return best
	}
	defer f.Close()
	b := make([]byte, slotBytes)
	for slot := range int64(2) {
		n, _ := f.ReadAt(b, slot*slotBytes)
		if st, err := decodeState(b[:n]); err == nil && st.Generation >= best.Generation {
			best = st
		}
	}
	return best
}

// saveState makes the state durable. Only the spool's own goroutine calls it, or who
// starts and ends that.
func (s *Spool) saveState(clean bool) error {
	s.mu.Lock()
	s.generation++
	st := &state{Generation: s.generation, Clean: clean, NextID: s.nextID, Lanes: map[Lane]laneState{}}
	for name, l := range s.elsewhere {
		st.Lanes[name] = l
	}
	for _, l := range s.lanes {
		st.Lanes[l.name] = laneState{Acked: l.acked, Floor: l.floor(), Next: l.next, Last: l.last, Done: l.firstLive(), Until: l.until}
	}
	st.Gaps = append(append(st.Gaps, s.told...), s.gaps...)
	if clean {
		st.Note = s.leave
	}
	s.stateDue = zeroTime
	s.mu.Unlock()

	err := s.writeState(st)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("save state: %w", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures++
	s.failing = err
	s.dirty()
	return err
}

func (s *Spool) writeState(st *state) error {
	b, err := encodeState(st)
	if err != nil {
		return err
	}
	if s.state == nil {
		if s.state, err = openState(s.files); err != nil {
			return err
		}
	}
	if _, err = s.state.WriteAt(b, int64(st.Generation%2)*slotBytes); err == nil {
		err = s.state.Sync()
	}
	if err != nil {
		// This slot may hold anything now: the next attempt has to go to it again, and
		// not to the other one, which is whole.
		s.mu.Lock()
		s.generation++
		s.mu.Unlock()
	}
	return err
}

// openState opens the state's file, or makes it with its space taken.
func openState(dir files) (file, error) {
	f, err := dir.Open(stateName)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if f, err = dir.Create(stateName); err != nil {
		return nil, err
	}
	if err = f.Allocate(2 * slotBytes); errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = dir.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), dir.Remove(stateName))
	}
	return f, nil
}
