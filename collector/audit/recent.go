package audit

import (
	"encoding/binary"
	"hash/maphash"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// Remembered is how many events an intake knows again: half a minute of an API server at
// its webhook's full speed, 4,000 events a second. Two doors are rarely further apart.
const Remembered = 1 << 17

// recent is a set of the last so many keys, in 4 MiB when full. Keys are hashes of 64 bits
// under a seed of this process: at 10 billion events a year, once in 14,000 years one is
// taken for another.
type recent struct {
	seed maphash.Seed
	ring []uint64
	next int
	has  map[uint64]struct{}
}

func newRecent(size int) *recent {
	return &recent{seed: maphash.MakeSeed(), ring: make([]uint64, 0, size), has: make(map[uint64]struct{})}
}

// key tells a stage of a request. The audit id is the client's own word (its header
// Audit-ID), and he may say it again with another request: what he cannot choose at will
// is in it as well, the API server's times in microseconds and what was asked of what.
// Both doors bring the same. Nothing of it is changed by redaction.
func (r *recent) key(e *auditv1.Event) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	var fixed [17]byte
	binary.LittleEndian.PutUint64(fixed[:], uint64(e.GetRequestTime().AsTime().UnixMicro()))
	binary.LittleEndian.PutUint64(fixed[8:], uint64(e.GetStageTime().AsTime().UnixMicro()))
	fixed[16] = byte(e.Stage)
	_, _ = h.Write(fixed[:]) // never fails, as the others
	o := e.GetObject()
	for _, text := range [...]string{e.AuditId, e.Verb, e.GetUser().GetName(), o.GetResource(), o.GetSubresource(), o.GetNamespace(), o.GetName()} {
		_, _ = h.WriteString(text[:min(len(text), maxText/4)]) // what is cut has the same key
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

func (r *recent) add(key uint64) {
	if _, known := r.has[key]; known {
		return
	}
	r.has[key] = struct{}{}
	if len(r.ring) < cap(r.ring) {
		r.ring = append(r.ring, key)
		return
	}
	delete(r.has, r.ring[r.next])
	r.ring[r.next] = key
	r.next = (r.next + 1) % len(r.ring)
}

func (r *recent) contains(key uint64) bool {
	_, known := r.has[key]
	return known
}
