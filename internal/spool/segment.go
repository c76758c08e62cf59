package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

const (
	segmentMagic    = "SEAWSPL\n"
	segmentVersion  = 1
	segmentSuffix   = ".segment"
	headerBytes     = 96
	minSegmentBytes = 4096
	// diskBlock is what file systems allocate by, so what a short file is counted as.
	diskBlock = 4096
	// maxID keeps a foreign name from using up the ids.
	maxID = 1 << 62
)

// header is how a segment begins. On disk: magic [8], version u32, checksum u32 over
// everything else, lane [32], id, ordinal, sequence and salt u64, 16 bytes of zeros.
type header struct {
	lane Lane
	// id rises over all segments of a folder: of two that hold the same entries, the
	// later one is right.
	id uint64
	// ordinal numbers the first entry among all that were ever written to the lane,
	// from 1. Where the next segment's is higher than this one's entries account for,
	// entries are missing, and that many.
	ordinal  uint64
	sequence uint64 // of the first entry
	salt     uint64
}

// segment is one file of a lane. The spool's mutex guards what is below header and name.
type segment struct {
	header
	name string

	bytes   int64  // counted for it
	end     uint64 // ordinal after the last entry that can be read
	durable int64  // where that entry ends in the file
	live    tally  // what is not acked
	sealed  bool   // not written to any more
	gone    bool   // removed, evicted or used again
	broken  bool   // could not be read back while it was written to
}

var (
	errForeign = errors.New("not a segment of this spool")
	errFuture  = errors.New("segment of a later version")
)

func (h *header) fileName() string {
	return fmt.Sprintf("%s-%020d-%d%s", h.lane, h.sequence, h.id, segmentSuffix)
}

// parseName is the inverse of fileName, and refuses everything fileName would not write.
func parseName(name string) (h header, ok bool) {
	parts := strings.Split(strings.TrimSuffix(name, segmentSuffix), "-")
	if len(parts) != 3 {
		return h, false
	}
	sequence, err1 := strconv.ParseUint(parts[1], 10, 64)
	id, err2 := strconv.ParseUint(parts[2], 10, 64)
	h = header{lane: Lane(parts[0]), sequence: sequence, id: id}
	return h, err1 == nil && err2 == nil && h.lane.valid() && id < maxID && h.fileName() == name
}

func (h *header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, segmentMagic)
	little.PutUint32(b[8:], segmentVersion)
	copy(b[16:48], h.lane)
	for i, v := range []uint64{h.id, h.ordinal, h.sequence, h.salt} {
		little.PutUint64(b[48+8*i:], v)
	}
	little.PutUint32(b[12:], headerChecksum(b))
	return b
}

func headerChecksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:headerBytes])
}

// decodeHeader reads the header of the file that is called name.
func decodeHeader(name string, b []byte) (h header, err error) {
	if len(b) < headerBytes || string(b[:8]) != segmentMagic {
		return h, errForeign
	}
	if v := little.Uint32(b[8:]); v > segmentVersion {
		return h, fmt.Errorf("%w: %d", errFuture, v)
	}
	if little.Uint32(b[12:]) != headerChecksum(b) {
		return h, errForeign
	}
	h.lane = Lane(strings.TrimRight(string(b[16:48]), "\x00"))
	for i, v := range []*uint64{&h.id, &h.ordinal, &h.sequence, &h.salt} {
		*v = little.Uint64(b[48+8*i:])
	}
	// Sequences begin at 1 and rise strictly, so an ordinal cannot be above its sequence.
	if h.fileName() != name || h.ordinal == 0 || h.ordinal > h.sequence {
		return h, errForeign
	}
	return h, nil
}

// onDisk is what a file of size bytes is counted as.
func onDisk(size int64) int64 { return (size + diskBlock - 1) / diskBlock * diskBlock }
