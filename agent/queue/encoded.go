package queue

import (
	"sync/atomic"

	"google.golang.org/protobuf/proto"
)

// encoded holds messages in wire form, which can be measured.
type encoded struct {
	records chan []byte
	bytes   atomic.Int64 // what they take
	max     int64
}

func (q *encoded) put(m proto.Message) (Reason, bool) {
	record, err := proto.Marshal(m)
	if err != nil {
		return NotEncoded, false
	}
	if len(q.records) == cap(q.records) { // only this goroutine adds
		return Many, false
	}
	if q.bytes.Load()+taken(record) > q.max {
		return Much, false
	}
	q.bytes.Add(taken(record))
	q.records <- record
	return 0, true
}

// take makes a message of what was taken out.
func (q *encoded) take(record []byte, m proto.Message) error {
	q.bytes.Add(-taken(record))
	return proto.Unmarshal(record, m)
}

// taken is what an encoded message takes: objects are rounded up by as much as a fifth.
func taken(record []byte) int64 { return int64(len(record) + len(record)/4) }
