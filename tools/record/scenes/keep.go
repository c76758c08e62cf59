package scenes

import (
	"strings"

	"github.com/seawall-security/seawall/internal/event"
)

// noReads leaves out what was opened for reading alone and the libraries that were
// mapped: they are of no interest here and fill recordings.
func noReads() func(*event.Event) bool {
	return func(e *event.Event) bool {
		switch p := e.Payload.(type) {
		case *event.Open:
			return p.Write || p.Created
		case *event.Memory:
			return p.Region != event.RegionFile || p.WriteAndExecute() || p.WriteToExecute()
		}
		return true
	}
}

// about keeps, of the opens, those of files with the name.
func about(name string) func() func(*event.Event) bool {
	return func() func(*event.Event) bool {
		return func(e *event.Event) bool {
			open, ok := e.Payload.(*event.Open)
			return !ok || open.File.Name() == name
		}
	}
}

// few keeps the first n of each kind.
func few(n int) func() func(*event.Event) bool {
	return func() func(*event.Event) bool {
		var seen [event.KindMax]int
		return func(e *event.Event) bool {
			seen[e.Kind]++
			return seen[e.Kind] <= n
		}
	}
}

// named keeps what happens to files whose path has the word in it.
func named(word string) func() func(*event.Event) bool {
	return func() func(*event.Event) bool {
		return func(e *event.Event) bool {
			switch p := e.Payload.(type) {
			case *event.Open:
				return strings.Contains(p.File.Path, word)
			case *event.Rename:
				return strings.Contains(p.NewPath, word)
			}
			return false
		}
	}
}
