package correlate

// markKey names one row of items whose sequences rise.
type markKey struct {
	Agent string
	Boot  string
	Lane  int32
	Shard int
}

// mark is the highest sequence taken in.
type mark struct {
	Key      markKey
	Sequence uint64
	stamp
}

// fresh reports whether an item was not taken in before, and notes that it now is.
// Agents send again what they heard no answer for, in order: what is not above the mark
// is a duplicate, however late.
func (m *Machine) fresh(key markKey, sequence uint64) bool {
	s := m.share(key.Agent)
	known := s.marks.get(key)
	if known == nil {
		if s.marks.len() == maxMarks {
			m.dropMark(key.Agent)
		}
		known = &mark{Key: key}
		s.marks.add(key, known)
		m.marked++
	} else if sequence <= known.Sequence {
		return false
	}
	known.Sequence = sequence
	m.touch(&known.stamp)
	s.marks.touch(key)
	m.moved[key] = true
	return true
}
