package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const auditRule = `source: audit
rules:
  - {id: exec-of-ours, title: T, severity: low, resources: [pods/exec], condition: allowed, summary: actor.name}
`

// TestAuditRules is whose audit rules a collector runs.
func TestAuditRules(t *testing.T) {
	own := t.TempDir()
	if err := os.WriteFile(filepath.Join(own, "own.yaml"), []byte(auditRule), 0o644); err != nil {
		t.Fatal(err)
	}
	fileOf := func(folder string, files ...string) (string, error) {
		b := of(1)
		for _, text := range files {
			b.Files = append(b.Files, file("pushed.yaml", text))
		}
		set, err := AuditRules(folder, sealed(t, b), now)
		if err != nil {
			return "", err
		}
		for _, r := range set.Rules() {
			if r.ID == "exec-of-ours" {
				return filepath.Base(r.File), nil
			}
		}
		return "", nil
	}
	for name, test := range map[string]struct {
		folder string
		files  []string
		want   string
		err    string
	}{
		"none":              {"", nil, "", ""},
		"own":               {own, nil, "own.yaml", ""},
		"pushed":            {"", []string{auditRule}, "pushed.yaml", ""},
		"pushed, for nodes": {own, []string{good}, "own.yaml", ""},
		"both":              {own, []string{auditRule}, "", "which a bundle must not replace"},
		"no folder":         {filepath.Join(own, "none"), nil, "", "no such file"},
	} {
		got, err := fileOf(test.folder, test.files...)
		if got != test.want || (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: the rule is of %q, error %v, want %q, %q", name, got, err, test.want, test.err)
		}
	}
	if _, err := AuditRules("", nil, now); err != nil {
		t.Errorf("without a bundle: %v", err)
	}
	// What agents pass over is still checked before it is sent to them.
	wrong := sealed(t, of(1, file("a.yaml", strings.Replace(auditRule, "allowed", "permitted", 1))))
	if _, err := check(wrong, now); err == nil || !strings.Contains(err.Error(), "bundle/a.yaml:3:84: rule exec-of-ours: undeclared reference to 'permitted'") {
		t.Errorf("a bundle with a wrong audit rule: %v", err)
	}
	if _, err := check(sealed(t, of(1, file("a.yaml", auditRule))), now); err != nil {
		t.Errorf("a bundle with an audit rule: %v", err)
	}
}
