package rules

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// childVariable makes the test binary an agent that takes one bundle after another, with
// that state folder.
const childVariable = "SEAWALL_RULES_CHILD"

// TestKilledAgent: whenever an agent is killed, the bundle that it said was in force, or
// the one it was about to take, is in force when it starts again, and no older one is
// taken.
func TestKilledAgent(t *testing.T) {
	if dir := os.Getenv(childVariable); dir != "" {
		takeForever(t, dir)
	}
	h := newHost(t)
	for round := range 20 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilledAgent$")
		child.Env = append(os.Environ(), childVariable+"="+h.dir)
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		said := uint64(0)
		lines := bufio.NewScanner(out)
		for range 1 + rand.IntN(20) {
			if !lines.Scan() {
				break
			}
			if _, err := fmt.Sscanf(lines.Text(), "in force %d", &said); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
		}
		must(t, child.Process.Kill())
		for lines.Scan() { // what it said until then
			if _, err := fmt.Sscanf(lines.Text(), "in force %d", &said); err != nil {
				break // cut in the middle
			}
		}
		_ = child.Wait() // it was killed
		r := h.start()
		if _, serial := r.InForce(); said == 0 || serial != said && serial != said+1 {
			t.Fatalf("round %d: bundle %d was in force, now it is %d", round, said, serial)
		}
		h.mustDetect("after a kill", "shell", "netcat")
		mustRefuse(t, r, sign(t, key(1), said-1), "is not above")
		if left, err := filepath.Glob(filepath.Join(h.dir, newPattern)); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func takeForever(t *testing.T, dir string) {
	h := newHost(t)
	h.dir = dir
	r := h.start()
	for _, serial := r.InForce(); ; {
		serial++
		mustApply(t, r, sign(t, key(1), serial, ruleOf("netcat", "nc")))
		if _, err := fmt.Fprintln(os.Stdout, "in force", serial); err != nil {
			os.Exit(1)
		}
	}
}
