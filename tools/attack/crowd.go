package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// crowdNameBytes makes the names long: the sensor then works longer on each, and is the
// more often switched away from in the middle.
const crowdNameBytes = 200

// crowd has its threads take one processor from each other in the middle of what they do,
// which a kernel that preempts itself allows.
func crowd(a *actor, r *report, args []string) error {
	flags := flag.NewFlagSet("crowd", flag.ContinueOnError)
	threads, opens := flags.Int("threads", 8, ""), flags.Int("opens", 1000, "")
	if err := parse(flags, args, 0, 0); err != nil {
		return err
	}
	if *threads < 1 || *threads > 'z'-'a'+1 {
		return fmt.Errorf("%w: %d threads: want 1 to 26", errUsage, *threads)
	}
	var errs []error
	for i := range *threads {
		letters := strings.Repeat(string(rune('a'+i)), crowdNameBytes)
		name, err := a.make(r, fmt.Sprintf("%s-%d", letters, os.Getpid()), nil, 0o600)
		if err != nil {
			errs = append(errs, err)
			break
		}
		r.path(name)
	}
	if len(errs) == 0 {
		errs = append(errs, openTogether(r, *opens))
	}
	for _, name := range r.Paths {
		errs = append(errs, a.remove(r, name))
	}
	return errors.Join(errs...)
}

// openTogether opens each of the report's files n times, from a thread of its own.
func openTogether(r *report, n int) error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("find a processor: %w", err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	// Go's scheduler must not let them wait for each other.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(len(r.Paths) + 1))
	var running, ready sync.WaitGroup
	begin := make(chan struct{})
	reports, errs := make([]*report, len(r.Paths)), make([]error, len(r.Paths))
	ready.Add(len(r.Paths))
	for i, name := range r.Paths {
		reports[i] = newReport(r.Action)
		running.Go(func() {
			runtime.LockOSThread() // to the end: nobody else gets this thread
			errs[i] = unix.SchedSetaffinity(0, &one)
			ready.Done()
			<-begin
			for range n {
				if errs[i] == nil {
					errs[i] = openClose(reports[i], name, unix.O_RDONLY, "opens_read")
				}
			}
		})
	}
	ready.Wait()
	close(begin)
	running.Wait()
	for _, one := range reports {
		r.Counts["opens_read"] += one.Counts["opens_read"]
	}
	return errors.Join(errs...)
}
