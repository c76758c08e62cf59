package main

import (
	"strings"

	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// kind of cluster, by how its API servers are configured.
type kind int

const (
	plain kind = iota
	kubeadm
	k3s
	managed
)

// kindBy tells the kind by the API server's version and whether kubeadm left its
// configuration there.
func kindBy(version string, hasKubeadm bool) kind {
	for _, sign := range []struct {
		in string
		is kind
	}{{"+k3s", k3s}, {"+rke2", k3s}, {"-eks-", managed}, {"-gke.", managed}, {"-aliyun.", managed}} {
		if strings.Contains(version, sign.in) {
			return sign.is
		}
	}
	if hasKubeadm {
		return kubeadm
	}
	return plain
}

// Where the policy and the webhook's kubeconfig are put on a host of the control plane.
const (
	auditFolder   = "/etc/kubernetes/audit"
	policyPath    = auditFolder + "/policy.yaml"
	webhookPath   = auditFolder + "/webhook.yaml"
	auditLogPath  = "/var/log/kubernetes/audit/audit.log"
	policyFlag    = "audit-policy-file=" + policyPath
	webhookFlag   = "audit-webhook-config-file=" + webhookPath
	batchWaitFlag = "audit-webhook-batch-max-wait=5s"
	logFlag       = "audit-log-path=" + auditLogPath
)

// truncateFlags keep one event that cannot be written, or is too large, from costing all that
// are sent with it. The sizes are docs/audit.md's.
var truncateFlags = []string{"audit-webhook-truncate-enabled=true", "audit-webhook-truncate-max-event-size=8000000", "audit-webhook-truncate-max-batch-size=20000000"}

// advice is what to do about what was found, line by line.
func advice(found *report, k kind, condition collectorv1.AuditCondition) []string {
	var lines []string
	add := func(text ...string) { lines = append(lines, text...) }
	if condition == collectorv1.AuditCondition_AUDIT_CONDITION_OFF {
		add("The collector has no audit source: give it audit.webhook or audit.files (docs/audit.md), and start it again.")
	}
	switch {
	case found.Result == "complete":
		return lines
	case found.Result == "partial":
		add(partial(found)...)
		if found.has(missing, coarse, late, fragile, leaking) {
			add("The audit policy of the API server decides. seawallctl audit policy prints one that is enough; put it in force on every API server:")
			add(flags(k, false)...)
		}
		return lines
	case condition == collectorv1.AuditCondition_AUDIT_CONDITION_RECEIVING:
		add("Events come to the collector, but none of these requests: they are on their way still (-wait; webhooks collect for up to 30 s),",
			"or they were served by an API server that is not audited, or by another cluster's.")
	case condition == collectorv1.AuditCondition_AUDIT_CONDITION_STALE:
		add("Events came to the collector once, and come no more.")
	case condition == collectorv1.AuditCondition_AUDIT_CONDITION_CONFIGURED:
		add("The collector waits for events, and none ever came.")
	}
	add("Without a policy an API server records nothing, whatever else it is told. If it has all of these flags, its own log and",
		"apiserver_audit_error_total say what fails: a certificate authority that did not sign the collector's certificate",
		"(certificate-authority in the webhook's kubeconfig), a wrong token, an address that cannot be reached.")
	add(flags(k, true)...)
	return lines
}

// partial says what is wrong with each class.
func partial(found *report) []string {
	var lines []string
	for _, one := range []struct {
		verdict verdict
		text    string
	}{
		{missing, "Not recorded at all, or not yet (-wait): "},
		{coarse, "Recorded without what rules look at: "},
		{late, "Recorded only when they end (omitStages has ResponseStarted): "},
		{fragile, "Recorded only when they end (omitStages has RequestReceived), which is lost if what was sent is no JSON: "},
		{leaking, "Recorded with bodies, which have secrets in them, in the API server's own log as well: "},
		{unsent, "Could not be sent: "},
	} {
		var names []string
		for _, c := range found.Checks {
			if c.Verdict == one.verdict {
				names = append(names, c.Name)
			}
		}
		if len(names) > 0 {
			lines = append(lines, one.text+strings.Join(names, ", ")+".")
		}
	}
	return lines
}

func (r *report) has(verdicts ...verdict) bool {
	for _, c := range r.Checks {
		for _, v := range verdicts {
			if c.Verdict == v {
				return true
			}
		}
	}
	return false
}

// flags says how API servers are told about a policy, and about where events go.
func flags(k kind, sources bool) []string {
	switch k {
	case k3s:
		lines := []string{
			"k3s, RKE2: on each server, seawallctl audit policy > " + policyPath + ", and in /etc/rancher/k3s/config.yaml (rke2/config.yaml):",
			"  kube-apiserver-arg:",
			"    - " + policyFlag,
		}
		if sources {
			lines = append(lines, "    - "+webhookFlag, "    - "+batchWaitFlag)
			for _, flag := range truncateFlags {
				lines = append(lines, "    - "+flag)
			}
		}
		return append(lines, "  (the same as --kube-apiserver-arg=…), then restart k3s. RKE2 runs its API server as a pod: give it the folder with kube-apiserver-extra-mount.")
	case managed:
		return []string{"The provider runs this API server and decides about its policy; its audit log is to be had from the provider's log service."}
	}
	lines := []string{"On every host of the control plane: seawallctl audit policy > " + policyPath}
	if k == kubeadm {
		lines = append(lines, "kubeadm: in /etc/kubernetes/manifests/kube-apiserver.yaml (to last: kubeadm-config's ClusterConfiguration, apiServer.extraArgs and extraVolumes) add to command:")
	} else {
		lines = append(lines, "Add to the API server's command (a static pod: in its manifest, often /etc/kubernetes/manifests/kube-apiserver.yaml):")
	}
	lines = append(lines, "  --"+policyFlag)
	if sources {
		lines = append(lines,
			"  --"+webhookFlag,
			"  --"+batchWaitFlag,
			"  --"+strings.Join(truncateFlags, " --"),
			"and, or instead, for a collector or a forwarder on the same host:",
			"  --"+logFlag+" --audit-log-maxsize=100 --audit-log-maxbackup=10",
			"  --audit-log-truncate-enabled --audit-log-truncate-max-event-size=8000000")
	}
	return append(lines, "A pod needs the folder as well: a hostPath volume "+auditFolder+", mounted read-only; the log's folder writable.")
}
