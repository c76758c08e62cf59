package output

import "github.com/seawall-security/seawall/agent/queue"

// say is why a record was not printed, in gaps.
func say(why queue.Reason) string {
	return [...]string{
		queue.Many:       "output is read too slowly: as many records wait as may",
		queue.Much:       "output is read too slowly: what waits takes as much memory as it may",
		queue.NoSpace:    "output could not be written: no space left",
		queue.NotEncoded: "record could not be encoded",
	}[why]
}
