package main

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/seawall-security/seawall/internal/event"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// tellEntries says who came in: for each session what is known, and the requests that may
// have begun it.
func tellEntries(b *bytes.Buffer, entries []*alertv1.Entry) {
	if len(entries) == 0 {
		return
	}
	b.WriteString("\nCAME IN\n")
	for _, e := range entries {
		terminal := ""
		if e.GetTty() != "" {
			terminal = " on " + event.Printable(e.GetTty())
		}
		line := fmt.Sprintf("  %s  %-12s %-12s  %s%s", clock(e.GetTime().AsTime()), event.Printable(cmp.Or(e.GetKind(), "?")), attributionOf(e.GetAttribution()),
			brief(event.Printable(strings.Join(e.GetArgs(), " ")), maxCommand), terminal)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		for _, r := range e.GetRequests() {
			fmt.Fprintf(b, "      %s\n", requestOf(r))
			tellConnections(b, "        ", r)
		}
		if n := e.GetRequestsOmitted(); n > 0 {
			fmt.Fprintf(b, "      or one of %d more\n", n)
		}
	}
}

// tellRequests lists the requests to the Kubernetes API that are part of the alert.
func tellRequests(b *bytes.Buffer, requests []*alertv1.Request) {
	if len(requests) == 0 {
		return
	}
	b.WriteString("\nREQUESTS\n")
	for _, r := range requests {
		fmt.Fprintf(b, "  %-12s %s\n", event.Printable(r.GetRole()), requestOf(r))
		tellConnections(b, strings.Repeat(" ", 15), r)
	}
}

// tellConnections lists what a request to forward ports may have reached.
func tellConnections(b *bytes.Buffer, indent string, r *alertv1.Request) {
	for _, c := range r.GetConnections() {
		line := fmt.Sprintf("%s  %d × to %s", clock(c.GetFirst().AsTime()), c.GetCount(), net.JoinHostPort(c.GetIp(), strconv.FormatUint(uint64(c.GetPort()), 10)))
		if c.GetLast().AsTime().After(c.GetFirst().AsTime()) {
			line += ", until " + clock(c.GetLast().AsTime())
		}
		switch n := c.GetAmbiguous(); {
		case n == 0:
		case n == c.GetCount():
			line += "; all may be another port-forward's"
		default:
			line += fmt.Sprintf("; %d of them may be another port-forward's", n)
		}
		b.WriteString(indent + event.Printable(line) + "\n")
	}
	if n := r.GetConnectionsOmitted(); n > 0 {
		fmt.Fprintf(b, "%sand to %d other places\n", indent, n)
	}
}

// requestOf is one request in one line: when, who, from where, with what, and what for.
func requestOf(r *alertv1.Request) string {
	o := r.GetObject()
	resource := o.GetResource()
	if o.GetSubresource() != "" {
		resource += "/" + o.GetSubresource()
	}
	who := cmp.Or(r.GetUser().GetName(), "nobody")
	if r.GetImpersonated() != nil {
		who += " as " + r.GetImpersonated().GetName()
	}
	if p := r.GetTokenPod(); p != nil {
		who += " (token of pod " + p.GetNamespace() + "/" + p.GetName() + ")"
	}
	text := fmt.Sprintf("%s  %s from %s, %s: %s %s %s, %d, audit id %s", clock(r.GetTime().AsTime()), who, cmp.Or(r.GetSourceIp(), "?"),
		cmp.Or(r.GetUserAgent(), "?"), r.GetVerb(), resource, strings.Trim(o.GetNamespace()+"/"+o.GetName(), "/"), r.GetCode(), r.GetAuditId())
	return event.Printable(text)
}

func attributionOf(a alertv1.Attribution) string {
	return strings.ToLower(strings.TrimPrefix(a.String(), "ATTRIBUTION_"))
}
