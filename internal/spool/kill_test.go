package spool

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
)

// childVariable makes the test binary the child of TestKilledOwner, in that folder.
const childVariable = "SEAWALL_SPOOL_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		fmt.Fprintln(os.Stderr, appendForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// appendForever prints, per line, the highest durable sequence of both lanes.
func appendForever(dir string) error {
	s, err := Open(dir, small(nil))
	if err != nil {
		return err
	}
	var next [2]uint64
	for i, lane := range []Lane{high, low} {
		if next[i], err = s.LastSequence(lane); err != nil {
			return err
		}
	}
	for {
		for range 20 {
			for i, lane := range []Lane{high, low} {
				next[i]++
				if err := s.Append(lane, entry(lane, next[i])); err != nil {
					return err
				}
			}
		}
		if err := s.Sync(context.Background()); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(os.Stdout, next[0], next[1]); err != nil {
			return err
		}
	}
}

func TestKilledOwner(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 1))
	acked := map[Lane]uint64{}
	for round := range 15 {
		durable := killOwner(t, dir, 1+random.IntN(40))
		lost := newGaps()
		o := small(nil)
		o.OnGap = lost.on
		s := mustOpen(t, dir, o)
		for i, lane := range []Lane{high, low} {
			got := rest(t, s, lane)
			if last, found := slices.BinarySearch(got, durable[i]); !found {
				t.Fatalf("round %d: %s: %d was durable; found up to %d", round, lane, durable[i], got[min(last, len(got)-1)])
			}
			if got[0] != acked[lane]+1 && acked[lane] != 0 {
				t.Errorf("round %d: %s: begins at %d, acked was %d", round, lane, got[0], acked[lane])
			}
			for j, n := range got[1:] {
				if n != got[j]+1 && n < got[j]+crashMargin {
					t.Errorf("round %d: %s: %d after %d", round, lane, n, got[j])
				}
			}
			ackSome(t, s, lane, got, acked)
		}
		for _, g := range lost.wait(t, Crash, 2) {
			if !g.More || g.Count != 0 || g.First > g.Last || g.Since > g.Until {
				t.Errorf("%+v", g)
			}
		}
		if g := slices.Concat(lost.of(Corrupt), lost.of(Evicted)); len(g) > 0 {
			t.Errorf("round %d: %+v", round, g)
		}
		checkBooks(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// ackSome acks up to an entry that the next one follows without a jump.
func ackSome(t *testing.T, s *Spool, lane Lane, got []uint64, acked map[Lane]uint64) {
	t.Helper()
	half := len(got) / 2
	for half > 0 && got[half] != got[half-1]+1 {
		half--
	}
	if half == 0 {
		return
	}
	r := mustReader(t, s, lane)
	defer r.Close()
	wantNext(t, r, got[:half]...)
	if err := r.Ack(got[half-1]); err != nil {
		t.Fatal(err)
	}
	acked[lane] = got[half-1]
}

// killOwner kills a child without warning once it has printed so many lines, and returns
// what the last line said.
func killOwner(t *testing.T, dir string, lines int) (durable [2]uint64) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(out); scanner.Scan(); lines-- {
		if _, err := fmt.Sscan(scanner.Text(), &durable[0], &durable[1]); err != nil {
			t.Fatal(err)
		}
		if lines == 1 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || child.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child was not killed: %v", err)
	}
	if durable[0] == 0 {
		t.Fatal("the child said nothing")
	}
	return durable
}
