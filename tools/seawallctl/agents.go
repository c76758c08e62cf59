package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seawall-security/seawall/internal/event"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// agentPage is how many agents are asked for at once.
const agentPage = 500

// listAgents prints a line for each agent, in the order of their ids.
func listAgents(ctx context.Context, args []string, out io.Writer) error {
	r := newRemote("agents list")
	conn, err := r.open(args, out)
	if err != nil {
		return err
	}
	defer conn.Close()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if r.format == "text" {
		fmt.Fprintln(table, "NODE\tID\tVERSION\tKERNEL\tLAST SEEN\tHOOKS\tSPOOL\tOLDEST\tBUNDLE\tERRORS")
	}
	for request := (&collectorv1.ListAgentsRequest{PageSize: agentPage}); ; {
		page, err := collectorv1.NewManagementClient(conn).ListAgents(ctx, request)
		if err != nil {
			return explain(err)
		}
		for _, a := range page.Agents {
			if r.format == "json" {
				err = writeJSON(out, a)
			} else {
				_, err = fmt.Fprintln(table, agentLine(a))
			}
			if err != nil {
				return err
			}
		}
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			return table.Flush()
		}
	}
}

// agentLine is an agent as a row of the table. What it says of itself is not believed to
// be harmless.
func agentLine(a *collectorv1.Agent) string {
	spool, oldest, bundle := "?", "?", "-" // it has not said yet
	if s := a.GetStatus(); s != nil {
		spool, oldest = sizeOf(s.GetSpoolBytes()), "-"
		if d := s.GetOldestWaiting().AsDuration(); d > 0 {
			oldest = d.Round(time.Second).String()
		}
		if s.GetBundleSerial() > 0 {
			bundle = fmt.Sprintf("%d %s", s.GetBundleSerial(), s.GetBundleVersion())
		}
	}
	var problems []string
	for _, one := range []struct{ part, text string }{{"bundle", a.GetBundleError()}, {"settings", a.GetSettingsError()}} {
		if one.text != "" {
			problems = append(problems, one.part+": "+one.text)
		}
	}
	cells := []string{a.GetNode(), a.GetId(), a.GetVersion(), a.GetKernel(), clock(a.GetLastSeen().AsTime()), hooksOf(a.GetHooks()),
		spool, oldest, bundle, cmp.Or(strings.Join(problems, "; "), "-")}
	for i := range cells {
		cells[i] = brief(event.Printable(cells[i]), maxCommand)
	}
	return strings.Join(cells, "\t")
}

// rungs of the ladder, the best first.
var rungs = []string{"lsm", "fentry", "tracepoint", "syscall"}

// hooksOf says on which rungs hooks stand, and which do not do what they should.
func hooksOf(hooks []*sensorv1.Hook) string {
	if len(hooks) == 0 {
		return "?"
	}
	counts, missing, unconfirmed := map[string]int{}, 0, 0
	for _, h := range hooks {
		switch {
		case h.GetRung() == "":
			missing++
		case !h.GetConfirmed():
			unconfirmed++
			fallthrough
		default:
			rung := h.GetRung()
			if !slices.Contains(rungs, rung) {
				rung = "other"
			}
			counts[rung]++
		}
	}
	var words []string
	say := func(n int, what string) {
		if n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, what))
		}
	}
	for _, rung := range append(rungs, "other") {
		say(counts[rung], rung)
	}
	say(unconfirmed, "UNCONFIRMED")
	say(missing, "MISSING")
	return strings.Join(words, ", ")
}

func sizeOf(bytes uint64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	size, prefix := float64(bytes)/unit, 0
	for size >= unit && prefix < len("KMGTPE")-1 {
		size /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", size, "KMGTPE"[prefix])
}

// brief is the beginning of a text in so many characters.
func brief(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
