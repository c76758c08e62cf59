package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// session runs commands one after another in a folder, which DIR stands for.
func session(t *testing.T, folder string) func(args string, status int, out ...string) {
	return func(args string, status int, wanted ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		got := run(t.Context(), strings.Fields(strings.ReplaceAll(args, "DIR", folder)), &out, &errs)
		if got != status {
			t.Errorf("%s: status %d, want %d", args, got, status)
		}
		for _, part := range wanted {
			if part = strings.ReplaceAll(part, "DIR", folder); !strings.Contains(out.String()+errs.String(), part) {
				t.Errorf("%s: %q is not said", args, part)
			}
		}
		if t.Failed() {
			t.Fatalf("%s:\n%s%s", args, &out, &errs)
		}
	}
}

func TestBundleFromKeyToVerdict(t *testing.T) {
	folder := tree(t, map[string]string{
		"good/team/netcat.yaml": good,
		"good/README.md":        "not a rule file",
		"more.yaml":             strings.ReplaceAll(exception, "UNTIL", "2999-01-01"),
		"replace.yaml":          strings.Replace(good, "netcat-started", "exec-fileless-memfd", 1),
		"again/netcat.yaml":     strings.Replace(good, "netcat-started", "netcat-again", 1),
		"other/netcat.yaml":     strings.Replace(good, "netcat-started", "netcat-other", 1),
		"bad.yaml":              strings.Replace(good, "process.name", "process.nmae", 1),
		"named.yml":             good,
	})
	do := session(t, folder)
	do("bundle key DIR/ops", statusOK, "key ", "give agents DIR/ops.pub as bundle_keys")
	do("bundle key DIR/ops", statusFailed, "write key: open DIR/ops.key: file exists")
	do("bundle key DIR/other", statusOK)
	do("bundle key", statusFailed, "name the key")
	for name, mode := range map[string]os.FileMode{"ops.key": 0o600, "ops.pub": 0o644} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}

	const sign = "bundle sign --key DIR/ops.key --serial 7 --version 2026-11 --out DIR/b "
	do(sign+"DIR/good DIR/more.yaml", statusOK, "netcat-started: process_exec\n    nothing beyond what is always admitted",
		`exec-fileless-memfd: except "everything", until 2999-01-01`, "rules: 1, exceptions: 1, problems: 0",
		`bundle "2026-11", serial 7, signed with key `, "    team/netcat.yaml, ", "    more.yaml, ")
	do("bundle verify --key DIR/ops.pub DIR/b", statusOK, `bundle "2026-11", serial 7`, "rules: 1, exceptions: 1, problems: 0", "team/netcat.yaml")
	do("bundle verify DIR/b --key DIR/other.pub", statusFailed, "DIR/b: bundle is signed with key ", "which is not trusted")
	do("bundle verify DIR/b --key DIR/ops.key", statusFailed, `read bundle key DIR/ops.key: a "PRIVATE KEY" block where a PUBLIC KEY belongs`)
	do("bundle verify DIR/b", statusFailed, "needs --key and one signed bundle")
	do("bundle verify --key DIR/ops.pub DIR/more.yaml", statusFailed, "DIR/more.yaml: read signed bundle: ")
	do(strings.Replace(sign, "DIR/b ", "DIR/c ", 1)+"DIR/replace.yaml", statusOK, "rules: 1, exceptions: 0, problems: 0")

	data, err := os.ReadFile(filepath.Join(folder, "b"))
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(filepath.Join(folder, "tampered"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	do("bundle verify --key DIR/ops.pub DIR/tampered", statusFailed, "DIR/tampered: bundle is not what key ")

	none := strings.Replace(sign, "DIR/b ", "DIR/none ", 1)
	do(none+"DIR/bad.yaml", statusFailed, "DIR/bad.yaml:9:", "undefined field 'nmae'", "not signed: problems: 1")
	do(none+"DIR/again DIR/other", statusFailed, "bundle has two files called netcat.yaml")
	do(none+"DIR/named.yml", statusFailed, `bundle's file name "named.yml" is not`)
	do(none+"DIR/nowhere", statusFailed, "read rules: stat DIR/nowhere")
	do(strings.Replace(none, "ops.key", "ops.pub", 1)+"DIR/good", statusFailed, "read signing key DIR/ops.pub: no PRIVATE KEY block")
	do(strings.Replace(none, "--serial 7", "--serial 0", 1)+"DIR/good", statusFailed, "--serial above 0")
	if _, err := os.Stat(filepath.Join(folder, "none")); err == nil {
		t.Error("what was refused was written")
	}
	do("bundle sign --help", statusOK, "-serial number")
}
