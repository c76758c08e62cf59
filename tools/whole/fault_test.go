package whole

import (
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// crash is one kill of the agent.
type crash struct {
	killed, ready time.Time
	kept          kept
}

// chaos makes faults, one after the other; some last while others come.
type chaos struct {
	*world
	random  *rand.Rand
	counts  map[string]int
	crashes []crash
	corrupt map[string]bool // marks that were on disk and were damaged
	// damaged is how many entries the spool says it cannot read.
	damaged uint64

	lasting  []func()       // end what lasts
	reviving sync.WaitGroup // what was killed and is started again
	mu       sync.Mutex     // guards failed
	failed   []error
}

// faults are all there are.
var faults = []struct {
	name string
	make func(*chaos)
}{
	{"agent killed", (*chaos).killAgent},
	{"collector killed", (*chaos).killCollector},
	{"siem killed", func(c *chaos) { c.signal(c.siem) }},
	{"webhook receiver killed", func(c *chaos) { c.signal(c.receiver) }},
	{"all killed", (*chaos).killAll},
	{"network cut", func(c *chaos) {
		c.agentWay.cutOff(true)
		c.siemWay.cutOff(true)
		c.last(func() { c.agentWay.cutOff(false); c.siemWay.cutOff(false) })
	}},
	{"network silent", func(c *chaos) {
		c.agentWay.silence()
		c.siemWay.silence()
		c.last(func() { c.agentWay.resume(); c.siemWay.resume() })
	}},
	{"network slow", func(c *chaos) {
		by := c.upTo(200 * time.Millisecond)
		c.agentWay.slow(by)
		c.siemWay.slow(by)
		c.last(func() { c.agentWay.slow(0); c.siemWay.slow(0) })
	}},
	{"connections lost", (*chaos).loseConnections},
	{"agent's disk full", func(c *chaos) { c.last(c.agentDisk.fill()) }},
	{"collector's disk full", func(c *chaos) { c.last(c.collectorDisk.fill()) }},
	{"segment damaged", (*chaos).damage},
}

// round makes every fault once, in some order.
func (c *chaos) round(seed uint64) {
	c.random = rand.New(rand.NewPCG(seed, 0))
	for _, i := range c.random.Perm(len(faults)) {
		began := time.Now()
		c.counts[faults[i].name]++
		before := len(c.lasting)
		faults[i].make(c)
		c.pause(c.upTo(time.Second))
		// What lasted while this came may go on once more.
		for range min(before, len(c.lasting)) {
			if c.random.IntN(3) > 0 {
				c.lasting[0]()
				c.lasting = c.lasting[1:]
			}
		}
		c.Logf("%-24s %6.2f s", faults[i].name, time.Since(began).Seconds())
	}
	c.mend()
}

func (c *chaos) upTo(d time.Duration) time.Duration { return time.Duration(c.random.Int64N(int64(d))) }

// pause lets the others act for a while.
func (c *chaos) pause(d time.Duration) {
	over := time.NewTimer(d)
	defer over.Stop()
	<-over.C
}

func (c *chaos) last(end func()) { c.lasting = append(c.lasting, end) }

// mend ends what lasts and waits until all that was killed runs.
func (c *chaos) mend() {
	c.Helper()
	for _, end := range c.lasting {
		end()
	}
	c.lasting = nil
	c.reviving.Wait()
	for _, err := range c.failed {
		c.Error(err)
	}
	if len(c.failed) > 0 {
		c.FailNow()
	}
}

func (c *chaos) killAgent() {
	c.takeAgent()
	c.pause(c.upTo(500 * time.Millisecond))
	c.startAgent()
}

// takeAgent kills the agent and looks at what it leaves.
func (c *chaos) takeAgent() {
	if !c.agent.up() {
		c.mend()
	}
	killed := c.agent.kill()
	c.crashes = append(c.crashes, crash{killed: killed, kept: readSpool(c, c.spool())})
}

func (c *chaos) startAgent() {
	c.Helper()
	if err := c.agent.start(); err != nil {
		c.Fatal(err)
	}
	c.crashes[len(c.crashes)-1].ready = time.Now()
}

func (c *chaos) killCollector() {
	c.reviving.Wait()
	c.collector.kill()
	c.pause(c.upTo(500 * time.Millisecond))
	c.reviving.Go(c.reviveCollector)
}

// reviveCollector starts it until it stays: on a full disk it cannot.
func (c *chaos) reviveCollector() {
	began := time.Now()
	limit := began.Add(time.Minute)
	for {
		err := c.startCollector()
		if err == nil {
			return
		}
		if time.Now().After(limit) || !c.collectorDisk.wasFull(began, time.Now()) {
			c.mu.Lock()
			c.failed = append(c.failed, err)
			c.mu.Unlock()
			return
		}
		c.pause(50 * time.Millisecond)
	}
}

func (c *chaos) killAll() {
	c.reviving.Wait()
	c.signal(c.siem)
	c.signal(c.receiver)
	c.collector.kill()
	c.takeAgent()
	c.reviving.Go(c.reviveCollector)
	c.startAgent()
}

// loseConnections has no end that anybody is told of. Who is killed need not find out.
func (c *chaos) loseConnections() {
	c.agentWay.lose()
	c.siemWay.lose()
	if c.random.IntN(2) == 0 || *rounds == 0 {
		c.pause(c.upTo(500 * time.Millisecond))
		c.signal(c.siem)
		c.killAgent()
	}
}

// damage flips bytes in a segment that the agent has closed.
func (c *chaos) damage() {
	c.mend()
	c.agentWay.cutOff(true)
	defer c.agentWay.cutOff(false)
	for len(segments(c, c.spool())) < 2 {
		for range 8 {
			c.actor.act(c.Context())
		}
		c.killAgent()
		c.actor.act(c.Context())
	}
	for range 4 {
		c.actor.act(c.Context())
	}
	c.pause(c.upTo(200 * time.Millisecond))
	c.takeAgent()
	crash := &c.crashes[len(c.crashes)-1]
	victim := segments(c, c.spool())[0]
	f, err := os.OpenFile(victim, os.O_RDWR, 0)
	if err != nil {
		c.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		c.Fatal(err)
	}
	at := 96 + c.random.Int64N(info.Size()-96) // behind the header
	bytes := make([]byte, 16)
	n, _ := f.ReadAt(bytes, at)
	for i := range bytes[:n] {
		bytes[i] ^= 0xff
	}
	if _, err := f.WriteAt(bytes[:n], at); err != nil {
		c.Fatal(err)
	}
	if err := f.Close(); err != nil {
		c.Fatal(err)
	}
	after := readSpool(c, c.spool())
	lost := 0
	for mark := range crash.kept.marks {
		if !after.marks[mark] {
			c.corrupt[mark] = true
			lost++
		}
	}
	var counted uint64
	for _, g := range after.corrupt {
		counted += g.Count
	}
	c.damaged += counted
	if want := crash.kept.entries - after.entries; counted != uint64(want) {
		c.Errorf("damage at %d of %s cost %d entries, %d of them marked, and the spool counts %d: %+v", at, victim, want, lost, counted, after.corrupt)
	}
	c.Logf("damage at %d of %d bytes cost %d of %d entries, %d of them marked", at, info.Size(), counted, crash.kept.entries, lost)
	c.startAgent()
}
