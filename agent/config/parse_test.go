package config

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seawall-security/seawall/internal/settings"
)

// write puts a configuration file into the test's folder.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// told is the default configuration of a named standalone node, changed.
func told(change func(*Config)) Config {
	c := Default()
	c.Standalone, c.Node = true, "node-1"
	change(&c)
	return c
}

func TestParse(t *testing.T) {
	file := write(t, `
standalone: true
node: node-1
output: text
rules: [/etc/seawall/rules]
admin: {address: ""}
kernel:
  bulk_ring_bytes: 16777216
pen: {wait: 500ms}
`)
	empty := write(t, "# nothing\n")
	fromFile := func(change func(*Config)) Config {
		return told(func(c *Config) {
			c.Output, c.Rules, c.Admin.Address = Text, []string{"/etc/seawall/rules"}, ""
			c.Kernel.BulkRingBytes, c.Pen.Wait = 16<<20, 500*time.Millisecond
			change(c)
		})
	}
	nothing := func(*Config) {}

	for _, test := range []struct {
		name    string
		args    string
		want    Config
		command Command
	}{
		{"flags only", "--standalone --node node-1", told(nothing), Run},
		{"one dash", "-standalone -node=node-1", told(nothing), Run},
		{"file", "--config " + file, fromFile(nothing), Run},
		{"empty file", "--standalone --node node-1 --config " + empty, told(nothing), Run},
		{"flags override the file", "--config " + file + " --output json --admin-address [::1]:0 --node node-2 --rung fentry",
			fromFile(func(c *Config) {
				c.Output, c.Admin.Address, c.Node, c.Kernel.Rung = JSON, "[::1]:0", "node-2", RungFentry
			}), Run},
		{"flags before the file's name", "--events --config " + file, fromFile(func(c *Config) { c.Events = true }), Run},
		{"rules by flags replace those of the file", "--rules a.yaml --config " + file + " --rules b",
			fromFile(func(c *Config) { c.Rules = []string{"a.yaml", "b"} }), Run},
		{"a collector", "--collector hub:7443 --join-token-file /t --telemetry all --node node-1", told(func(c *Config) {
			c.Standalone, c.Telemetry = false, TelemetryAll
			c.Collector = Collector{Address: "hub:7443", JoinTokenFile: "/t"}
		}), Run},
		{"everything is printed without filter", "--standalone --node node-1 --no-filter",
			told(func(c *Config) { c.NoFilter, c.Events = true, true }), Run},
		{"check", "--check-config --config " + file, fromFile(nothing), CheckConfig},
		{"probe prints a table", "probe --node node-1", told(func(c *Config) { c.Output = Text }), Probe},
		{"probe -o json", "probe --node node-1 -o json", told(nothing), Probe},
		{"version", "version", Default(), Version},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, command, err := Parse(strings.Fields(test.args), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			if command != test.command {
				t.Errorf("command %d, want %d", command, test.command)
			}
		})
	}
}

func TestParseNamesTheNodeAfterTheHost(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := Parse([]string{"--standalone"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if c.Node != host {
		t.Errorf("node %q, want %q", c.Node, host)
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		file string // FILE in args and want stands for its path
		args string
		want []string // the lines of the error
	}{
		{"unknown command", "", "serve", []string{`unknown command "serve"; try seawall-agent --help`}},
		{"unknown flag", "", "--standalon", []string{"flag provided but not defined: -standalon; try seawall-agent --help"}},
		{"argument left over", "", "--standalone now", []string{`unexpected argument "now"; try seawall-agent --help`}},
		{"version takes nothing", "", "version now", []string{`unexpected argument "now": version takes none`}},
		{"no such file", "", "--config /nowhere/agent.yaml", []string{"read configuration: open /nowhere/agent.yaml: no such file or directory"}},
		{"nowhere to report to", "", "--node n", []string{"collector.address: is needed (--collector) unless detections are only printed (--standalone)"}},
		{"unknown and mistyped settings", "standalone: true\nfoo: 1\nadmin:\n  port: 1\nevents: [1]\npen: 3\nprocess: {grace: soon}\n",
			"--config FILE", []string{
				`FILE:2: unknown setting "foo"`,
				`FILE:4: unknown setting "port"`,
				`FILE:5: a seq is not true or false`,
				`FILE:6: "3" is not a section with settings`,
				`FILE:7: "soon" is not a duration such as 30s`,
			}},
		{"not YAML", "standalone: true\na: b: c\n", "--config FILE", []string{"FILE:2: mapping values are not allowed in this context"}},
		{"said twice", "events: true\nevents: false\n", "--config FILE", []string{`FILE:2: mapping key "events" already defined at line 1`}},
		{"two documents", "events: true\n---\nevents: false\n", "--config FILE", []string{"FILE: more than one document"}},
		{"all problems at once, where they are", "node: n\noutput: xml\nkernel:\n  bulk_ring_bytes: 1000\nlog: {level: loud}\n",
			"--config FILE --standalone --output yaml --rung top", []string{
				`flag --output: output: "yaml" is none of [json text]`,
				`FILE:5: log.level: "loud" is none of [debug info warn error]`,
				`FILE:4: kernel.bulk_ring_bytes: 1000 is not a power of two from 262144 to 1073741824`,
				`flag --rung: kernel.rung: "top" is none of [auto lsm fentry syscall]`,
			}},
		{"checked all the same", "output: xml\n", "--config FILE --standalone --node n --check-config",
			[]string{`FILE:1: output: "xml" is none of [json text]`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.file)
			_, _, err := Parse(strings.Fields(strings.ReplaceAll(test.args, "FILE", path)), io.Discard)
			if err == nil {
				t.Fatal("accepted")
			}
			want := strings.ReplaceAll(strings.Join(test.want, "\n"), "FILE", path)
			if diff := cmp.Diff(want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefusesHugeFiles(t *testing.T) {
	path := write(t, strings.Repeat("#", settings.MaxFileBytes+1))
	if _, _, err := Parse([]string{"--config", path}, io.Discard); err == nil || !strings.Contains(err.Error(), "is larger than") {
		t.Errorf("got %v", err)
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	for _, args := range [][]string{{"--help"}, {"-h"}, {"probe", "-h"}} {
		out.Reset()
		if _, _, err := Parse(args, &out); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%v: got %v, want help", args, err)
		}
		for _, part := range []string{"seawall-agent probe", "-check-config", "-standalone", DefaultAdminAddress} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%v: help does not speak of %s", args, part)
			}
		}
	}
}

// Every flag that makes a setting must name a setting that exists, or its
// problems would be blamed on the file.
func TestFlagsNameSettings(t *testing.T) {
	var c Config
	for name, field := range newArguments(Default()).flags.Settings() {
		text := field + ": ~\n"
		if section, rest, ok := strings.Cut(field, "."); ok {
			text = section + ":\n  " + rest + ": ~\n"
		}
		if _, err := settings.Decode("agent.yaml", []byte(text), &c); err != nil {
			t.Errorf("flag --%s: %v", name, err)
		}
	}
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{
		"", "standalone: true\n", "a: &a [*a]", "--- {}\n--- {}", "pen: {wait: 2s, events: 1}", "\t", "<<: {events: true}",
		"kernel: {bulk_ring_bytes: 1e9}", "rules: [a, b]\nadmin: {address: '[::1]:1', profiling: true}", "pen: !!int 3", "? [a]: b",
	} {
		f.Add([]byte(seed))
	}
	positioned := regexp.MustCompile(`(?m)^agent\.yaml(:\d+)?: `)
	f.Fuzz(func(t *testing.T, text []byte) {
		c := Default()
		at, err := settings.Decode("agent.yaml", text, &c)
		if err != nil {
			if !positioned.MatchString(err.Error()) {
				t.Errorf("an error without its file: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			if settings.Attribute(err, "agent.yaml", at, nil).Error() == "" {
				t.Error("an error without text")
			}
		}
	})
}
