package process

import "sync/atomic"

// Stats are the table's counts since it was made, and its present size.
type Stats struct {
	Live, Dead, Coarse, Bytes int64

	// Unknown counts processes whose start was not seen; Repaired those of them
	// that procfs could still describe; RepairsRefused those not tried because the
	// time allowed for it was spent.
	Unknown, Repaired, RepairsRefused uint64
	// LostForks counts execs of processes not known before.
	LostForks uint64
	// LostExits counts processes whose number was used again before their exit was seen.
	LostExits uint64
	// EvictedLive and EvictedDead count entries pushed out by a bound.
	EvictedLive, EvictedDead uint64
	// Shortened counts cuts of a chain of ancestors.
	Shortened uint64
	// Upgraded counts coarse entries that became exact, StaleCoarse those whose
	// number turned out to be another process's.
	Upgraded, StaleCoarse uint64
	// Sessions counts sessions begun. EntriesWithoutContainer and
	// EntriesWithoutRuntime count entries the kernel told of that began none: their
	// cgroup claims to be no container, or no runtime is among their ancestors.
	Sessions, EntriesWithoutContainer, EntriesWithoutRuntime uint64
	// Visits counts sessions begun past the runtime. Reaches counts connections made from
	// outside within a container's network, ReachesOver those beyond the rate of entries.
	Visits, Reaches, ReachesOver uint64
	// ArgsUnreadable counts argv that procfs did not give in time or at all.
	ArgsUnreadable uint64
}

// counters have one writer; atomic because metrics are scraped by other goroutines.
type counters struct {
	live, dead, coarse, bytes atomic.Int64

	unknown, repaired, repairsRefused atomic.Uint64
	lostForks, lostExits              atomic.Uint64
	evictedLive, evictedDead          atomic.Uint64
	shortened                         atomic.Uint64
	upgraded, staleCoarse             atomic.Uint64
	sessions                          atomic.Uint64
	entriesWithoutContainer           atomic.Uint64
	entriesWithoutRuntime             atomic.Uint64
	visits, reaches, reachesOver      atomic.Uint64
	argsUnreadable                    atomic.Uint64
}

// gauge makes the present size visible to other goroutines. It runs with every
// event: a load costs less than a store that others have to see.
func (t *Table) gauge() {
	set := func(g *atomic.Int64, n int) {
		if g.Load() != int64(n) {
			g.Store(int64(n))
		}
	}
	set(&t.count.live, t.live.length)
	set(&t.count.dead, t.dead.length)
	set(&t.count.coarse, len(t.coarse))
	set(&t.count.bytes, t.bytes)
}

// Stats may be called by any goroutine.
func (t *Table) Stats() Stats {
	c := &t.count
	return Stats{
		Live: c.live.Load(), Dead: c.dead.Load(), Coarse: c.coarse.Load(), Bytes: c.bytes.Load(),
		Unknown: c.unknown.Load(), Repaired: c.repaired.Load(), RepairsRefused: c.repairsRefused.Load(),
		LostForks: c.lostForks.Load(), LostExits: c.lostExits.Load(),
		EvictedLive: c.evictedLive.Load(), EvictedDead: c.evictedDead.Load(),
		Shortened: c.shortened.Load(), Upgraded: c.upgraded.Load(), StaleCoarse: c.staleCoarse.Load(),
		Sessions:                c.sessions.Load(),
		EntriesWithoutContainer: c.entriesWithoutContainer.Load(),
		EntriesWithoutRuntime:   c.entriesWithoutRuntime.Load(),
		Visits:                  c.visits.Load(), Reaches: c.reaches.Load(), ReachesOver: c.reachesOver.Load(),
		ArgsUnreadable: c.argsUnreadable.Load(),
	}
}
