package smoke

import "time"

// The guest's files.
const (
	guestPlan    = "/srv/plan.json"
	guestAgent   = "/bin/seawall-agent"
	guestAttack  = "/bin/attack"
	guestWget    = "/srv/bin/wget"  // the actor under the name of a download tool
	guestNginx   = "/srv/bin/nginx" // and of a web server
	guestBusybox = "/lab/busybox"
	guestWork    = "/srv/work" // where actors make their files
	guestWeb     = "/srv/www"
	guestPlain   = "/srv/plain" // a file nobody watches
	guestShadow  = "/etc/shadow"
)

// Where the guest listens for the actors. The address is private but not loopback.
const (
	unixSocket     = "/run/smoke.sock"
	abstractSocket = "@smoke"
	peerAddress    = "10.9.8.7"
	peer           = peerAddress + ":4444"
)

// phase is one run of the agent.
type phase struct {
	Name  string   `json:"name"`
	Agent []string `json:"agent"` // its arguments
	// Once: the agent ends by itself, nothing is done beside it.
	Once  bool  `json:"once,omitempty"`
	Steps []act `json:"steps,omitempty"`
}

// act is what one actor is told to do.
type act struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	User uint32   `json:"user,omitempty"`
}

// outcome is what became of a phase.
type outcome struct {
	Stdout []byte `json:"stdout"` // of the agent
	Stderr []byte `json:"stderr"`
	// Error is why the phase could not be carried through; empty: it was.
	Error  string        `json:"error,omitempty"`
	Ready  string        `json:"ready,omitempty"` // the agent's line
	Status int           `json:"status"`          // the agent's exit status
	Driver int           `json:"driver"`          // pid of the guest's part of the test
	Start  time.Duration `json:"start"`           // from the agent's start to its line
	Stop   time.Duration `json:"stop"`            // from SIGTERM to its end
	Began  time.Time     `json:"began"`           // by the guest's clock
	Ended  time.Time     `json:"ended"`           // likewise
	Done   []performed   `json:"done,omitempty"`  // in the order of the steps
}

// performed is what an actor did.
type performed struct {
	PID    int    `json:"pid"`
	Status int    `json:"status"` // as a shell has it: 128+n for signal n
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
}
