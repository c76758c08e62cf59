package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const auditRules = `source: audit
rules:
  - id: shell-in-pod
    title: Shell in a pod
    severity: low
    severities: [{if: object.name == "db", severity: high}]
    attempt: {severity: info}
    resources: [pods/exec]
    condition: command_line.startsWith("sh")
    by: [actor.name]
    summary: actor.name + " ran " + command_line + " in " + object.name
    evidence: {agent: user_agent}
`

// exec is an audit event of kubectl exec.
func exec(id, stage, received, at, pod string, code int) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":%q,"stage":%q,"verb":"get",`+
		`"requestURI":"/api/v1/namespaces/shop/pods/%s/exec?command=sh&command=-c&command=id&container=c&stdin=true&tty=true",`+
		`"user":{"username":"alice"},"sourceIPs":["203.0.113.9","10.0.0.7"],"userAgent":"kubectl",`+
		`"objectRef":{"resource":"pods","subresource":"exec","namespace":"shop","name":"%s"},"responseStatus":{"code":%d},`+
		`"requestReceivedTimestamp":"2026-11-21T%sZ","stageTimestamp":"2026-11-21T%sZ"}`, id, stage, pod, pod, code, received, at) + "\n"
}

// replayed runs the command; what it prints is JSON.
func replayed(t *testing.T, args ...string) (alerts []auditAlert, errs string, status int) {
	t.Helper()
	var out, said bytes.Buffer
	status = run(t.Context(), append([]string{"audit", "replay"}, args...), &out, &said)
	for line := range strings.Lines(out.String()) {
		var a auditAlert
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		alerts = append(alerts, a)
	}
	return alerts, said.String(), status
}

func TestAuditReplay(t *testing.T) {
	folder := tree(t, map[string]string{
		"rules/audit.yaml": auditRules,
		// Two files of one log: their events are taken in the order of time.
		"a.jsonl": exec("1", "ResponseStarted", "10:00:00", "10:00:00", "web", 101) + exec("4", "ResponseComplete", "12:30:00", "12:30:00", "web", 101),
		"b.jsonl": exec("2", "ResponseStarted", "10:00:01", "10:00:01", "db", 101) + exec("1", "ResponseComplete", "10:00:00", "10:05:00", "web", 101) +
			exec("3", "ResponseComplete", "10:06:00", "10:06:00", "web", 403),
	})
	rules, a, b := filepath.Join(folder, "rules"), filepath.Join(folder, "a.jsonl"), filepath.Join(folder, "b.jsonl")
	alerts, errs, status := replayed(t, b, a, "-o", "json", "-rules", rules)
	if status != statusOK || errs != "" {
		t.Fatalf("status %d: %s", status, errs)
	}
	var got []string
	for _, a := range alerts {
		if a.Rule == "shell-in-pod" {
			got = append(got, fmt.Sprint(a.Severity, a.Attempt, a.Count, a.AuditIDs, a.User, a.SourceIP, a.Summary, a.Evidence["agent"]))
		}
	}
	want := []string{
		"high false 3 [1 2 3] alice 10.0.0.7 alice ran sh -c id in db kubectl",
		"low false 1 [4] alice 10.0.0.7 alice ran sh -c id in web kubectl",
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], " ", "")
	}
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], " ", "")
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("alerts\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if alerts[0].ID == alerts[len(alerts)-1].ID {
		t.Error("two alerts have one id")
	}
}

func TestAuditReplayBadLines(t *testing.T) {
	folder := tree(t, map[string]string{"rules.yaml": auditRules, "log": "{\"auditID\":\n" + exec("1", "ResponseStarted", "10:00:00", "10:00:00", "web", 101)})
	log := filepath.Join(folder, "log")
	alerts, errs, status := replayed(t, "-o", "json", "-rules", filepath.Join(folder, "rules.yaml"), log)
	if status != statusFailed || !strings.Contains(errs, log+":1: ") {
		t.Errorf("status %d, errors %q: want %d and line 1", status, errs, statusFailed)
	}
	found := false
	for _, a := range alerts {
		found = found || a.Rule == "shell-in-pod"
	}
	if !found {
		t.Error("the line behind the bad one raised no alert")
	}
	for _, args := range [][]string{{}, {"-o", "xml", log}, {filepath.Join(folder, "none")}, {"-rules", filepath.Join(folder, "none"), log}} {
		if _, _, status := replayed(t, args...); status == statusOK {
			t.Errorf("audit replay %v is in order", args)
		}
	}
}

func TestAuditReplayText(t *testing.T) {
	folder := tree(t, map[string]string{"rules.yaml": auditRules, "log": exec("1", "ResponseStarted", "10:00:00", "10:00:00", "we\x1bb", 101)})
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"audit", "replay", "-rules", filepath.Join(folder, "rules.yaml"), filepath.Join(folder, "log")}, &out, &errs); status != statusFailed {
		t.Errorf("a log with a control character in JSON has status %d: %s", status, errs.String())
	}
	if err := os.WriteFile(filepath.Join(folder, "log"), []byte(exec("1", "ResponseStarted", "10:00:00", "10:00:00", `we\u001bb`, 101)), 0o644); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if status := run(t.Context(), []string{"audit", "replay", "-rules", filepath.Join(folder, "rules.yaml"), filepath.Join(folder, "log")}, &out, &errs); status != statusOK {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	if strings.ContainsRune(out.String(), '\x1b') || !strings.Contains(out.String(), "shell-in-pod") {
		t.Errorf("printed %q", out.String())
	}
}
