package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/internal/event"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
)

// auditStatus prints how the cluster's audit sources are, and what is missing.
func auditStatus(ctx context.Context, args []string, out io.Writer) error {
	r := newRemote("audit status")
	conn, err := r.open(args, out)
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := collectorv1.NewManagementClient(conn).AuditStatus(ctx, &collectorv1.AuditStatusRequest{})
	if err != nil {
		return explain(err)
	}
	if r.format == "json" {
		return writeJSON(out, answer)
	}
	return tellAudit(out, answer)
}

// tellAudit writes the answer for a person.
func tellAudit(out io.Writer, answer *collectorv1.AuditStatusResponse) error {
	var b bytes.Buffer
	s := answer.GetState()
	fmt.Fprintf(&b, "cluster   %s\naudit     %s since %s\n", event.Printable(s.GetCluster()), conditionOf(s.GetCondition()), moment(s.GetSince()))
	if s.GetNewest() != nil {
		fmt.Fprintf(&b, "newest    %s by the API server's clock, %s ago\n", moment(s.GetNewest()), s.GetTime().AsTime().Sub(s.GetNewest().AsTime()).Round(time.Millisecond))
	}
	if s.GetReason() != "" {
		fmt.Fprintf(&b, "because   %s\n", event.Printable(s.GetReason()))
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.GetSources()) > 0 {
		fmt.Fprintln(table, "\nSOURCE\tKIND\tCONDITION\tSINCE\tNEWEST\tRECEIVED\tDELAY\tSKEW\tEVENTS\tREPEATED\tUNREADABLE\tTOO LARGE\tREFUSED")
	}
	for _, one := range s.GetSources() {
		skew := lengthOf(one.GetSkew())
		if one.GetSkewed() {
			skew += " (SKEWED)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n", event.Printable(one.GetName()), event.Printable(one.GetKind()), conditionOf(one.GetCondition()),
			moment(one.GetSince()), moment(one.GetNewest()), moment(one.GetReceived()), lengthOf(one.GetDelay()), skew,
			one.GetEvents(), one.GetRepeated(), one.GetUnreadable(), one.GetTooLarge(), one.GetRefused())
	}
	if len(s.GetGaps()) > 0 {
		fmt.Fprintln(table, "\nGAP\tSINCE\tUNTIL\tLENGTH\tCOUNT\tREASON\tSOURCE")
	}
	for _, g := range s.GetGaps() {
		count := "?"
		if n := g.GetGap().GetCount(); n > 0 {
			count = strconv.FormatUint(n, 10)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", event.Printable(g.GetId()), moment(g.GetGap().GetSince()), moment(g.GetGap().GetUntil()),
			g.GetGap().GetUntil().AsTime().Sub(g.GetGap().GetSince().AsTime()).Round(time.Second), count, event.Printable(g.GetGap().GetReason()), cmp.Or(event.Printable(g.GetSource()), "-"))
	}
	if len(answer.GetBlind()) > 0 {
		fmt.Fprintln(table, "\nBLIND RULE\tWHY")
	}
	for _, blind := range answer.GetBlind() {
		fmt.Fprintf(table, "%s\t%s\n", event.Printable(blind.GetRule()), event.Printable(blind.GetReason()))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := out.Write(b.Bytes())
	return err
}

// conditionOf is a condition's word.
func conditionOf(c collectorv1.AuditCondition) string {
	return strings.ToLower(strings.TrimPrefix(c.String(), "AUDIT_CONDITION_"))
}

// moment is a time, or - where there is none.
func moment(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return clock(t.AsTime())
}

func lengthOf(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return d.AsDuration().Round(time.Millisecond).String()
}
