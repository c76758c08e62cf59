package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

var verifyTime = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

// sentProbes are all probes, sent.
func sentProbes() []*checked {
	fill := strings.NewReplacer("NAMESPACE", "shop", "NAME", probeMark+"0123456789")
	var out []*checked
	for _, p := range probes {
		out = append(out, &checked{Name: p.name, Verb: p.request.Method, Path: fill.Replace(p.request.Path), Verdict: missing, probe: p, sent: verifyTime})
	}
	return out
}

// arriving are the events of the probes at the levels they need, one source, ways into
// containers in two stages.
func arriving(sent []*checked) []*collectorv1.ProbeEvent {
	var out []*collectorv1.ProbeEvent
	for _, c := range sent {
		stages := []auditv1.Stage{auditv1.Stage_STAGE_COMPLETE}
		if c.probe.started {
			stages = []auditv1.Stage{auditv1.Stage_STAGE_STARTED, auditv1.Stage_STAGE_COMPLETE}
		}
		if c.Verb == http.MethodPatch {
			stages = []auditv1.Stage{auditv1.Stage_STAGE_RECEIVED, auditv1.Stage_STAGE_COMPLETE}
		}
		for _, stage := range stages {
			out = append(out, &collectorv1.ProbeEvent{Source: "webhook", Received: timestamppb.New(verifyTime.Add(2 * time.Second)), Stage: stage,
				Level: c.probe.want, Verb: verbs[c.Verb], RequestUri: c.Path, Code: http.StatusNotFound})
		}
	}
	return out
}

// change changes the events of one probe; those it says no to are left out.
func change(sent []*checked, events []*collectorv1.ProbeEvent, name string, do func(*collectorv1.ProbeEvent) bool) []*collectorv1.ProbeEvent {
	var out []*collectorv1.ProbeEvent
	for _, e := range events {
		of := ""
		for _, c := range sent {
			if c.isOf(e) {
				of = c.Name
			}
		}
		if of != name || do(e) {
			out = append(out, e)
		}
	}
	return out
}

func TestVerifyJudges(t *testing.T) {
	for _, test := range []struct {
		name   string
		of     string
		change func(*collectorv1.ProbeEvent) bool
		want   verdict
		all    bool // nothing more to wait for
	}{
		{"all there", "pod", func(*collectorv1.ProbeEvent) bool { return true }, complete, true},
		{"lost", "secret", func(*collectorv1.ProbeEvent) bool { return false }, missing, false},
		{"less than is needed", "pod", func(e *collectorv1.ProbeEvent) bool { e.Level = auditv1.Level_LEVEL_METADATA; return true }, coarse, true},
		{"more than is needed", "service", func(e *collectorv1.ProbeEvent) bool {
			e.Level = auditv1.Level_LEVEL_REQUEST_RESPONSE
			return true
		}, complete, true},
		{"secrets in the log", "secret", func(e *collectorv1.ProbeEvent) bool { e.Level = auditv1.Level_LEVEL_REQUEST; return true }, leaking, true},
		{"tokens in the log", "token", func(e *collectorv1.ProbeEvent) bool {
			e.Level = auditv1.Level_LEVEL_REQUEST_RESPONSE
			return true
		}, leaking, true},
		{"only the end", "exec", func(e *collectorv1.ProbeEvent) bool { return e.Stage != auditv1.Stage_STAGE_STARTED }, late, false},
		{"only the end of a patch", "rights", func(e *collectorv1.ProbeEvent) bool { return e.Stage != auditv1.Stage_STAGE_RECEIVED }, fragile, false},
		{"only the end of a coarse patch", "rights", func(e *collectorv1.ProbeEvent) bool {
			e.Level = auditv1.Level_LEVEL_METADATA
			return e.Stage != auditv1.Stage_STAGE_RECEIVED
		}, coarse, true},
		{"only the beginning", "exec", func(e *collectorv1.ProbeEvent) bool { return e.Stage == auditv1.Stage_STAGE_STARTED }, complete, true},
		{"query written anew", "debug", func(e *collectorv1.ProbeEvent) bool {
			e.RequestUri = strings.Replace(e.RequestUri, "dryRun=All&", "", 1) + "&dryRun=All"
			return true
		}, complete, true},
		{"another verb", "debug", func(e *collectorv1.ProbeEvent) bool { e.Verb = "get"; return true }, missing, false},
	} {
		sent := sentProbes()
		all := took(sent, change(sent, arriving(sent), test.of, test.change))
		found := &report{Checks: sent}
		found.judge()
		for _, c := range sent {
			want := complete
			if c.Name == test.of {
				want = test.want
			}
			if c.Verdict != want {
				t.Errorf("%s: %s is %s, want %s", test.name, c.Name, c.Verdict, want)
			}
		}
		if result := map[bool]string{true: "complete", false: "partial"}[test.want == complete]; all != test.all || found.Result != result {
			t.Errorf("%s: all %v, %s; want %v, %s", test.name, all, found.Result, test.all, result)
		}
	}
	sent := sentProbes()
	found := &report{Checks: sent}
	if all := took(sent, nil); all {
		t.Error("nothing came, and nothing is waited for")
	}
	if found.judge(); found.Result != "silent" {
		t.Errorf("nothing came: %s", found.Result)
	}
}

// Two sources that bring the same are both named, and the first counts.
func TestVerifyTwoSources(t *testing.T) {
	sent := sentProbes()
	events := arriving(sent)
	for _, e := range arriving(sent) {
		e.Source, e.Received = "cp-1", timestamppb.New(verifyTime.Add(time.Second))
		events = append(events, e)
	}
	took(sent, events)
	for _, c := range sent {
		if strings.Join(c.Sources, " ") != "webhook cp-1" || c.After == nil || *c.After != 1 {
			t.Errorf("%s: by %v after %v", c.Name, c.Sources, c.After)
		}
	}
}

// Every probe's address tells it from all others, also in kube-system.
func TestVerifyProbesDiffer(t *testing.T) {
	for _, namespace := range []string{"shop", "kube-system"} {
		seen := map[string]string{}
		fill := strings.NewReplacer("NAMESPACE", namespace, "NAME", "x")
		for _, p := range probes {
			path, _, _ := strings.Cut(fill.Replace(p.request.Path), "?")
			key := p.request.Method + " " + path
			if other, twice := seen[key]; twice {
				t.Errorf("%s and %s are the same in %s", p.name, other, namespace)
			}
			seen[key] = p.name
			if !strings.Contains(p.request.Path, "NAME") {
				t.Errorf("%s: the collector would not know it again", p.name)
			}
			if writes := p.request.Method != http.MethodGet; writes && !strings.Contains(p.request.Path, "dryRun=All") && !strings.Contains(p.request.Path, "/NAME") {
				t.Errorf("%s would change something", p.name)
			}
		}
	}
}

func TestVerifyAdvice(t *testing.T) {
	const (
		off        = collectorv1.AuditCondition_AUDIT_CONDITION_OFF
		configured = collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED
		receiving  = collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING
	)
	for _, test := range []struct {
		name      string
		version   string
		kubeadm   bool
		condition collectorv1.AuditCondition
		result    string
		of        verdict // of one check
		has       []string
		hasNot    []string
	}{
		{"all well", "v1.36.3", true, receiving, "complete", complete, nil, []string{"policy"}},
		{"collector without a source", "v1.36.3", true, off, "silent", missing, []string{"audit.webhook or audit.files"}, nil},
		{"kubeadm", "v1.36.3", true, configured, "silent", missing, []string{"none ever came", "/etc/kubernetes/manifests/kube-apiserver.yaml", "extraArgs", "--audit-policy-file=", "--audit-webhook-config-file=", "--audit-webhook-truncate-enabled=true", "certificate-authority"}, []string{"k3s"}},
		{"k3s", "v1.36.3+k3s1", false, configured, "silent", missing, []string{"kube-apiserver-arg", "audit-policy-file=", "audit-webhook-config-file="}, []string{"manifests"}},
		{"RKE2", "v1.36.3+rke2r1", false, configured, "silent", missing, []string{"kube-apiserver-arg"}, []string{"manifests"}},
		{"managed", "v1.36.3-eks-1a2b3c", false, configured, "silent", missing, []string{"provider"}, []string{"--audit"}},
		{"by hand", "v1.36.3", false, receiving, "silent", missing, []string{"not audited", "static pod", "--audit-log-path="}, []string{"kubeadm:"}},
		{"a policy that leaves out", "v1.36.3", true, receiving, "partial", missing, []string{"Not recorded at all", "exec", "seawallctl audit policy", "--audit-policy-file="}, []string{"--audit-webhook"}},
		{"a coarse policy", "v1.36.3", true, receiving, "partial", coarse, []string{"without what rules look at: exec"}, []string{"--audit-webhook"}},
		{"patches without a beginning", "v1.36.3", true, receiving, "partial", fragile, []string{"no JSON: exec", "seawallctl audit policy"}, []string{"--audit-webhook"}},
		{"secrets", "v1.36.3", true, receiving, "partial", leaking, []string{"secrets in them"}, nil},
		{"not sent", "v1.36.3", true, receiving, "partial", unsent, []string{"Could not be sent: exec"}, []string{"--audit-policy-file"}},
	} {
		found := &report{Result: test.result, Checks: []*checked{{Name: "exec", Verdict: test.of}}}
		text := strings.Join(advice(found, kindBy(test.version, test.kubeadm), test.condition), "\n")
		for _, want := range test.has {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", test.name, want, text)
			}
		}
		for _, wrong := range test.hasNot {
			if strings.Contains(text, wrong) {
				t.Errorf("%s: %q in\n%s", test.name, wrong, text)
			}
		}
	}
}
