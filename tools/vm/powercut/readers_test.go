package powercut

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/seawall-security/seawall/internal/tlsconf"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
)

// printer writes lines in the order in which they were said, and never holds one back:
// the guest's port takes a write when the one before has left the machine, so what was
// said meanwhile goes with the next.
type printer struct {
	lines chan printed
	fail  func(error) // nothing more can be printed
}

// printed is a line, and who waits for it to have left the machine, if anybody.
type printed struct {
	line []byte
	left chan struct{}
}

func newPrinter(to io.Writer, fail func(error)) *printer {
	p := &printer{lines: make(chan printed, 4096), fail: fail}
	go p.run(to)
	return p
}

// run ends with the guest.
func (p *printer) run(to io.Writer) {
	for next := range p.lines {
		text := next.line
		for next.left == nil && len(text) < 64<<10 && len(p.lines) > 0 {
			next = <-p.lines
			text = append(text, next.line...)
		}
		_, err := to.Write(text)
		if err == nil && next.left != nil {
			err = push(to)
		}
		if err != nil {
			p.fail(fmt.Errorf("print: %w", err))
		}
		if next.left != nil {
			close(next.left)
		}
	}
}

// push has the last write leave the machine.
func push(to io.Writer) error {
	_, err := to.Write([]byte("\n"))
	return err
}

func (p *printer) say(r report) { p.lines <- printed{line: line(r)} }

// tell says it and returns when it has left the machine.
func (p *printer) tell(r report) {
	left := make(chan struct{})
	p.lines <- printed{line(r), left}
	<-left
}

func line(r report) []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // a report is plain data
	}
	return append(text, '\n')
}

// readers follow the alerts.
type readers struct {
	g      *guest
	client alertv1.AlertStreamClient
	// Closed when the witness was told of the boot's first mark, and of its second.
	first, second chan struct{}
	caughtUp      chan struct{} // closed when the SIEM was told of the second
}

// subscribe has a SIEM go on behind its cursor and a witness read from the beginning.
func (g *guest) subscribe(ctx context.Context) (*readers, error) {
	material, err := tlsconf.Files{Certificate: filepath.Join(clientFolder, "client.crt"), Key: filepath.Join(clientFolder, "client.key"),
		Roots: filepath.Join(clientFolder, "ca.crt")}.Load()
	if err != nil {
		return nil, err
	}
	config := tlsconf.ClientConfig(tlsconf.NewSource(material), tlsconf.Peers{Roles: []tlsconf.Role{tlsconf.Collector}}, time.Now)
	conn, err := grpc.NewClient("127.0.0.1:9443", grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, err
	}
	r := &readers{g: g, client: alertv1.NewAlertStreamClient(conn),
		first: make(chan struct{}), second: make(chan struct{}), caughtUp: make(chan struct{})}
	for who, name := range map[reader]string{witness: "", siem: "soc"} {
		stream, err := r.client.Subscribe(ctx, &alertv1.SubscribeRequest{Subscription: name})
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		go func() { g.fail(fmt.Errorf("read as %s: %w", who, r.follow(ctx, who, name, stream))) }()
	}
	return r, nil
}

// follow says what it is told. A named subscription acknowledges some of it.
func (r *readers) follow(ctx context.Context, who reader, subscription string, stream alertv1.AlertStream_SubscribeClient) error {
	type wait struct {
		mark string
		told chan struct{}
	}
	marks := r.g.plan.warm()
	waits := []wait{{marks[0], r.first}, {marks[1], r.second}}
	if who == siem {
		waits = []wait{{marks[1], r.caughtUp}}
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if m.GetIdle() {
			continue
		}
		t, err := tell(who, m)
		if err != nil {
			return err
		}
		if who == witness || m.GetPosition()%4 != 0 {
			r.g.say(report{Told: t})
		} else {
			// What is acknowledged may be skipped from now on: the host has to know of it.
			r.g.out.tell(report{Told: t})
			if _, err := r.client.Acknowledge(ctx, &alertv1.AcknowledgeRequest{Subscription: subscription, Position: m.GetPosition()}); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
			r.g.say(report{Committed: m.GetPosition()})
		}
		for len(waits) > 0 && slices.Contains(t.Marks, waits[0].mark) {
			if waits[0].told == r.second {
				r.g.say(report{Stage: warmedUp})
			}
			close(waits[0].told)
			waits = waits[1:]
		}
	}
}

const metricsURL = "http://127.0.0.1:9464/metrics"

// counts are the agent's, of the detections' lane.
type counts struct{ durable, acked, spooled, lost int }

func scrape(ctx context.Context) (c counts, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, metricsURL, nil)
	if err != nil {
		return c, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return c, err
	}
	defer response.Body.Close()
	found := 0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		name, ours := strings.CutPrefix(name, "seawall_agent_uplink_")
		if !ours {
			continue
		}
		n, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64)
		if err != nil {
			return c, fmt.Errorf("scrape %s: %w", name, err)
		}
		switch {
		case name == `durable_total{lane="detections"}`:
			c.durable = int(n)
			found++
		case name == `acked_total{lane="detections"}`:
			c.acked = int(n)
			found++
		case name == `spooled{lane="detections"}`:
			c.spooled = int(n)
			found++
		case strings.HasPrefix(name, `dropped_total{lane="detections"`), strings.HasPrefix(name, "not_spooled_total"):
			c.lost += int(n)
		}
	}
	if found != 3 {
		return c, errors.New("scrape: the agent's metrics have other names")
	}
	return c, nil
}

// settled waits until nothing is in the spool: all that follows in it are marks.
func settled(ctx context.Context) (counts, error) {
	for {
		c, err := scrape(ctx)
		if err != nil || c.spooled == 0 {
			return c, err
		}
	}
}
