package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// childrenShown bounds the list of children in a report; Counts has them all.
const childrenShown = 64

// report is what an action did.
type report struct {
	Action string `json:"action"`
	PID    int    `json:"pid"`
	TID    int    `json:"tid"`
	// Counts of system calls that succeeded, by what they did: forks, execs,
	// creates, opens_read, opens_write, renames, unlinks, chmods, connects,
	// accepts, mmaps, mprotects, memfds, setns; and args_bytes, read_bytes,
	// actions, failed.
	Counts   map[string]int `json:"counts,omitempty"`
	Paths    []string       `json:"paths,omitempty"`
	Escaped  bool           `json:"escaped,omitempty"` // a path was not UTF-8: \xNN for such bytes, \\ for a backslash
	Flows    []flow         `json:"flows,omitempty"`
	Children []int          `json:"children,omitempty"` // the first 64
	Address  uint64         `json:"address,omitempty"`
	Length   int            `json:"length_bytes,omitempty"`
	Result   string         `json:"result"` // ok, or the error
	Errno    int            `json:"errno,omitempty"`
}

// flow is a connection as the one who made (connect) or took (accept) it sees it.
type flow struct {
	Local  string `json:"local"`
	Remote string `json:"remote"`
}

func newReport(name string) *report {
	return &report{Action: name, PID: os.Getpid(), TID: unix.Gettid(), Counts: map[string]int{}}
}

func (r *report) count(what string) { r.Counts[what]++ }

func (r *report) path(name string) { r.Paths = append(r.Paths, name) }

func (r *report) child(pid int) {
	if len(r.Children) < childrenShown {
		r.Children = append(r.Children, pid)
	}
}

// finish fills in how it ended.
func (r *report) finish(err error) *report {
	r.Result = "ok"
	if err != nil {
		r.Result = err.Error()
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			r.Errno = int(errno)
		}
	}
	for _, p := range r.Paths {
		r.Escaped = r.Escaped || !utf8.ValidString(p)
	}
	if r.Escaped {
		for i, p := range r.Paths {
			r.Paths[i] = escape(p)
		}
	}
	return r
}

// escape writes text as events do when some of their text is not UTF-8. It is
// not event.Escape because that package's imports would treble the time this
// program takes to start; a test compares the two.
func escape(text string) string {
	var out strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case r == '\\':
			out.WriteString(`\\`)
		default:
			out.WriteString(text[:size])
		}
		text = text[size:]
	}
	return out.String()
}
