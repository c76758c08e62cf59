package whole

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	seed   = flag.Uint64("seed", 0, "of TestCrash's faults; 0: a fresh one, which is printed")
	rounds = flag.Int("rounds", 0, "how many rounds of faults TestCrash makes; 0: the two that gate")
)

// programs are the product's, and what reads from it.
var programs = map[string]string{
	"seawall-agent": "agent", "seawall-collector": "collector", "siemclient": "tools/siemclient",
}

// built is the folder that has them.
var built string

// The test binary is also the receiver of webhooks, so that it can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == receiveArgument {
		if err := receive(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(build(m.Run))
}

func build(run func() int) int {
	var err error
	if built, err = os.MkdirTemp("", "seawall-whole-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(built)
	for name, folder := range programs {
		command := exec.Command("go", "build", "-o", filepath.Join(built, name), "../../"+folder)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		command.Stdout, command.Stderr = os.Stderr, os.Stderr
		if err := command.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build", name+":", err)
			return 1
		}
	}
	return run()
}
