package disk

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"testing"
)

const testSectors = 64

// memory is a medium of as many bytes as it has.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error)  { return copy(b, m[at:]), nil }
func (m memory) WriteAt(b []byte, at int64) (int, error) { return copy(m[at:], b), nil }

func newDisk(t testing.TB) (*Disk, memory) {
	t.Helper()
	medium := make(memory, testSectors*SectorBytes)
	d, err := New(medium, int64(len(medium)))
	if err != nil {
		t.Fatal(err)
	}
	return d, medium
}

// client is the other end of the protocol.
type client struct {
	*testing.T
	conn   net.Conn
	cookie uint64
}

func connect(t *testing.T, d *Disk) *client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(l) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	c := &client{T: t, conn: conn}
	c.expect(big.AppendUint16(big.AppendUint64(big.AppendUint64(nil, magicServer), magicOption), handshakeFlags))
	const structuredReply = 8
	c.send(big.AppendUint32(nil, 3))
	c.send(option(structuredReply, nil))
	c.expect(appendAnswer(nil, structuredReply, answerUnsupported, nil))
	c.send(option(optionGo, []byte{0, 0, 0, 0, 0, 0}))
	export := big.AppendUint16(big.AppendUint64(big.AppendUint16(nil, infoExport), testSectors*SectorBytes), exportFlags)
	c.expect(appendAnswer(nil, optionGo, answerInfo, export))
	c.expect(appendAnswer(nil, optionGo, answerInfo, []byte{0, infoBlockSize, 0, 0, 2, 0, 0, 0, 16, 0, 2, 0, 0, 0}))
	c.expect(appendAnswer(nil, optionGo, answerAck, nil))
	return c
}

func option(number uint32, body []byte) []byte {
	b := big.AppendUint32(big.AppendUint64(nil, magicOption), number)
	return append(big.AppendUint32(b, uint32(len(body))), body...)
}

func request(command uint16, cookie uint64, offset int64, length int, data []byte) []byte {
	b := big.AppendUint16(big.AppendUint16(big.AppendUint32(nil, magicRequest), 0), command)
	b = big.AppendUint64(big.AppendUint64(b, cookie), uint64(offset))
	return append(big.AppendUint32(b, uint32(length)), data...)
}

func (c *client) send(b []byte) {
	c.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.Fatal(err)
	}
}

func (c *client) expect(want []byte) {
	c.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.conn, got); err != nil || !bytes.Equal(got, want) {
		c.Fatalf("got %x, %v; want %x", got, err, want)
	}
}

// do sends a request and waits for its answer.
func (c *client) do(refusal uint32, command uint16, offset int64, length int, data []byte) {
	c.Helper()
	c.cookie++
	c.send(request(command, c.cookie, offset, length, data))
	c.expect(big.AppendUint64(big.AppendUint32(big.AppendUint32(nil, magicReply), refusal), c.cookie))
}

func (c *client) write(sector int, text byte, count int) {
	c.Helper()
	data := sectors(text, count)
	c.do(0, commandWrite, int64(sector)*SectorBytes, len(data), data)
}

func (c *client) reads(sector int, want []byte) {
	c.Helper()
	c.do(0, commandRead, int64(sector)*SectorBytes, len(want), nil)
	c.expect(want)
}

func (c *client) flush() { c.Helper(); c.do(0, commandFlush, 0, 0, nil) }

// silent waits for the end of a session that a cut has ended: nothing more comes of it.
func (c *client) silent() {
	c.Helper()
	if err := c.conn.(*net.UnixConn).CloseWrite(); err != nil {
		c.Fatal(err)
	}
	if rest, err := io.ReadAll(c.conn); err != nil || len(rest) > 0 {
		c.Errorf("%x, %v after the cut", rest, err)
	}
}

func sectors(text byte, count int) []byte { return bytes.Repeat([]byte{text}, count*SectorBytes) }

// restart cuts the power and turns it on again.
func restart(t *testing.T, d *Disk, loss Loss, random *rand.Rand) Outcome {
	t.Helper()
	d.Cut()
	o, err := d.PowerOn(loss, random)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestCutTakesWhatWasNotFlushed(t *testing.T) {
	d, medium := newDisk(t)
	c := connect(t, d)
	c.write(1, 'a', 2)
	c.flush()
	c.write(2, 'b', 2)
	c.reads(1, slices.Concat(sectors('a', 1), sectors('b', 2), sectors(0, 1)))
	if !bytes.Equal(medium[SectorBytes:4*SectorBytes], slices.Concat(sectors('a', 2), sectors(0, 1))) {
		t.Error("the medium has what was not flushed")
	}
	if o := restart(t, d, LoseAll, nil); o != (Outcome{1, 2 * SectorBytes, 2 * SectorBytes}) {
		t.Errorf("outcome %+v", o)
	}
	late := c
	c = connect(t, d)
	c.reads(1, slices.Concat(sectors('a', 2), sectors(0, 1)))
	late.send(request(commandWrite, 9, 0, SectorBytes, sectors('x', 1)))
	late.silent() // what comes from before the cut is not done
	c.reads(0, sectors(0, 1))
	c.write(2, 'c', 1)
	if o := restart(t, d, LoseNothing, nil); o != (Outcome{1, SectorBytes, 0}) {
		t.Errorf("outcome %+v", o)
	}
	c = connect(t, d)
	c.reads(1, slices.Concat(sectors('a', 1), sectors('c', 1)))
	if all, flushes := d.Requests(); all != 4 || flushes != 1 {
		t.Errorf("%d requests, %d flushes", all, flushes)
	}
}

// Of writes to one place any may be the last that got there, but none of before a flush.
func TestCutReorders(t *testing.T) {
	const physical = WholeBytes / SectorBytes
	random := rand.New(rand.NewPCG(1, 1))
	seen := map[string]bool{}
	for range 200 {
		d, _ := newDisk(t)
		for _, text := range []byte{'a', 'b', 'c'} {
			if err := d.write(d.Off(), sectors(text, 2*physical), 0); err != nil {
				t.Fatal(err)
			}
			if text == 'a' {
				if err := d.flush(d.Off()); err != nil {
					t.Fatal(err)
				}
			}
		}
		restart(t, d, []Loss{LoseWrites, LoseSectors}[random.IntN(2)], random)
		got := make([]byte, 2*WholeBytes)
		if err := d.read(d.Off(), got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, slices.Concat(bytes.Repeat(got[:1], WholeBytes), bytes.Repeat(got[WholeBytes:][:1], WholeBytes))) {
			t.Fatal("a sector is torn")
		}
		seen[fmt.Sprintf("%c%c", got[0], got[WholeBytes])] = true
	}
	if len(seen) != 9 {
		t.Errorf("seen %v, want all of a, b and c in both physical sectors", seen)
	}
}

func TestPowerGoesAfterSoManyRequests(t *testing.T) {
	d, _ := newDisk(t)
	c := connect(t, d)
	off := d.Off()
	d.CutAfter(2)
	c.write(0, 'a', 1)
	c.flush()
	c.reads(0, sectors('a', 1)) // reads do not count
	select {
	case <-off:
		t.Fatal("off too early")
	default:
	}
	c.send(request(commandWrite, 9, 0, SectorBytes, sectors('b', 1)))
	<-off
	c.send(request(commandFlush, 10, 0, 0, nil)) // not answered either
	if err := d.read(d.Off(), make([]byte, SectorBytes), 0); err == nil {
		t.Error("a disk without power reads")
	}
	o, err := d.PowerOn(LoseNothing, nil)
	if err != nil || o.Cached != 0 {
		t.Errorf("outcome %+v, %v", o, err)
	}
	if _, err := d.PowerOn(LoseAll, nil); err == nil {
		t.Error("turned on twice")
	}
	c.silent()
}

func TestRefusedRequests(t *testing.T) {
	d, _ := newDisk(t)
	c := connect(t, d)
	const size = testSectors * SectorBytes
	for _, r := range []struct {
		offset int64
		length int
	}{{1, SectorBytes}, {0, 1}, {size, SectorBytes}, {size - SectorBytes, 2 * SectorBytes}, {-SectorBytes, SectorBytes}} {
		c.do(errorInvalid, commandRead, r.offset, r.length, nil)
		c.do(errorInvalid, commandWrite, r.offset, r.length, make([]byte, r.length))
	}
	c.do(errorInvalid, 4, 0, SectorBytes, nil) // discard was not offered
	c.reads(0, sectors(0, testSectors))
	if _, err := New(memory{}, 100); err == nil {
		t.Error("half a sector")
	}
}

// FuzzSession: whatever a client says, it ends, and holds a bounded request.
func FuzzSession(f *testing.F) {
	hello := slices.Concat(big.AppendUint32(nil, 3), option(optionGo, nil))
	f.Add(hello)
	f.Add(slices.Concat(hello, request(commandWrite, 1, 0, SectorBytes, sectors('a', 1)), request(commandFlush, 2, 0, 0, nil),
		request(commandRead, 3, 0, SectorBytes, nil), request(commandEnd, 4, 0, 0, nil)))
	f.Add(slices.Concat(big.AppendUint32(nil, 3), option(optionAbort, nil)))
	f.Add(slices.Concat(hello, request(commandRead, 1, -SectorBytes, maxRequestBytes, nil)))
	f.Fuzz(func(t *testing.T, said []byte) {
		d, _ := newDisk(t)
		_ = d.session(struct { // any end will do
			io.Reader
			io.Writer
		}{bytes.NewReader(said), io.Discard})
	})
}
