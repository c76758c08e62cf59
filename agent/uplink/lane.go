package uplink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seawall-security/seawall/internal/spool"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	// batchBytes is what the protocol lets a batch have; itemBytes is above what an item
	// has beside its record.
	batchBytes = 512 << 10
	itemBytes  = 128
	// maxInFlight batches hide the way to a collector, and its disk, at 2 MiB each way.
	maxInFlight = 4
	// maxBootIDBytes is what the collector takes.
	maxBootIDBytes = 64
	// guestBoot ends the boot ids of items in another lane than their own, of a collector that
	// does not take theirs (Welcome.lanes). It keeps one row of rising sequences for each boot
	// in a lane, and would take one lane's items for repeats of the other's.
	guestBoot = "+entries"
)

// lane sends one lane of the spool over one stream.
type lane struct {
	name    sensorv1.Lane // on the way
	guest   bool          // it is not its own, see guestBoot
	reader  *spool.Reader
	bootID  string                // of this boot
	has     map[string]uint64     // what the collector has, by boot
	batches chan []*sensorv1.Item // for who sends
	window  chan struct{}         // one for each batch in flight or about to be
	counts  *laneCounts
	acked   chan<- struct{}   // the uplink's
	time    func(spool.Entry) // that it is on its way

	mu     sync.Mutex // guards what follows
	flight []flight   // sent, oldest first
	sent   uint64     // highest sequence
}

// flight is a batch that waits for its acknowledgement.
type flight struct {
	bootID string // of the last item
	last   uint64
	items  int
}

// openLane begins with what was never acknowledged.
func (u *Uplink) openLane(name spool.Lane, number sensorv1.Lane, welcome *sensorv1.Welcome) (*lane, error) {
	reader, err := u.spool.Reader(name)
	if err != nil {
		return nil, err
	}
	l := &lane{
		name: number, reader: reader, bootID: u.options.BootID, has: map[string]uint64{},
		batches: make(chan []*sensorv1.Item), window: make(chan struct{}, maxInFlight), counts: u.counts.of(name),
		acked: u.acked,
		time:  func(e spool.Entry) { u.counts.time(e, u.options.Now()) },
	}
	if number == sensorv1.Lane_LANE_ENTRIES && !slices.Contains(welcome.GetLanes(), number) {
		l.name, l.guest = sensorv1.Lane_LANE_TELEMETRY, true
	}
	for _, p := range welcome.GetPositions() {
		if l.owns(p) {
			l.has[p.GetBootId()] = max(l.has[p.GetBootId()], p.GetSequence())
		}
	}
	return l, nil
}

// owns reports whether a position is one of this lane.
func (l *lane) owns(p *sensorv1.Position) bool {
	return p.GetLane() == l.name && strings.HasSuffix(p.GetBootId(), guestBoot) == l.guest
}

// collect makes batches of what the spool gives until ctx ends. A batch takes what is
// there; it does not wait to become larger.
func (l *lane) collect(ctx context.Context) error {
	ended, cancel := context.WithCancel(ctx)
	cancel() // for reads that do not wait
	var held *sensorv1.Item
	for {
		select {
		case l.window <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		var items []*sensorv1.Item
		item, err := held, error(nil)
		if item == nil {
			item, err = l.next(ctx, true)
		}
		for bytes := 0; ; {
			if err != nil {
				return err
			}
			if bytes += len(item.Record) + itemBytes; bytes > batchBytes {
				break
			}
			items = append(items, item)
			if item, err = l.next(ended, false); item == nil && err == nil {
				break
			}
		}
		held = item
		select {
		case l.batches <- items:
		case <-ctx.Done():
			return nil
		}
	}
}

// next is the spool's next entry; nil where there is none and ctx has ended. What the
// collector has already is acknowledged instead, before anything of this stream waits.
func (l *lane) next(ctx context.Context, first bool) (*sensorv1.Item, error) {
	for {
		e, err := l.reader.Next(ctx)
		if errors.Is(err, context.Canceled) && !first {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		item := &sensorv1.Item{Sequence: e.Sequence, BootId: l.bootOf(e.Data), Record: append([]byte(nil), e.Data...)}
		if l.guest {
			item.BootId += guestBoot
		}
		if has, ok := l.has[item.BootId]; !ok || item.Sequence > has {
			l.has = nil // order: nothing that follows is there
			l.time(e)
			return item, nil
		}
		if err := l.free(e.Sequence, 1); err != nil {
			return nil, err
		}
	}
}

// bootOf is the boot id in a record: what was spooled before a reboot keeps its own.
func (l *lane) bootOf(record []byte) string {
	const field = 2 // Record.boot_id
	for len(record) > 0 {
		number, kind, n := protowire.ConsumeTag(record)
		if n < 0 {
			break
		}
		if number == field && kind == protowire.BytesType {
			if id, n := protowire.ConsumeBytes(record[n:]); n > 0 && len(id) > 0 && len(id) <= maxBootIDBytes-len(guestBoot) && string(id) != l.bootID {
				return string(id)
			}
			break
		}
		size := protowire.ConsumeFieldValue(number, kind, record[n:])
		if size < 0 {
			break
		}
		record = record[n+size:]
	}
	return l.bootID
}

// sending makes the message of a batch and remembers it: its acknowledgement may come
// before Send returns.
func (l *lane) sending(items []*sensorv1.Item) *sensorv1.FromAgent {
	last := items[len(items)-1]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flight = append(l.flight, flight{bootID: last.BootId, last: last.Sequence, items: len(items)})
	l.sent = last.Sequence
	l.counts.sent.Add(uint64(len(items)))
	return &sensorv1.FromAgent{Body: &sensorv1.FromAgent_Batch{Batch: &sensorv1.Batch{Lane: l.name, Items: items}}}
}

// ack frees all batches up to a position. One inside of a batch waits for its end.
func (l *lane) ack(p *sensorv1.Position) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.GetSequence() > l.sent {
		return fmt.Errorf("%w: it acknowledges %d of %s, and no more than %d was sent", errProtocol, p.GetSequence(), l.name, l.sent)
	}
	done := 0
	for done < len(l.flight) && l.flight[done].last <= p.GetSequence() {
		done++
	}
	if done == 0 {
		return nil
	}
	last := l.flight[done-1]
	if last.last == p.GetSequence() && last.bootID != p.GetBootId() {
		return fmt.Errorf("%w: it acknowledges %d of %s of another boot than was sent", errProtocol, last.last, l.name)
	}
	items := 0
	for _, f := range l.flight[:done] {
		items += f.items
	}
	if err := l.free(last.last, items); err != nil {
		return err
	}
	for range done {
		<-l.window
	}
	l.flight = append(l.flight[:0], l.flight[done:]...)
	return nil
}

// free lets go of what the collector has, and says so.
func (l *lane) free(sequence uint64, items int) error {
	if err := l.reader.Ack(sequence); err != nil {
		return err
	}
	l.counts.acked.Add(uint64(items))
	select {
	case l.acked <- struct{}{}:
	default:
	}
	return nil
}
