package decode

import (
	"unsafe"

	"github.com/seawall-security/seawall/internal/event"
)

// Split cuts the first record off a batch of records that lie back to back, as
// a task iterator writes them. An error with [ReasonShort] says that the batch
// ends inside a record: the rest may still be to come. One with [ReasonSize]
// says that nothing behind it can be found any more. The record is a view.
func Split(batch []byte) (record, rest []byte, err error) {
	var h wireHeader
	if !load(&h, batch) {
		return nil, batch, refuse(event.KindNone, ReasonShort, "%d bytes are no header", len(batch))
	}
	size := uint64(h.Size)
	if size < uint64(unsafe.Sizeof(h)) {
		return nil, batch, refuse(event.Kind(h.Kind), ReasonSize, "header claims %d bytes, less than its own", size)
	}
	if size > uint64(len(batch)) {
		return nil, batch, refuse(event.Kind(h.Kind), ReasonShort, "header claims %d bytes, %d are there", size, len(batch))
	}
	return batch[:size:size], batch[size:], nil
}
