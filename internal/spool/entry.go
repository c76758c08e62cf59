package spool

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	// MaxEntryBytes is the most data an entry may have.
	MaxEntryBytes = 1 << 20
	// entryHeaderBytes is what stands before an entry's data:
	// checksum u32, length u24, class u8, sequence u64, time i64, all little endian.
	entryHeaderBytes = 24
)

// Entry is one record of a lane. Its meaning is the caller's.
type Entry struct {
	// Sequence rises strictly within a lane, and begins above zero.
	Sequence uint64
	// Time is in Unix nanoseconds; gaps and statistics are told in it.
	Time int64
	// Class is what gaps count by.
	Class uint8
	Data  []byte
}

// entryHead is an entry's header as it stands on disk.
type entryHead struct {
	checksum uint32
	length   int
	class    uint8
	sequence uint64
	time     int64
}

func (h entryHead) size() int { return entryHeaderBytes + h.length }

var (
	little     = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// appendEntry encodes e without its checksum: that depends on the segment, see seal.
func appendEntry(b []byte, e Entry) []byte {
	b = little.AppendUint32(b, 0)
	b = little.AppendUint32(b, uint32(len(e.Data))|uint32(e.Class)<<24)
	b = little.AppendUint64(b, e.Sequence)
	b = little.AppendUint64(b, uint64(e.Time))
	return append(b, e.Data...)
}

// parseHead reads a header of at least entryHeaderBytes.
func parseHead(b []byte) entryHead {
	mixed := little.Uint32(b[4:])
	return entryHead{
		checksum: little.Uint32(b),
		length:   int(mixed & (1<<24 - 1)),
		class:    uint8(mixed >> 24),
		sequence: little.Uint64(b[8:]),
		time:     int64(little.Uint64(b[16:])),
	}
}

// seed is what a segment's checksums start from. A file that is used again still holds
// entries of its former life; with another salt they are not valid any more.
func seed(salt uint64) uint32 {
	var b [8]byte
	little.PutUint64(b[:], salt)
	return crc32.Checksum(b[:], castagnoli)
}

func checksum(seed uint32, raw []byte) uint32 { return crc32.Update(seed, castagnoli, raw[4:]) }

// seal writes the checksum of one whole encoded entry.
func seal(seed uint32, raw []byte) { little.PutUint32(raw, checksum(seed, raw)) }
