package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"

	"github.com/seawall-security/seawall/deploy"
	"github.com/seawall-security/seawall/internal/event"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	"github.com/seawall-security/seawall/tools/seawallctl/apiserver"
)

const (
	// verifyWait is longer than a webhook fills its batch by default, 30 s.
	verifyWait = 45 * time.Second
	askEvery   = 500 * time.Millisecond
)

// report is what a verification found.
type report struct {
	Server string `json:"server"`
	// Version of the API server, as far as it says.
	Version string `json:"version,omitempty"`
	Nonce   string `json:"nonce"`
	// Result is complete, partial or silent.
	Result string     `json:"result"`
	Checks []*checked `json:"checks"`
	// Collector is how the collector's sources are, by its own word.
	Collector string  `json:"collector"`
	Blind     []blind `json:"blind,omitempty"`
	// Advice is what to do, line by line.
	Advice []string `json:"advice,omitempty"`
}

// blind is a rule that cannot see what it looks for.
type blind struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
}

// errPartial and errSilent have exit statuses of their own.
var (
	errPartial = &ending{statusPartial, "not all that rules look at arrives as they need it"}
	errSilent  = &ending{statusSilent, "nothing arrives"}
)

// verifyAudit sends harmless requests to the API server and asks the collector which of
// them its audit sources brought.
func verifyAudit(ctx context.Context, args []string, out io.Writer) error {
	r := newRemote("audit verify")
	kubeconfig := r.String("kubeconfig", "", "kubeconfig `file` (or KUBECONFIG, ~/.kube/config, a pod's own account)")
	name := r.String("context", "", "`context` of the kubeconfig, if not the current one")
	namespace := r.String("namespace", "", "`namespace` for the requests, if not the context's; nothing is left there")
	wait := r.Duration("wait", verifyWait, "how long events may take; webhooks collect for up to 30 s")
	rest, err := r.read(args, out)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	api, err := apiserver.New(*kubeconfig, *name)
	if err != nil {
		return err
	}
	conn, err := r.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if *namespace == "" {
		*namespace = api.Namespace
	}
	found, err := verify(ctx, api, conn, *namespace, *wait)
	if err != nil {
		return err
	}
	if r.format == "json" {
		err = json.NewEncoder(out).Encode(found)
	} else {
		err = found.write(out)
	}
	switch {
	case err != nil:
		return err
	case found.Result == "silent":
		return errSilent
	case found.Result == "partial":
		return errPartial
	}
	return nil
}

func verify(ctx context.Context, api *apiserver.Client, conn *grpc.ClientConn, namespace string, wait time.Duration) (*report, error) {
	management := collectorv1.NewManagementClient(conn)
	nonce := strings.ToLower(rand.Text()[:20])
	// First the collector: without it nothing is worth sending.
	if _, err := management.AuditProbe(ctx, &collectorv1.AuditProbeRequest{Nonce: nonce}); err != nil {
		return nil, explain(err)
	}
	found := &report{Server: api.Server, Nonce: nonce}
	kind := kindOf(ctx, api, found)
	found.Checks = send(ctx, api, nonce, namespace, time.Now)
	if !slices.ContainsFunc(found.Checks, func(c *checked) bool { return c.Verdict != unsent }) {
		return nil, fmt.Errorf("ask the API server: %s", found.Checks[0].Error)
	}
	if err := await(ctx, management, found, wait); err != nil {
		return nil, err
	}
	status, err := management.AuditStatus(ctx, &collectorv1.AuditStatusRequest{})
	if err != nil {
		return nil, explain(err)
	}
	for _, b := range status.GetBlind() {
		found.Blind = append(found.Blind, blind{b.GetRule(), b.GetReason()})
	}
	found.Collector = strings.ToLower(strings.TrimPrefix(status.GetState().GetCondition().String(), "AUDIT_CONDITION_"))
	if reason := status.GetState().GetReason(); reason != "" {
		found.Collector += ": " + reason
	}
	found.judge()
	found.Advice = advice(found, kind, status.GetState().GetCondition())
	return found, nil
}

// await asks until all came, or the time is over.
func await(ctx context.Context, management collectorv1.ManagementClient, found *report, wait time.Duration) error {
	over := time.NewTimer(wait)
	defer over.Stop()
	again := time.NewTicker(askEvery)
	defer again.Stop()
	for last := false; ; {
		answer, err := management.AuditProbe(ctx, &collectorv1.AuditProbeRequest{Nonce: found.Nonce})
		if err != nil {
			return explain(err)
		}
		if took(found.Checks, answer.GetEvents()) || last {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over.C:
			last = true
		case <-again.C:
		}
	}
}

// judge sums the checks up.
func (r *report) judge() {
	came, fine := 0, true
	for _, c := range r.Checks {
		if c.level != 0 {
			came++
		}
		fine = fine && c.Verdict == complete
	}
	switch {
	case came == 0:
		r.Result = "silent"
	case fine:
		r.Result = "complete"
	default:
		r.Result = "partial"
	}
}

func (r *report) write(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "REQUEST\tRESOURCE\tNEEDS\tRECORDED\tAFTER\tBY\t\tTELLS")
	for _, c := range r.Checks {
		after, got := "-", "-"
		if c.After != nil {
			after, got = fmt.Sprintf("%.1f s", *c.After), c.Got
		}
		if c.Error != "" {
			got = c.Error
		}
		by := strings.Join(c.Sources, ",")
		if by == "" {
			by = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, c.Resource, c.Want, event.Printable(got), after, event.Printable(by), c.Verdict, c.Finds)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nAPI server %s %s\ncollector  %s\n", event.Printable(r.Server), event.Printable(r.Version), event.Printable(r.Collector))
	for i, b := range r.Blind {
		if i == 0 {
			fmt.Fprintln(out, "\nRules that cannot see what they look for:")
		}
		_, err = fmt.Fprintf(out, "  %s: %s\n", event.Printable(b.Rule), event.Printable(b.Reason))
	}
	for i, line := range r.Advice {
		if i == 0 {
			fmt.Fprintln(out, "\nWhat to do:")
		}
		_, err = fmt.Fprintln(out, " ", line)
	}
	return err
}

// kindOf asks the API server what it is: its version tells k3s and managed clusters, and
// kubeadm leaves its configuration. Who may not ask is told about all.
func kindOf(ctx context.Context, api *apiserver.Client, found *report) kind {
	var version struct{ GitVersion string }
	if code, body, err := api.Do(ctx, apiserver.Request{Method: http.MethodGet, Path: "/version"}); err == nil && code == http.StatusOK {
		_ = json.Unmarshal(body, &version) // empty: it says nothing
	}
	found.Version = version.GitVersion
	code, _, err := api.Do(ctx, apiserver.Request{Method: http.MethodGet, Path: "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"})
	return kindBy(version.GitVersion, err == nil && code == http.StatusOK)
}

// printPolicy prints the audit policy that Seawall is made for.
func printPolicy(_ []string, out io.Writer, _ time.Time) error {
	_, err := out.Write(deploy.AuditPolicy)
	return err
}

// ending is an error with an exit status of its own.
type ending struct {
	status int
	text   string
}

func (e *ending) Error() string { return e.text }
