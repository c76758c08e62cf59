package whole

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

const (
	// actEvery makes some thirty detections a second.
	actEvery = 60 * time.Millisecond
	actors   = 2
	// drained bounds how long everything may take to arrive once all runs: an agent waits
	// up to 90 s between two attempts to connect.
	drained = 3 * time.Minute
	// window is what is promised: what is younger may be lost with the agent's process.
	window = 50 * time.Millisecond
	// tolerance is what a busy machine may add to it.
	tolerance = 2 * time.Second
)

func TestCrash(t *testing.T) {
	fresh := *seed
	if fresh == 0 {
		fresh = rand.Uint64()
	}
	seeds := []uint64{1, fresh}
	if *rounds > 0 {
		seeds = nil
		for i := range *rounds {
			seeds = append(seeds, fresh+uint64(i))
		}
	}
	w := newWorld(t, nil, "")
	c := &chaos{world: w, counts: map[string]int{}, corrupt: map[string]bool{}}
	w.start()
	ctx, stop := context.WithCancel(context.Background())
	var acting sync.WaitGroup
	for range actors {
		acting.Go(func() { w.actor.run(ctx, actEvery) })
	}
	defer func() { stop(); acting.Wait() }()

	began := time.Now()
	for _, s := range seeds {
		t.Logf("round with seed %d", s)
		c.round(s)
	}
	faulty := time.Since(began)
	stop()
	acting.Wait()
	j := newJudge(c)
	j.drain()
	j.books()
	w.agent.stop()
	j.arrived() // what the agent said at its end, too
	w.stopReaders()
	w.collector.stop()
	j.verdict()
	t.Logf("%d rounds in %v, drained %v later; faults: %v", len(seeds), faulty.Round(time.Second), time.Since(began.Add(faulty)).Round(time.Second), c.counts)
	fmt.Printf("crash test, seeds %d: %s\n", seeds, j.figures)
}
