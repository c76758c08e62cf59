// Package lint holds what can be checked of the source tree by reading it.
package lint

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// fence is a depguard rule of .golangci.yml.
type fence struct {
	Mode  string   `yaml:"list-mode"`
	Files []string `yaml:"files"`
	Deny  []struct {
		Package string `yaml:"pkg"`
		Why     string `yaml:"desc"`
	} `yaml:"deny"`
}

// fences reads the depguard rules: they are written once, for both tools.
func fences(t *testing.T, root string) map[string]fence {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]fence `yaml:"rules"`
				} `yaml:"depguard"`
			} `yaml:"settings"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	rules := config.Linters.Settings.Depguard.Rules
	if len(rules) == 0 {
		t.Fatal(".golangci.yml has no depguard rules")
	}
	for name, rule := range rules {
		if rule.Mode != "lax" || len(rule.Files) == 0 || len(rule.Deny) == 0 {
			t.Fatalf("rule %s: want list-mode lax, files and deny", name)
		}
		for _, glob := range rule.Files {
			if _, ok := folder(strings.TrimPrefix(glob, "!")); !ok {
				t.Fatalf("rule %s: this test does not know the glob %q", name, glob)
			}
		}
	}
	return rules
}

// folder takes **/a/b/** and **/a/b/* apart; $test has no folder.
func folder(glob string) (string, bool) {
	if glob == "$test" {
		return "", true
	}
	rest, ok := strings.CutPrefix(glob, "**/")
	if inner, deep := strings.CutSuffix(rest, "/**"); deep && ok {
		return inner, !strings.Contains(inner, "*")
	}
	inner, flat := strings.CutSuffix(rest, "/*")
	return inner, ok && flat && !strings.Contains(inner, "*")
}

// matches reports whether a file (path from the root) lies within a glob.
func matches(glob, file string) bool {
	if glob == "$test" {
		return strings.HasSuffix(file, "_test.go")
	}
	inner, _ := folder(glob)
	if strings.HasSuffix(glob, "/**") {
		return strings.Contains("/"+file, "/"+inner+"/")
	}
	return strings.HasSuffix("/"+filepath.ToSlash(filepath.Dir(file)), "/"+inner)
}

// covers reports whether the fence applies to a file: some positive glob takes
// it, or there is none, and no negative one does.
func (f fence) covers(file string) bool {
	positive, taken := false, false
	for _, glob := range f.Files {
		if negative, ok := strings.CutPrefix(glob, "!"); ok {
			if matches(negative, file) {
				return false
			}
			continue
		}
		positive = true
		taken = taken || matches(glob, file)
	}
	return taken || !positive
}

// denies returns why the fence forbids an import, "" if it does not.
func (f fence) denies(path string) string {
	for _, deny := range f.Deny {
		if path == deny.Package || strings.HasPrefix(path, deny.Package+"/") {
			return deny.Why
		}
	}
	return ""
}

// TestFences checks every import of every Go file, whatever its build tags.
func TestFences(t *testing.T) {
	root := root(t)
	rules := fences(t, root)
	checked := 0
	for _, file := range goFiles(t, root) {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Errorf("parse imports: %v", err)
			continue
		}
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			checked++
			for name, rule := range rules {
				if why := rule.denies(path); why != "" && rule.covers(file) {
					t.Errorf("%s imports %s: %s (fence %q in .golangci.yml)", file, path, why, name)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no imports found")
	}
}

// The fences must hold what they are there for, or an edit of .golangci.yml
// would take them down unnoticed.
func TestFencesHold(t *testing.T) {
	const module = "github.com/seawall-security/seawall/"
	rules := fences(t, root(t))
	for _, test := range []struct {
		file, path string
		held       bool
	}{
		{"agent/pipeline/pipeline.go", module + "collector/alert", true},
		{"agent/main.go", module + "collector", true},
		{"collector/ingest/ingest.go", module + "agent/decode", true},
		{"collector/ingest/ingest_test.go", module + "agent/decode", true},
		{"internal/rule/rule.go", module + "agent/config", true},
		{"internal/rule/rule.go", module + "agentless", false},
		{"agent/decode/decode.go", "github.com/cilium/ebpf/ringbuf", true},
		{"agent/probe/load.go", "github.com/cilium/ebpf/ringbuf", false},
		{"agent/probe/load.go", module + "bpf", false},
		{"agent/pipeline/pipeline.go", "github.com/containerd/containerd/v2/client", true},
		{"agent/container/client.go", "github.com/containerd/containerd/v2/client", false},
		{"agent/container/table.go", "github.com/prometheus/procfs", true},
		{"agent/process/seed.go", "github.com/prometheus/procfs", false},
		{"agent/detect/detect.go", "cel.dev/cel-go/cel", true},
		{"agent/detect/detect.go", module + "proto/sensor/v1", true},
		{"agent/process/seed.go", "os/exec", true},
		{"agent/process/seed_test.go", "os/exec", false},
		{"internal/testpriv/testpriv.go", "testing", false},
		{"internal/obs/log.go", "testing", true},
		{"tools/vm/main.go", "os/exec", false},
		{"collector/alert/book.go", "database/sql", true},
		{"collector/store/store.go", "modernc.org/sqlite", false},
	} {
		held := false
		for _, rule := range rules {
			held = held || rule.covers(test.file) && rule.denies(test.path) != ""
		}
		if held != test.held {
			t.Errorf("%s imports %s: held %v, want %v", test.file, test.path, held, test.held)
		}
	}
}

// root is the top of the source tree.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}

// goFiles lists the tree's Go files, from its top.
func goFiles(t *testing.T, root string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || slices.Contains([]string{"build", "testdata", "node_modules"}, name)) {
			return filepath.SkipDir
		}
		if !entry.IsDir() && strings.HasSuffix(name, ".go") {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			files = append(files, filepath.ToSlash(relative))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
