package live

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/seawall-security/seawall/agent/probe"
)

// The test binary is also an actor, for acts that tools/attack does not have: what the
// agent's own process does is none of its events.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == actArgument {
		if err := act(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 2 && os.Args[1] == probe.SelfTestArgument {
		return
	}
	status := m.Run()
	if dir, err := actorFolder(); err == nil {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}
