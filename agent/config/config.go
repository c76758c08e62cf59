package config

import "time"

// Config is all settings of the agent. Field names in YAML are the ones that
// errors and documentation use: kernel.bulk_ring_bytes.
type Config struct {
	// Standalone prints detections on standard output. Where there is a collector
	// too they are printed and reported.
	Standalone bool `yaml:"standalone"`
	// Events prints, beside detections, every event the kernel admitted.
	Events bool `yaml:"events"`
	// NoFilter makes the kernel admit everything, and prints it: Parse sets
	// Events with it. For looking around and for tests; it is expensive.
	NoFilter bool `yaml:"no_filter"`
	// Output is the form of what is printed.
	Output Output `yaml:"output"`
	// Rules are files and folders with rules, beside the built-in ones.
	Rules []string `yaml:"rules"`
	// BundleKeys are files of the public keys that may sign bundles of rules; none: no
	// bundle is taken.
	BundleKeys []string `yaml:"bundle_keys"`
	// Node is the name of this machine in events: as Kubernetes calls it, where
	// there is Kubernetes. Parse fills in the host name.
	Node string `yaml:"node"`
	// StateDir is the folder for what must survive a restart.
	StateDir string `yaml:"state_dir"`

	Collector Collector `yaml:"collector"`
	// Telemetry says which events the collector gets beside detections, until it
	// says so itself.
	Telemetry Telemetry `yaml:"telemetry"`
	Spool     Spool     `yaml:"spool"`

	Containerd Containerd `yaml:"containerd"`
	Admin      Admin      `yaml:"admin"`
	Log        Log        `yaml:"log"`
	Kernel     Kernel     `yaml:"kernel"`
	Pen        Pen        `yaml:"pen"`
	Process    Process    `yaml:"process"`
}

// Collector is where detections are reported to, and by what right.
type Collector struct {
	// Address is host:port; empty: nowhere.
	Address string `yaml:"address"`
	// JoinToken enrols this agent, or the one in JoinTokenFile. An agent that is
	// enrolled needs it only after it was away for longer than its certificate.
	JoinToken     string `yaml:"join_token"`
	JoinTokenFile string `yaml:"join_token_file"`
	// ServiceAccountToken is the file of a Kubernetes token, instead of a join
	// token; CA the file with the collector's CA, which it is shown to.
	ServiceAccountToken string `yaml:"service_account_token"`
	CA                  string `yaml:"ca"`
}

// Spool keeps on disk what the collector does not have yet.
type Spool struct {
	MaxBytes int64 `yaml:"max_bytes"`
}

// Telemetry says which events are reported.
type Telemetry string

const (
	TelemetryNone  Telemetry = "none"
	TelemetryTrees Telemetry = "trees" // of processes in a tree of interest
	TelemetryAll   Telemetry = "all"   // everything that the kernel admits
)

// Containerd says where container names come from.
type Containerd struct {
	Enabled Enabled `yaml:"enabled"`
	// Socket is the path of containerd's gRPC socket.
	Socket string `yaml:"socket"`
}

// Admin is the HTTP server for operators.
type Admin struct {
	// Address is host:port; empty: no server.
	Address string `yaml:"address"`
	// Profiling adds /debug/pprof, on loopback addresses only.
	Profiling bool `yaml:"profiling"`
}

// Log is the log on standard error.
type Log struct {
	// Level is one of obs.Levels.
	Level string `yaml:"level"`
}

// Kernel is what is loaded into the kernel.
type Kernel struct {
	// DecisiveRingBytes and BulkRingBytes are the sizes of the two ring buffers.
	DecisiveRingBytes int `yaml:"decisive_ring_bytes"`
	BulkRingBytes     int `yaml:"bulk_ring_bytes"`
	// Rung is the highest rung of the attach ladder that hooks may use.
	Rung Rung `yaml:"rung"`
}

// Pen holds events of containers and processes that are not known yet.
type Pen struct {
	// Events is how many may wait at once.
	Events int `yaml:"events"`
	// Bytes is how much memory they may take, their processes included.
	Bytes int `yaml:"bytes"`
	// Wait is how long one may wait before it goes on without a name.
	Wait time.Duration `yaml:"wait"`
}

// Process bounds the process table.
type Process struct {
	// Live and Dead are how many processes of each sort are remembered.
	Live int `yaml:"live"`
	Dead int `yaml:"dead"`
	// Grace is how long a dead one is remembered.
	Grace time.Duration `yaml:"grace"`
}

// Output is the form of what the agent prints.
type Output string

const (
	JSON Output = "json" // one object per line
	Text Output = "text" // for people
)

// Enabled says whether a source is used.
type Enabled string

const (
	Auto Enabled = "auto" // when it is there, now or later
	On   Enabled = "on"   // the agent is not ready without it
	Off  Enabled = "off"
)

// Rung is a rung of the attach ladder, see docs/architecture.md.
type Rung string

const (
	RungAuto    Rung = "auto" // the highest that works
	RungLSM     Rung = "lsm"
	RungFentry  Rung = "fentry"
	RungSyscall Rung = "syscall"
)

// Defaults, and why.
const (
	// Rare and decisive events: a busy node starts hundreds of programs a
	// second at about 1 KiB each. 4 MiB hold several seconds of it.
	DefaultDecisiveRingBytes = 4 << 20
	// Opens and connections come in storms of some 100,000 a second at 300 to
	// 500 bytes. 8 MiB hold what the reader needs to wake up and catch up.
	DefaultBulkRingBytes = 8 << 20
	// Where containerd listens in every distribution and in ACK.
	DefaultContainerdSocket = "/run/containerd/containerd.sock"
	// Loopback: the server has no access control. The port lies in the range
	// that Prometheus exporters use.
	DefaultAdminAddress = "127.0.0.1:9464"
	DefaultLogLevel     = "info"
	// Two seconds of a burst of twenty containers, 100 events a second each, at
	// about 2 KiB an event. Whoever makes events larger lets the oldest go sooner.
	DefaultPenEvents = 4096
	DefaultPenBytes  = 8 << 20
	// containerd reports a container within a second even on a loaded machine;
	// a detection that waits longer comes too late to be acted on.
	DefaultPenWait = 2 * time.Second
	// Twice the kernel's default pid_max on small machines; at about 1 KiB each.
	DefaultLiveProcesses = 65536
	// What half a minute of 500 short-lived programs a second leaves behind.
	DefaultDeadProcesses = 16384
	// Longer than any hold on the way of an event that names the dead.
	DefaultGrace    = 30 * time.Second
	DefaultStateDir = "/var/lib/seawall"
	// What an intruder reads and reaches, without the node's everyday.
	DefaultTelemetry = TelemetryTrees
	// A day of a busy node's trees of interest, or some hours of everything.
	DefaultSpoolBytes = 256 << 20
)

// Default is what the agent does when it is told nothing. The node has no name
// yet: [Parse] asks the host.
func Default() Config {
	return Config{
		Output:     JSON,
		StateDir:   DefaultStateDir,
		Telemetry:  DefaultTelemetry,
		Spool:      Spool{MaxBytes: DefaultSpoolBytes},
		Containerd: Containerd{Enabled: Auto, Socket: DefaultContainerdSocket},
		Admin:      Admin{Address: DefaultAdminAddress},
		Log:        Log{Level: DefaultLogLevel},
		Kernel: Kernel{
			DecisiveRingBytes: DefaultDecisiveRingBytes,
			BulkRingBytes:     DefaultBulkRingBytes,
			Rung:              RungAuto,
		},
		Pen:     Pen{Events: DefaultPenEvents, Bytes: DefaultPenBytes, Wait: DefaultPenWait},
		Process: Process{Live: DefaultLiveProcesses, Dead: DefaultDeadProcesses, Grace: DefaultGrace},
	}
}
