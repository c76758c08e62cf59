package kubenode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/seawall-security/seawall/deploy"
	"github.com/seawall-security/seawall/internal/testcontainerd"
	"github.com/seawall-security/seawall/internal/testkube"
	"github.com/seawall-security/seawall/internal/testpriv"
	"github.com/seawall-security/seawall/tools/local"
)

// waiting bounds what a node does by itself: a pod starts, an alert is told.
const waiting = 3 * time.Minute

const (
	nodeName   = "node-1"
	pauseImage = "registry.test/seawall/pause:1"
)

// programs are the product's.
var programs = map[string]string{"seawall-agent": "agent", "seawall-collector": "collector", "seawallctl": "tools/seawallctl"}

// built is the folder that has them.
var built string

// The test binary is also the network plugin of containerd, and runs itself in a network
// namespace.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		os.Exit(cni())
	}
	if built = os.Getenv(inside); built != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	os.Exit(outside())
}

func outside() int {
	folder, err := os.MkdirTemp("", "seawall-kubenode-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	for name, from := range programs {
		command := exec.Command("go", "build", "-o", filepath.Join(folder, name), "../../"+from)
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
		command.Stdout, command.Stderr = os.Stderr, os.Stderr
		if err := command.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build", name+":", err)
			return 1
		}
	}
	return enter(folder)
}

// world is everything that runs.
type world struct {
	*testing.T
	folder    string // short: sockets are in it
	cluster   *testkube.Cluster
	runtime   *exec.Cmd
	agent     *local.Process
	collector local.Collector
	listens   string // the collector's address
	viewer    string // a client's files
	client    *client
	admin     *testkube.Client
}

// newWorld starts a cluster with one node, and agent and collector beside it.
func newWorld(t *testing.T) *world {
	t.Helper()
	testpriv.Root(t)
	for _, name := range []string{"ip", "nsenter", "runc", "containerd", "containerd-shim-runc-v2"} {
		testpriv.Program(t, name)
	}
	testkube.Program(t, "kubelet")
	folder, err := os.MkdirTemp("", "kn")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, folder: folder}
	t.Cleanup(w.clean)
	network(t)
	w.client = newClient(t)
	w.startCollector()
	w.startControlPlane()
	w.startRuntime()
	w.startAgent()
	w.startKubelet()
	return w
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.folder}, parts...)...)
}

func (w *world) write(name, text string) string {
	w.Helper()
	path := w.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

const bearer = "a-token-that-only-the-test-knows"

func (w *world) startCollector() {
	w.Helper()
	settings := w.write("collector.yaml", "cluster: harbour\nnames: ["+nodeAddress+"]\naudit:\n  webhook: {listen: \""+nodeAddress+":9444\", token_file: "+w.write("audit.token", bearer)+"}\n")
	w.collector = local.Collector{Path: filepath.Join(built, "seawall-collector"), Flags: []string{"--config", settings, "--data-dir", w.path("collector")}}
	process, address, err := w.collector.Start(w.Context(), nil, "--listen", nodeAddress+":9443", "--admin-address", "")
	if err != nil {
		w.Fatal(err)
	}
	w.listens = address
	w.Cleanup(func() {
		if err := process.Stop(); err != nil {
			w.Errorf("collector: %v\n%v", err, process.LastLines())
		}
	})
	w.viewer = w.path("viewer")
	if err := w.collector.Client(w.Context(), "viewer", "viewer", w.viewer); err != nil {
		w.Fatal(err)
	}
}

func (w *world) startControlPlane() {
	w.Helper()
	ca, err := os.ReadFile(filepath.Join(w.viewer, "ca.crt"))
	if err != nil {
		w.Fatal(err)
	}
	w.cluster = testkube.NewAt(w.T, nodeAddress)
	w.cluster.Serve(w.T, testkube.Options{Policy: w.write("policy.yaml", string(deploy.AuditPolicy)), Log: w.path("audit.log"),
		Webhook: &testkube.Webhook{URL: "https://" + nodeAddress + ":9444/", CA: ca, Token: bearer}})
	w.admin = w.cluster.Client(w.T, testkube.Admin)
	w.cluster.Run(w.T, "kube-controller-manager", "--kubeconfig="+w.cluster.Kubeconfig(w.T, testkube.User{Name: "system:kube-controller-manager"}),
		"--bind-address=127.0.0.1", "--client-ca-file="+w.cluster.File("ca.crt"), "--root-ca-file="+w.cluster.File("ca.crt"),
		"--cluster-signing-cert-file="+w.cluster.File("ca.crt"), "--cluster-signing-key-file="+w.cluster.File("ca.key"),
		"--service-account-private-key-file="+w.cluster.File("accounts.key"), "--use-service-account-credentials=true", "--leader-elect=false")
}

const runtimeConfig = `version = 2
root = "DIR/root"
state = "DIR/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "DIR/c.sock"
[ttrpc]
address = "DIR/c.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "PAUSE"
stream_server_address = "127.0.0.1"
netns_mounts_under_state_dir = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "DIR/bin"
conf_dir = "DIR/cni"
`

const cniConfig = `{"cniVersion":"0.4.0","name":"harbour","plugins":[{"type":"seawall-test"}]}`

// startRuntime starts containerd with the plugin that kubelets speak to, and two images.
func (w *world) startRuntime() {
	w.Helper()
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	w.write("cni/10-harbour.conflist", cniConfig)
	w.write("bin/readme", "containerd's network plugins: the test itself\n")
	for _, name := range []string{"loopback", "seawall-test"} {
		if err := os.Symlink(self, w.path("bin", name)); err != nil {
			w.Fatal(err)
		}
	}
	config := w.write("containerd.toml", strings.NewReplacer("DIR", w.folder, "PAUSE", pauseImage).Replace(runtimeConfig))
	w.runtime = w.program("containerd", testpriv.Program(w.T, "containerd"), "--config", config)
	c, err := containerd.New(w.path("c.sock"), containerd.WithTimeout(waiting))
	if err != nil {
		w.Fatalf("%v\n%s", err, w.said("containerd"))
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(w.Context(), "k8s.io"), waiting)
	defer cancel()
	if ok, err := c.IsServing(ctx); err != nil || !ok {
		w.Fatalf("containerd does not serve: %v\n%s", err, w.said("containerd"))
	}
	testcontainerd.Import(w.T, ctx, c)
	testcontainerd.ImportAs(w.T, ctx, c, pauseImage, []string{"/bin/busybox", "sleep", "1000000"})
}

func (w *world) startAgent() {
	w.Helper()
	token, err := w.collector.Ask(w.Context(), "token create")
	if err != nil {
		w.Fatal(err)
	}
	w.write("token", token)
	w.runAgent()
	w.Cleanup(w.stopAgent)
}

func (w *world) stopAgent() {
	w.Helper()
	if err := w.agent.Stop(); err != nil {
		w.Errorf("agent: %v\n%v", err, w.agent.LastLines())
	}
}

// runAgent begins a run of the node's agent, and waits until it watches.
func (w *world) runAgent() {
	w.Helper()
	process, err := local.Start(w.Context(), local.Program{Name: "agent", Ready: "ready", Within: waiting, Command: exec.Command(filepath.Join(built, "seawall-agent"),
		"--collector", w.listens, "--join-token-file", w.path("token"), "--state-dir", w.path("agent"), "--node", nodeName,
		"--containerd", "on", "--containerd-socket", w.path("c.sock"), "--telemetry", "trees", "--admin-address", "")})
	if err != nil {
		w.Fatal(err)
	}
	w.agent = process
}

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ADDRESS
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: ROOTS}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /CGROUPS
cgroupsPerQOS: true
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://DIR/c.sock
tlsCertFile: CERTIFICATE
tlsPrivateKeyFile: KEY
resolvConf: DIR/resolv.conf
enforceNodeAllocatable: [none]
makeIPTablesUtilChains: false
evictionHard: {memory.available: "50Mi", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
podLogsDir: DIR/podlogs
healthzBindAddress: 127.0.0.1
`

// cgroupRoot is the top of the pods' cgroups, which no other run has.
var cgroupRoot = fmt.Sprintf("seawall-test-%d-k", os.Getpid())

// startKubelet starts the node and waits until it is ready.
func (w *world) startKubelet() {
	w.Helper()
	hierarchies, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for _, name := range append(hierarchies, "/sys/fs/cgroup/cgroup.procs") {
		if _, err := os.Stat(name); err == nil {
			_ = os.Mkdir(filepath.Join(filepath.Dir(name), cgroupRoot), 0o755) // the kubelet says if it needs one that is not there
		}
	}
	w.write("resolv.conf", "nameserver 192.0.2.53\n")
	certificate, key := w.cluster.ServerFiles(w.T, "kubelet", nodeAddress)
	config := w.write("kubelet.yaml", strings.NewReplacer("ADDRESS", nodeAddress, "ROOTS", w.cluster.File("ca.crt"), "CGROUPS", cgroupRoot, "DIR", w.folder,
		"CERTIFICATE", certificate, "KEY", key).Replace(kubeletConfig))
	w.cluster.Run(w.T, "kubelet", "--config="+config, "--kubeconfig="+w.cluster.Kubeconfig(w.T, testkube.User{Name: "system:node:" + nodeName, Groups: []string{"system:nodes"}}),
		"--hostname-override="+nodeName, "--node-ip="+nodeAddress, "--root-dir="+w.path("kubelet"), "--cert-dir="+w.path("kubelet", "pki"), "--v=2")
	w.until("the node is ready", func() bool {
		code, body := w.admin.Do(w.T, http.MethodGet, "/api/v1/nodes/"+nodeName, "")
		return code == http.StatusOK && strings.Contains(string(body), `"KubeletReady"`)
	})
}

// until waits for what has no signal.
func (w *world) until(what string, holds func() bool) {
	w.Helper()
	for end := time.Now().Add(waiting); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.Fatalf("%s: not after %s\nkubelet: %s\ncontainerd: %s", what, waiting, w.cluster.Log("kubelet"), w.said("containerd"))
}

// program starts a program that ends with the test.
func (w *world) program(name, path string, args ...string) *exec.Cmd {
	w.Helper()
	out, err := os.Create(w.path(name + ".log"))
	if err != nil {
		w.Fatal(err)
	}
	defer out.Close()
	c := exec.Command(path, args...)
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		w.Fatal(err)
	}
	return c
}

func (w *world) said(name string) string {
	text, _ := os.ReadFile(w.path(name + ".log"))
	return string(text[max(0, len(text)-4000):])
}

// kubectl prepares kubectl of a user on the client's machine.
func (w *world) kubectl(kubeconfig, words string, more ...string) *exec.Cmd {
	w.Helper()
	args := append([]string{testkube.Program(w.T, "kubectl"), "--kubeconfig", kubeconfig}, strings.Fields(words)...)
	c := w.client.command(w.T, append(args, more...)...)
	c.Env = append(os.Environ(), "HOME="+w.folder)
	return c
}

// runs runs a command and returns what it prints.
func (w *world) runs(c *exec.Cmd) string {
	w.Helper()
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		w.Fatalf("%s: %v: %s%s\nkubelet: %s", strings.Join(c.Args, " "), err, out, errs.String(), w.cluster.Log("kubelet"))
	}
	return string(out)
}

// clean ends what kubelet and containerd leave behind: shims are known by the socket.
func (w *world) clean() {
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var shims []int
	for _, name := range processes {
		cmdline, err := os.ReadFile(name)
		if err == nil && bytes.Contains(cmdline, []byte("containerd-shim")) && bytes.Contains(cmdline, []byte(w.path("c.sock"))) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				shims = append(shims, pid)
			}
		}
	}
	for _, procs := range w.cgroups() {
		text, _ := os.ReadFile(filepath.Join(procs, "cgroup.procs"))
		for _, line := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(line); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	for _, pid := range shims {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if w.runtime != nil {
		_ = w.runtime.Process.Kill()
		_ = w.runtime.Wait()
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], w.folder+"/") {
			_ = syscall.Unmount(fields[1], syscall.MNT_DETACH)
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) { // processes that were killed leave their cgroups soon
		left := w.cgroups()
		for _, dir := range left {
			_ = os.Remove(dir)
		}
		if len(w.cgroups()) == 0 || time.Now().After(end) {
			break
		}
	}
	if left := w.cgroups(); len(left) > 0 {
		w.Errorf("cgroups were left: %v", left)
	}
	if err := os.RemoveAll(w.folder); err != nil && !errors.Is(err, os.ErrNotExist) {
		w.Error(err)
	}
}

// cgroups are those of the pods, in all hierarchies, the deepest first.
func (w *world) cgroups() []string {
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		tops, _ := filepath.Glob(pattern + cgroupRoot)
		for _, top := range tops {
			_ = filepath.WalkDir(top, func(name string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					all = append([]string{name}, all...)
				}
				return nil
			})
		}
	}
	return all
}
