package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/seawall-security/seawall/internal/event"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// alertFlags are those of the commands that choose among alerts.
type alertFlags struct {
	*remote
	severity, namespace string
	limit               int
}

func newAlertFlags(words string) *alertFlags {
	f := &alertFlags{remote: newRemote(words)}
	f.StringVar(&f.severity, "severity", "", "this `severity` and above: info|low|medium|high|critical")
	f.StringVar(&f.namespace, "namespace", "", "pods of this `namespace` only")
	f.IntVar(&f.limit, "limit", 100, "at most this `number`, newest first")
	return f
}

func (f *alertFlags) filter() (*alertv1.Filter, error) {
	filter := &alertv1.Filter{}
	if f.severity != "" {
		number, ok := sensorv1.Severity_value["SEVERITY_"+strings.ToUpper(f.severity)]
		if !ok || number == 0 {
			return nil, fmt.Errorf("-severity %s: info, low, medium, high or critical", f.severity)
		}
		filter.MinimumSeverity = sensorv1.Severity(number)
	}
	if f.namespace != "" {
		filter.Namespaces = []string{f.namespace}
	}
	return filter, nil
}

// begin takes the flags and prepares the connection, which the caller closes.
func (f *alertFlags) begin(args []string, out io.Writer) (*alertv1.Filter, *grpc.ClientConn, error) {
	rest, err := f.read(args, out)
	if err != nil {
		return nil, nil, err
	}
	if len(rest) > 0 {
		return nil, nil, fmt.Errorf("unexpected argument %q", rest[0])
	}
	filter, err := f.filter()
	if err != nil {
		return nil, nil, err
	}
	conn, err := f.dial()
	return filter, conn, err
}

// listAlerts prints a line for each alert, newest first.
func listAlerts(ctx context.Context, args []string, out io.Writer) error {
	f := newAlertFlags("alerts list")
	filter, conn, err := f.begin(args, out)
	if err != nil {
		return err
	}
	defer conn.Close()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if f.format == "text" {
		fmt.Fprintln(table, "LAST\tSEVERITY\tKIND\tWHERE\tTITLE\tREV\tID")
	}
	request := &alertv1.ListRequest{Filter: filter}
	for left := f.limit; left > 0; {
		request.PageSize = uint32(min(left, 1000))
		page, err := alertv1.NewAlertStreamClient(conn).List(ctx, request)
		if err != nil {
			return explain(err)
		}
		for _, a := range page.Alerts {
			left--
			if f.format == "json" {
				err = writeJSON(out, a)
			} else {
				_, err = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", clock(a.GetLastTime().AsTime()), severityOf(a.GetSeverity()),
					event.Printable(a.GetKind()), placeOf(a.GetAsset()), event.Printable(a.GetTitle()), a.GetRevision(), event.Printable(a.GetId()))
			}
			if err != nil {
				return err
			}
		}
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			break
		}
	}
	return table.Flush()
}

// showAlert prints one alert whole.
func showAlert(ctx context.Context, args []string, out io.Writer) error {
	r := newRemote("alerts show")
	rest, err := r.read(args, out)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return errors.New("needs the ID of one alert")
	}
	conn, err := r.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := alertv1.NewAlertStreamClient(conn).Get(ctx, &alertv1.GetRequest{Id: rest[0]})
	if err != nil {
		return explain(err)
	}
	if r.format == "json" {
		return writeJSON(out, answer.GetAlert())
	}
	return tell(out, answer.GetAlert())
}

// watchAlerts prints revisions as they come, until it is interrupted.
func watchAlerts(ctx context.Context, args []string, out io.Writer) error {
	f := newAlertFlags("alerts watch")
	filter, conn, err := f.begin(args, out)
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := alertv1.NewAlertStreamClient(conn).Subscribe(ctx, &alertv1.SubscribeRequest{FromNow: true, Filter: filter})
	if err != nil {
		return explain(err)
	}
	for {
		m, err := stream.Recv()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return explain(err)
		case m.GetMissed() > 0:
			fmt.Fprintf(os.Stderr, "seawallctl: %d revisions were forgotten before they were read\n", m.GetMissed())
			continue
		case m.GetAlert() == nil:
			continue
		case f.format == "json":
			err = writeJSON(out, m.GetAlert())
		default:
			err = tellShort(out, m.GetAlert())
		}
		if err != nil {
			return err
		}
	}
}

func writeJSON(out io.Writer, m proto.Message) error {
	line, err := protojson.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode as JSON: %w", err)
	}
	_, err = out.Write(append(line, '\n'))
	return err
}

// explain says in words what a person can do about an answer.
func explain(err error) error {
	s := status.Convert(err)
	lines := strings.Split(s.Message(), "\n") // rule files have one for each problem
	for i := range lines {
		lines[i] = event.Printable(lines[i])
	}
	text := strings.Join(lines, "\n")
	switch s.Code() {
	case codes.Unavailable:
		return fmt.Errorf("no answer from the collector: %s", text)
	case codes.NotFound, codes.InvalidArgument, codes.FailedPrecondition:
		return errors.New(text)
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("the collector does not let this client in: %s", text)
	}
	return fmt.Errorf("%s: %s", s.Code(), text)
}
