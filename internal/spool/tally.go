package spool

// tally sums up a set of entries of one lane.
type tally struct {
	count       uint64
	first, last uint64 // sequences
	since, till int64  // entry times
	classes     classes
}

// classes counts by class. Lanes have few, so a short list beats a map.
type classes []classCount

type classCount struct {
	class uint8
	count uint64
}

func (c *classes) add(class uint8, n uint64) {
	for i := range *c {
		if (*c)[i].class == class {
			(*c)[i].count += n
			return
		}
	}
	*c = append(*c, classCount{class, n})
}

func (c classes) sub(class uint8) {
	for i := range c {
		if c[i].class == class && c[i].count > 0 {
			c[i].count--
			return
		}
	}
}

func (t *tally) add(h entryHead) {
	if t.count == 0 {
		t.first, t.since, t.till = h.sequence, h.time, h.time
	}
	t.count++
	t.last = h.sequence
	t.since, t.till = min(t.since, h.time), max(t.till, h.time)
	t.classes.add(h.class, 1)
}

// merge adds later entries.
func (t *tally) merge(o *tally) {
	if o.count == 0 {
		return
	}
	if t.count == 0 {
		t.first, t.since, t.till = o.first, o.since, o.till
	}
	t.count += o.count
	t.last = o.last
	t.since, t.till = min(t.since, o.since), max(t.till, o.till)
	for _, c := range o.classes {
		t.classes.add(c.class, c.count)
	}
}

// sub takes the first entry away; the times are left, they cover the rest too.
func (t *tally) sub(class uint8, sequence uint64) {
	t.count--
	t.first = sequence + 1
	t.classes.sub(class)
}

// reset empties t and keeps its memory.
func (t *tally) reset() { *t = tally{classes: t.classes[:0]} }
