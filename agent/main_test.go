package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/seawall-security/seawall/agent/probe"
)

// The test binary is the agent too, for what only a process of its own can show.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && (os.Args[1] == "version" || os.Args[1] == probe.SelfTestArgument) {
		main()
		return
	}
	os.Exit(m.Run())
}

// A pipe without a reader must be an error to the agent and not its sudden death, which
// would leave the stage of its self-test behind.
func TestPipeWithoutReaderDoesNotKill(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0], "version")
	c.Stdout = w
	if err := c.Run(); err != nil {
		t.Errorf("seawall-agent version | (closed): %v", err)
	}
}
