package rule

import (
	"maps"
	"slices"
	"strings"
)

// bound says what has to be true of an event for an expression to be true: at
// least one of its parts. It is conservative; any bounds nothing.
type bound struct {
	any       bool
	names     words // last names of the object
	suffixes  words // of the last name, from its last dot
	prefixes  words // of the path
	processes words // names and programs of the process that acted
	ports     map[uint16]struct{}
	ops       Op // transitions that the kernel tells apart by itself
}

type words map[string]struct{}

func wordsFrom(list ...string) words {
	set := make(words, len(list))
	for _, word := range list {
		set[word] = struct{}{}
	}
	return set
}

// never bounds an expression that is false.
func never() bound { return bound{} }

func unbounded() bound { return bound{any: true} }

func (b bound) isNever() bool {
	return !b.any && len(b.names)+len(b.suffixes)+len(b.prefixes)+len(b.processes)+len(b.ports) == 0 && b.ops == 0
}

// weight orders bounds by how much they let through, roughly.
func (b bound) weight() int {
	if b.any {
		return 1 << 30
	}
	weight := len(b.names) + len(b.processes) + 8*len(b.ports) + 16*len(b.suffixes) + 64*len(b.prefixes)
	for op, cost := range map[Op]int{
		OpMemoryMemfd: 1, OpMemoryWriteAndExecute: 8, OpMemoryWriteToExecute: 16, OpChmodExecutable: 16,
		OpMemoryAnonymous: 64, OpMemoryFile: 1 << 20,
	} {
		if b.ops&op != 0 {
			weight += cost
		}
	}
	return weight
}

// both is the bound of a && b: either side's will do.
func both(a, b bound) bound {
	if b.weight() < a.weight() {
		return b
	}
	return a
}

// either is the bound of a || b.
func either(a, b bound) bound {
	var all bound
	all.include(a)
	all.include(b)
	return all
}

// include makes b the bound of b || other. It takes no map from other.
func (b *bound) include(other bound) {
	if b.any || other.any {
		*b = unbounded()
		return
	}
	b.names = withKeys(b.names, other.names)
	b.suffixes = withKeys(b.suffixes, other.suffixes)
	b.prefixes = withKeys(b.prefixes, other.prefixes)
	b.processes = withKeys(b.processes, other.processes)
	b.ports = withKeys(b.ports, other.ports)
	b.ops |= other.ops
}

func withKeys[K comparable](into, from map[K]struct{}) map[K]struct{} {
	if into == nil && len(from) > 0 {
		into = make(map[K]struct{}, len(from))
	}
	maps.Copy(into, from)
	return into
}

// Bounds of what the kernel's maps can hold. A longer suffix or a prefix from no
// root bounds nothing; longer names and prefixes are cut there, which admits more.
const maxSuffixBytes = 8

// role is what a text of the event means to the kernel.
type role int

const (
	roleNone    role = iota
	rolePath         // an object's path
	roleName         // its last name
	roleExt          // the end of its last name
	roleProcess      // the name of the process that acted
)

// equalTo bounds text == word.
func (r role) equalTo(word string) bound {
	switch r {
	case rolePath:
		return bound{names: wordsFrom(word[strings.LastIndexByte(word, '/')+1:])}
	case roleName:
		return bound{names: wordsFrom(word)}
	case roleExt:
		if word == "" {
			return unbounded()
		}
		return suffixBound(word)
	case roleProcess:
		return bound{processes: wordsFrom(word)}
	}
	return unbounded()
}

// endsWith bounds text.endsWith(end).
func (r role) endsWith(end string) bound {
	if r != rolePath && r != roleName && r != roleExt {
		return unbounded()
	}
	if slash := strings.LastIndexByte(end, '/'); slash >= 0 {
		return bound{names: wordsFrom(end[slash+1:])}
	}
	if dot := strings.LastIndexByte(end, '.'); dot >= 0 {
		return suffixBound(end[dot:])
	}
	return unbounded()
}

// startsWith bounds text.startsWith(start).
func (r role) startsWith(start string) bound {
	if r == rolePath && strings.HasPrefix(start, "/") {
		return bound{prefixes: wordsFrom(start)}
	}
	return unbounded()
}

func suffixBound(suffix string) bound {
	if len(suffix) > maxSuffixBytes {
		return unbounded()
	}
	return bound{suffixes: wordsFrom(suffix)}
}

func sorted[M ~map[string]V, V any](m M) []string { return slices.Sorted(maps.Keys(m)) }
