package rule

import (
	"net/netip"
	"time"

	"github.com/seawall-security/seawall/internal/event"
)

// Lowered expressions: one kind of closure per type of the language. None fails.
type (
	boolCode     func(*frame) bool
	intCode      func(*frame) int64
	uintCode     func(*frame) uint64
	textCode     func(*frame) string
	timeCode     func(*frame) time.Time // zero: absent, which compares as 1970
	durationCode func(*frame) time.Duration
	// ipCode is an address's text, which is only made where a condition would
	// have to see it; comparing addresses needs no text.
	ipCode func(*frame) netip.Addr
	// messageCode gives a pointer to a hot struct, or nil where the message is absent.
	messageCode func(*frame) any
	labelsCode  func(*frame) map[string]string
	listCode    struct {
		size func(*frame) int
		// each puts one element after the other into the slot and runs body until
		// it returns stop; it reports whether it did.
		each     func(f *frame, slot int, body boolCode, stop bool) bool
		at       func(f *frame, i int64) string   // nil: no list of text
		contains func(f *frame, word string) bool // nil: no list of text
		message  string                           // type of its elements, "" for text
		most     int                              // bounds its size
	}
)

// Bounds of macros: how deep they nest, and how often the innermost may run for
// one event, since what is in an event's lists is up to whoever made it.
const (
	maxNesting = 4
	maxRounds  = 1 << 18
)

// maxWords bounds the words of an argv: the kernel cuts it at as many bytes.
const maxWords = 8192

// frame is the state of one evaluation.
type frame struct {
	event *event.Event
	// Elements of the lists that macros are iterating over.
	messages [maxNesting]any
	words    [maxNesting]string
	names    names
	// Stand-ins for processes of which an event only has the key.
	stranger event.Process
	child    event.Process
}

// names keeps the names that have to be made (numbers without a name of their
// own), so that seeing one again allocates nothing.
type names struct {
	filesystems map[uint32]string
	sockets     map[uint32]string
}

// maxNames bounds each map of names: a process can ask for any socket type.
const maxNames = 256

func (n *names) filesystem(magic uint32) string {
	return remember(&n.filesystems, magic, event.FilesystemName)
}

func (n *names) socket(kind uint32) string { return remember(&n.sockets, kind, event.SocketTypeName) }

func remember(known *map[uint32]string, number uint32, name func(uint32) string) string {
	if text, ok := (*known)[number]; ok {
		return text
	}
	text := name(number)
	if *known == nil || len(*known) >= maxNames {
		*known = make(map[uint32]string)
	}
	(*known)[number] = text
	return text
}

// field lowers the selection of one field of a message.
type field struct {
	lower func(messageCode) any
	// why says why conditions cannot read the field, where lower is nil.
	why string
}

func unavailable(why string) field { return field{why: why} }

// as gives the hot struct behind a message; nil: absent.
func as[M any](f *frame, base messageCode) *M {
	m, _ := base(f).(*M)
	return m
}

func textOf[M any](get func(*frame, *M) string) field {
	return field{lower: func(base messageCode) any {
		return textCode(func(f *frame) string {
			if m := as[M](f, base); m != nil {
				return get(f, m)
			}
			return ""
		})
	}}
}

func uintOf[M any, N ~uint8 | ~uint16 | ~uint32 | ~uint64](get func(*M) N) field {
	return field{lower: func(base messageCode) any {
		return uintCode(func(f *frame) uint64 {
			if m := as[M](f, base); m != nil {
				return uint64(get(m))
			}
			return 0
		})
	}}
}

func intOf[M any](get func(*M) int64) field {
	return field{lower: func(base messageCode) any {
		return intCode(func(f *frame) int64 {
			if m := as[M](f, base); m != nil {
				return get(m)
			}
			return 0
		})
	}}
}

func boolOf[M any](get func(*M) bool) field {
	return field{lower: func(base messageCode) any {
		return boolCode(func(f *frame) bool {
			m := as[M](f, base)
			return m != nil && get(m)
		})
	}}
}

func timeOf[M any](get func(*M) time.Time) field {
	return field{lower: func(base messageCode) any {
		return timeCode(func(f *frame) time.Time {
			if m := as[M](f, base); m != nil {
				return get(m)
			}
			return time.Time{}
		})
	}}
}

// messageOf selects a message; get returns nil where it is absent.
func messageOf[M, T any](get func(*M) *T) field {
	return field{lower: func(base messageCode) any {
		return messageCode(func(f *frame) any {
			if m := as[M](f, base); m != nil {
				if t := get(m); t != nil {
					return t
				}
			}
			return nil
		})
	}}
}

// wordsOf selects a list of text.
func wordsOf[M any](get func(*M) []string) field {
	return field{lower: func(base messageCode) any {
		return wordList(maxWords, func(f *frame) []string {
			if m := as[M](f, base); m != nil {
				return get(m)
			}
			return nil
		})
	}}
}

func wordList(most int, get func(*frame) []string) listCode {
	return listCode{
		most: most,
		size: func(f *frame) int { return len(get(f)) },
		each: func(f *frame, slot int, body boolCode, stop bool) bool {
			for _, word := range get(f) {
				f.words[slot] = word
				if body(f) == stop {
					return true
				}
			}
			return false
		},
		at: func(f *frame, i int64) string {
			if words := get(f); i >= 0 && i < int64(len(words)) {
				return words[i]
			}
			return ""
		},
		contains: func(f *frame, word string) bool {
			for _, w := range get(f) {
				if w == word {
					return true
				}
			}
			return false
		},
	}
}

// namesOf selects a list of text that is a choice from fixed names, in their order.
func namesOf[M any](all []string, has func(m *M, i int) bool) field {
	return field{lower: func(base messageCode) any {
		return listCode{
			most: len(all),
			size: func(f *frame) int {
				n := 0
				if m := as[M](f, base); m != nil {
					for i := range all {
						if has(m, i) {
							n++
						}
					}
				}
				return n
			},
			each: func(f *frame, slot int, body boolCode, stop bool) bool {
				m := as[M](f, base)
				for i := range all {
					if m == nil || !has(m, i) {
						continue
					}
					f.words[slot] = all[i]
					if body(f) == stop {
						return true
					}
				}
				return false
			},
			at: func(f *frame, i int64) string {
				m := as[M](f, base)
				for k := range all {
					if m == nil || !has(m, k) {
						continue
					}
					if i == 0 {
						return all[k]
					}
					i--
				}
				return ""
			},
			contains: func(f *frame, word string) bool {
				m := as[M](f, base)
				for i, name := range all {
					if name == word {
						return m != nil && has(m, i)
					}
				}
				return false
			},
		}
	}}
}
