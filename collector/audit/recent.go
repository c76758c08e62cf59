package audit

import (
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

func (r *recent) key(e *auditv1.Event) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	_, _ = h.WriteString(e.AuditId) // never fails
	_ = h.WriteByte(byte(e.Stage))
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
