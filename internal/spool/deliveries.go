package spool

// delivery is an entry that was read and not acked.
type delivery struct {
	sequence uint64
	time     int64
	class    uint8
	segment  *segment
}

// deliveries is a queue of them, in a ring that grows.
type deliveries struct {
	ring  []delivery
	begin int
	count int
}

func (q *deliveries) len() int { return q.count }

func (q *deliveries) at(i int) *delivery { return &q.ring[(q.begin+i)%len(q.ring)] }

func (q *deliveries) first() *delivery { return q.at(0) }

func (q *deliveries) push(d delivery) {
	if q.count == len(q.ring) {
		ring := make([]delivery, max(64, 2*len(q.ring)))
		for i := range q.count {
			ring[i] = *q.at(i)
		}
		q.ring, q.begin = ring, 0
	}
	q.count++
	*q.at(q.count - 1) = d
}

func (q *deliveries) pop() delivery {
	d := *q.first()
	*q.first() = delivery{}
	q.begin = (q.begin + 1) % len(q.ring)
	q.count--
	return d
}

func (q *deliveries) reset() { *q = deliveries{} }

// forget drops those of an evicted segment, which is the oldest there is.
func (q *deliveries) forget(g *segment) {
	for q.count > 0 && q.first().segment == g {
		q.pop()
	}
}

// each calls f for those of g, oldest first.
func (q *deliveries) each(g *segment, f func(delivery)) {
	for i := range q.count {
		if d := q.at(i); d.segment == g {
			f(*d)
		}
	}
}
