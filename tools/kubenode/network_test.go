package kubenode

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The network: a bridge with the node's address, pods and a client's machine on it.
const (
	nodeAddress   = "10.77.0.1"
	clientAddress = "10.77.0.10"
	bridge        = "lan"
	firstPod      = 100 // of 10.77.0.0/24
)

// inside marks a process of the network namespace; its value is the folder of our programs.
const inside = "SEAWALL_KUBENODE"

// enter runs this very test once more, in a network namespace of its own, and returns its
// exit status.
func enter(programs string) int {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), inside+"="+programs)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if err := c.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "in a network namespace:", err)
		return 1
	}
	return 0
}

// ip runs the ip command.
func ip(words string) error {
	if out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", words, err, out)
	}
	return nil
}

func network(t *testing.T) {
	t.Helper()
	for _, words := range []string{
		"link set lo up", "link add " + bridge + " type bridge", "addr add " + nodeAddress + "/24 dev " + bridge, "link set " + bridge + " up",
		"route add default via " + clientAddress + " dev " + bridge, // the kubelet looks for one
	} {
		if err := ip(words); err != nil {
			t.Fatal(err)
		}
	}
}

// client is somebody's machine: a network namespace with an address of its own.
type client struct{ holder *exec.Cmd }

func newClient(t *testing.T) *client {
	t.Helper()
	c := &client{exec.Command("sleep", "infinity")}
	c.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := c.holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.holder.Process.Kill()
		_ = c.holder.Wait()
	})
	if err := plug(fmt.Sprintf("/proc/%d/ns/net", c.holder.Process.Pid), "v-client", "eth0", clientAddress); err != nil {
		t.Fatal(err)
	}
	return c
}

// command prepares a program on the client's machine.
func (c *client) command(t *testing.T, words ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", c.holder.Process.Pid), "--"}, words...)
	return exec.CommandContext(t.Context(), "nsenter", args...)
}

// plug puts a network namespace on the bridge.
func plug(namespace, outer, inner, address string) error {
	within := func(words string) error {
		out, err := exec.Command("nsenter", append([]string{"--net=" + namespace, "ip"}, strings.Fields(words)...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", words, err, out)
		}
		return nil
	}
	temporary := "t" + outer
	for _, words := range []string{"link add " + outer + " type veth peer name " + temporary, "link set " + outer + " master " + bridge + " up"} {
		if err := ip(words); err != nil {
			return err
		}
	}
	if err := ip("link set " + temporary + " netns " + namespace); err != nil {
		return err
	}
	for _, words := range []string{
		"link set lo up", "link set " + temporary + " name " + inner, "addr add " + address + "/24 dev " + inner, "link set " + inner + " up",
		"route add default via " + nodeAddress,
	} {
		if err := within(words); err != nil {
			return err
		}
	}
	return nil
}

// cni is this program as a network plugin of containerd, under the names loopback and
// seawall-test: it gives every pod the next address.
func cni() int {
	namespace, inner := os.Getenv("CNI_NETNS"), os.Getenv("CNI_IFNAME")
	version := "0.4.0"
	answer := map[string]any{"cniVersion": version}
	var err error
	switch command, name := os.Getenv("CNI_COMMAND"), filepath.Base(os.Args[0]); {
	case command == "VERSION":
		answer["supportedVersions"] = []string{"0.3.1", version}
	case command == "ADD" && name == "loopback":
		answer["interfaces"] = []any{map[string]any{"name": "lo", "sandbox": namespace}}
		answer["ips"] = []any{map[string]any{"version": "4", "address": "127.0.0.1/8", "interface": 0}}
	case command == "ADD":
		var n int
		if n, err = next(filepath.Dir(os.Args[0])); err == nil {
			address := "10.77.0." + strconv.Itoa(n)
			err = plug(namespace, "v-"+strconv.Itoa(n), inner, address)
			answer["interfaces"] = []any{map[string]any{"name": inner, "sandbox": namespace}}
			answer["ips"] = []any{map[string]any{"version": "4", "address": address + "/24", "gateway": nodeAddress, "interface": 0}}
		}
	default: // DEL, CHECK: the interface goes with its namespace
		return 0
	}
	if err != nil {
		answer = map[string]any{"cniVersion": version, "code": 100, "msg": err.Error()}
	}
	text, _ := json.Marshal(answer) // of texts and numbers: cannot fail
	fmt.Println(string(text))
	if err != nil {
		return 1
	}
	return 0
}

// next is the last part of an address that nobody has: making a folder tells who was first.
func next(dir string) (int, error) {
	for n := firstPod; n < 250; n++ {
		switch err := os.Mkdir(filepath.Join(dir, "pod-"+strconv.Itoa(n)), 0o700); {
		case err == nil:
			return n, nil
		case !os.IsExist(err):
			return 0, err
		}
	}
	return 0, fmt.Errorf("no address is left")
}
