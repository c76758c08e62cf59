package config

import (
	"time"

	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/connections"
	"github.com/seawall-security/seawall/collector/eventlog"
)

// Config is all settings of the collector. Field names in YAML are the ones that errors
// and documentation use: event_log.max_bytes.
type Config struct {
	// Cluster is what certificates say; it cannot be renamed.
	Cluster string `yaml:"cluster"`
	// DataDir is the folder of the CA, the event log and the store.
	DataDir string `yaml:"data_dir"`
	// Listen is host:port, for agents and clients alike.
	Listen string `yaml:"listen"`
	// Names are host names and addresses in the server's certificate, for clients that
	// check them; ours know the collector by its CA.
	Names []string `yaml:"names"`

	Connections Connections `yaml:"connections"`
	Enrolment   Enrolment   `yaml:"enrolment"`

	Admin     Admin     `yaml:"admin"`
	Log       Log       `yaml:"log"`
	EventLog  EventLog  `yaml:"event_log"`
	Retention Retention `yaml:"retention"`
	Agents    Agents    `yaml:"agents"`
	Audit     Audit     `yaml:"audit"`
	Sinks     []Sink    `yaml:"sinks"`
}

// Enrolment says who may become an agent, beside those who have a join token, and for how
// long one that was away still is one.
type Enrolment struct {
	Kubernetes Kubernetes `yaml:"kubernetes"`
	// RenewalGrace is how long after its end an agent's certificate can still be renewed;
	// 0: not at all.
	RenewalGrace time.Duration `yaml:"renewal_grace"`
}

// Kubernetes lets pods enrol by the tokens of their service accounts.
type Kubernetes struct {
	// Check is how tokens are checked; empty: none is taken.
	Check Check `yaml:"check"`
	// Audience is what agents' tokens are made for, ServiceAccounts (namespace/name) whose
	// may enrol: every pod can have tokens of its own account for any audience.
	Audience        string   `yaml:"audience"`
	ServiceAccounts []string `yaml:"service_accounts"`

	// JWKSFile has the cluster's public keys, as at its /openid/v1/jwks, and Issuer is who
	// signs with them, for Keys.
	JWKSFile string `yaml:"jwks_file"`
	Issuer   string `yaml:"issuer"`

	// Server is the API server's URL, TokenFile has the token that the collector asks
	// with, and CAFile the server's CA, for Review. All empty: those of the pod that the
	// collector runs in.
	Server    string `yaml:"server"`
	TokenFile string `yaml:"token_file"`
	CAFile    string `yaml:"ca_file"`
}

// Check is how service account tokens are checked.
type Check string

const (
	Keys   Check = "keys"   // by the cluster's public keys, without asking it
	Review Check = "review" // by asking the API server (TokenReview)
)

// Connections bounds who may be connected. What an agent or client may have open is not set.
type Connections struct {
	// Max is for agents and clients together; less if the process may open fewer files.
	Max int `yaml:"max"`
	// Strangers, who have shown no certificate yet, and those of one address among them.
	Strangers           int `yaml:"strangers"`
	StrangersPerAddress int `yaml:"strangers_per_address"`
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

// EventLog is what agents sent. What is not correlated yet is always kept.
type EventLog struct {
	// MaxBytes bounds it; agents are held back when it is full.
	MaxBytes int64 `yaml:"max_bytes"`
	// Keep and KeepBytes bound what is kept of it behind correlation: what is met first counts.
	Keep      time.Duration `yaml:"keep"`
	KeepBytes int64         `yaml:"keep_bytes"`
}

// Retention is how long alerts are kept; 0: without that bound.
type Retention struct {
	Alerts    Bound `yaml:"alerts"`
	Revisions Bound `yaml:"revisions"`
}

// Bound is of one class of rows; what is met first counts.
type Bound struct {
	Days  int   `yaml:"days"`
	Bytes int64 `yaml:"bytes"`
}

// Agents is what agents are told to do. What is not said here each decides by its own
// configuration.
type Agents struct {
	// Telemetry is none, trees or all: which events go up beside detections.
	Telemetry string `yaml:"telemetry"`
}

// Audit is where the audit events of the cluster's API servers come from; empty: nowhere.
type Audit struct {
	Webhook AuditWebhook `yaml:"webhook"`
	Files   []AuditFile  `yaml:"files"`
}

// AuditWebhook is what API servers send audit events to. It shows the collector's own
// certificate.
type AuditWebhook struct {
	// Listen is host:port; empty: no webhook.
	Listen string `yaml:"listen"`
	// TokenFile has the bearer token that API servers show.
	TokenFile string `yaml:"token_file"`
	// ClientCAFile is a PEM file of the CAs whose client certificates may send, instead of a
	// token, and ClientNames are the common names that these must have; empty: any.
	ClientCAFile string   `yaml:"client_ca_file"`
	ClientNames  []string `yaml:"client_names"`
}

// AuditFile is the audit log of one API server. If there are files, they are taken to be
// those of all the cluster's API servers.
type AuditFile struct {
	// Name is the source's in metrics, logs, the event log and the store: with another one it
	// is read from its beginning.
	Name string `yaml:"name"`
	Path string `yaml:"path"`
}

// AuditWebhookName is the webhook's as a source.
const AuditWebhookName = "webhook"

// Sink is one way that alerts leave by.
type Sink struct {
	// Name is the sink's in metrics, logs and the store: with another one it begins anew.
	Name string `yaml:"name"`
	Kind Kind   `yaml:"kind"`
	// Form is what a revision looks like.
	Form Form `yaml:"form"`
	// MinimumSeverity is info, low, medium, high or critical; empty: everything.
	MinimumSeverity string `yaml:"minimum_severity"`
	// FromNow has a new sink begin with what comes instead of all that is stored.
	FromNow bool `yaml:"from_now"`

	// Path is a file sink's.
	Path string `yaml:"path"`
	// Transport (tls, tcp, udp) and Address (host:port) are a syslog sink's.
	Transport string `yaml:"transport"`
	Address   string `yaml:"address"`
	// URL, SecretFile (what requests are signed with) and AuthorizationFile (the value of
	// that header) are a webhook sink's. Secrets stand in files, not in settings.
	URL               string `yaml:"url"`
	SecretFile        string `yaml:"secret_file"`
	AuthorizationFile string `yaml:"authorization_file"`
	// Roots is a PEM file of the CAs that the receiver may come from; empty: the system's.
	Roots string `yaml:"roots"`
}

// Kind of a sink.
type Kind string

const (
	File    Kind = "file"
	Syslog  Kind = "syslog"
	Webhook Kind = "webhook"
)

// Form of a revision.
type Form string

const (
	OCSF Form = "ocsf" // Detection Finding of the Open Cybersecurity Schema Framework
	JSON Form = "json" // the Alert message of the schema
	Text Form = "text" // one line for people; not for webhooks
)

// Defaults, and why.
const (
	// One cluster needs no name of its own; who has several sets it before the first start.
	DefaultCluster = "default"
	DefaultDataDir = "/var/lib/seawall-collector"
	// Loopback: nothing can be reached that nobody decided to show. The port is the one
	// that TLS services use where 443 is taken.
	DefaultListen = "127.0.0.1:9443"
	// Loopback: the server has no access control. Behind the agent's on the same host.
	DefaultAdminAddress = "127.0.0.1:9465"
	DefaultLogLevel     = "info"
	// A day of the log lets a person look at what an alert was made of.
	DefaultKeep = 24 * time.Hour
	// Half of the log stays free for what comes while correlation is behind.
	DefaultKeepBytes = eventlog.DefaultMaxBytes / 2
	// A week: a node may be off over a long weekend. Who copied its disk can come as it
	// for as long, unless it is revoked.
	DefaultRenewalGrace = 7 * 24 * time.Hour
)

// Default is what the collector does when it is told nothing.
func Default() Config {
	return Config{
		Cluster:  DefaultCluster,
		DataDir:  DefaultDataDir,
		Listen:   DefaultListen,
		Admin:    Admin{Address: DefaultAdminAddress},
		Log:      Log{Level: DefaultLogLevel},
		EventLog: EventLog{MaxBytes: eventlog.DefaultMaxBytes, Keep: DefaultKeep, KeepBytes: DefaultKeepBytes},
		Connections: Connections{Max: connections.DefaultLimits.Peers, Strangers: connections.DefaultLimits.Strangers,
			StrangersPerAddress: connections.DefaultLimits.StrangersPerAddress},
		Enrolment: Enrolment{RenewalGrace: DefaultRenewalGrace},
		Retention: Retention{
			Alerts:    Bound{Days: alert.Alerts.Default.Days, Bytes: alert.Alerts.Default.Bytes},
			Revisions: Bound{Days: alert.Revisions.Default.Days, Bytes: alert.Revisions.Default.Bytes},
		},
	}
}
