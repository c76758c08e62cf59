package scenes

import (
	"context"
	"errors"
)

// steps do one thing each, so that every kind of event is there.
const steps = `[["create"], ["open-write"], ["rename"], ["chmod"], ["accept"], ["connect-unix", "/run/none.sock"],
["mprotect"], ["mmap-wx"], ["mmap-memfd-exec"], ["setns", "/proc/self/ns/uts"], ["bad-path"], ["memfd-exec"]]`

// kinds is the recording that the decoder's golden file is made of.
func kinds() Scene {
	return Scene{
		File: "agent/decode/testdata/kinds.jsonl", Note: "Every kind of event, in a container.", Unfiltered: true, Keep: few(6),
		Play: func(ctx context.Context, s *Set) error {
			// The path is absent: that step fails, the others do not.
			out, err := s.run(ctx, box{flags: []string{"--privileged"}, args: sh("echo '" + steps + "' | attack sequence -keep-going -")})
			return errors.Join(err, expect(out, `"failed":1`))
		},
	}
}
