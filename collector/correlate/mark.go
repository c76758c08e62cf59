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
	known := m.marks.get(key)
	if known == nil {
		known = &mark{Key: key}
		m.marks.add(key, known)
	} else if sequence <= known.Sequence {
		return false
	}
	known.Sequence = sequence
	m.touch(&known.stamp)
	m.marks.touch(key)
	m.moved[key] = true
	return true
}
