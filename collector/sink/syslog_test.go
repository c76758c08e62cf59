package sink

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// parsed is a message as a receiver of RFC 5424 reads it.
type parsed struct {
	priority                               int
	stamp, hostname, app, process, message string
	params                                 map[string]string
	text                                   string
}

var (
	syslogHead      = regexp.MustCompile(`^<([0-9]{1,3})>1 ([!-~]+) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) `)
	syslogParamForm = regexp.MustCompile(`^ ([!#-<>-\\^-~]{1,32})="((?:[^"\\\]]|\\["\\\]])*)"`)
)

func parseSyslog(m []byte) (parsed, error) {
	head := syslogHead.FindSubmatch(m)
	if head == nil {
		return parsed{}, fmt.Errorf("no head in %q", m)
	}
	p := parsed{stamp: string(head[2]), hostname: string(head[3]), app: string(head[4]), process: string(head[5]), message: string(head[6]), params: map[string]string{}}
	p.priority, _ = strconv.Atoi(string(head[1]))
	if p.priority > 191 {
		return p, fmt.Errorf("priority %d", p.priority)
	}
	if p.stamp != "-" {
		if _, err := time.Parse(time.RFC3339Nano, p.stamp); err != nil {
			return p, err
		}
	}
	rest, ok := bytes.CutPrefix(m[len(head[0]):], []byte("["+sdID))
	if !ok {
		return p, fmt.Errorf("no structured data in %q", m)
	}
	for {
		param := syslogParamForm.FindSubmatch(rest)
		if param == nil {
			break
		}
		if !utf8.Valid(param[2]) {
			return p, fmt.Errorf("parameter %q", param[2])
		}
		p.params[string(param[1])] = regexp.MustCompile(`\\(["\\\]])`).ReplaceAllString(string(param[2]), "$1")
		rest = rest[len(param[0]):]
	}
	if rest, ok = bytes.CutPrefix(rest, []byte("]")); !ok {
		return p, fmt.Errorf("structured data has no end in %q", m)
	}
	if len(rest) > 0 {
		if rest, ok = bytes.CutPrefix(rest, []byte(" ")); !ok {
			return p, fmt.Errorf("no space before the text of %q", m)
		}
		text, marked := bytes.CutPrefix(rest, []byte("\ufeff"))
		if marked == ascii(text) || !utf8.Valid(text) {
			return p, fmt.Errorf("text %q, marked as UTF-8: %v", text, marked)
		}
		p.text = string(text)
	}
	return p, nil
}

// frame reads one octet-counted frame.
func frame(in *bufio.Reader) ([]byte, error) {
	count, err := in.ReadString(' ')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(count, " "))
	if err != nil || n < 1 || n > maxSyslogBytes || count[0] == '0' {
		return nil, fmt.Errorf("frame begins with %q", count)
	}
	m := make([]byte, n)
	_, err = io.ReadFull(in, m)
	return m, err
}

// receive sends the position of each message that comes over a connection.
func receive(t *testing.T, conn net.Conn, got chan<- string) {
	defer conn.Close()
	for in := bufio.NewReader(conn); ; {
		m, err := frame(in)
		if err != nil {
			return
		}
		p, err := parseSyslog(m)
		if err != nil {
			t.Error(err)
		}
		got <- p.params["position"]
	}
}

func newSyslog(t *testing.T, o SyslogOptions) *Syslog {
	t.Helper()
	s, err := NewSyslog(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // the test is over
	return s
}

func TestSyslogMessage(t *testing.T) {
	facility := 4
	s := newSyslog(t, SyslogOptions{Transport: SyslogTCP, Address: "localhost:1", Facility: &facility, Hostname: "collector 1"})
	m, err := s.message(webShell())
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseSyslog(m)
	if err != nil {
		t.Fatal(err)
	}
	if p.priority != 4*8+3 || p.stamp != "2026-03-01T12:00:06.250000Z" || p.hostname != "collector_1" || p.app != "seawall" || p.process != "-" || p.message != "web-shell" {
		t.Errorf("head %+v", p)
	}
	want := map[string]string{
		"id": "0123456789abcdef0123456789abcdef", "revision": "2", "kind": "web-shell", "severity": "high", "position": "7", "cluster": "prod-eu",
		"node": "node-1", "namespace": "store", "pod": "shop-7d4b9", "container": "web", "container_id": strings.Repeat("c", 64),
		"image": "registry.example/store/shop:1.0", "techniques": "T1505.003,T1190",
	}
	if fmt.Sprint(p.params) != fmt.Sprint(want) || !strings.HasPrefix(p.text, "HIGH: Web shell in pod") {
		t.Errorf("parameters %v, text %q", p.params, p.text)
	}
	for severity, want := range map[sensorv1.Severity]int{0: 6, 1: 6, 2: 5, 3: 4, 4: 3, 5: 2} {
		if got := syslogSeverity(severity); got != want {
			t.Errorf("%v is %d", severity, got)
		}
	}
}

func TestSyslogDocumentThatIsTooLong(t *testing.T) {
	o := SyslogOptions{Transport: SyslogTCP, Address: "localhost:1", Text: OCSF("1.0")}
	for limit, want := range map[int]string{64 << 10: "{", 1024: "HIGH: Web shell"} {
		o.MaxBytes = limit
		m, err := newSyslog(t, o).message(webShell())
		if err != nil {
			t.Fatal(err)
		}
		if p, err := parseSyslog(m); err != nil || len(m) > limit || !strings.HasPrefix(p.text, want) || (p.params["form"] == "summary") != (limit == 1024) {
			t.Errorf("%d bytes: %q, %v", limit, m, err)
		}
	}
}

func TestSyslogOverTCPAndTLS(t *testing.T) {
	own, pool := certificate(t)
	for _, transport := range []string{SyslogTCP, SyslogTLS} {
		got := make(chan string, 10)
		address := listen(t, func(conn net.Conn) {
			if transport == SyslogTLS {
				conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{own}})
			}
			receive(t, conn, got)
		})
		s := newSyslog(t, SyslogOptions{Transport: transport, Address: address, TLS: &tls.Config{RootCAs: pool}})
		deliver(t, s, revisions(1, 3))
		deliver(t, s, revisions(4, 5))
		for n := range 5 {
			if p := <-got; p != fmt.Sprint(n+1) {
				t.Errorf("%s: message %s, want %d", transport, p, n+1)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSyslogOverUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := newSyslog(t, SyslogOptions{Transport: SyslogUDP, Address: conn.LocalAddr().String(), MaxBytes: 600})
	long := webShell()
	long.Alert.Summary = strings.Repeat("ß", 5000)
	deliver(t, s, []Revision{{Position: 6, Alert: alertOf(6)}, long})
	buffer := make([]byte, 70000)
	for _, want := range []string{"6", "7"} {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := parseSyslog(buffer[:n]); err != nil || n > 600 || p.params["position"] != want {
			t.Errorf("%d bytes: %+v, %v", n, p, err)
		}
	}
}

// A receiver that misbehaves costs an attempt; the delivery brings everything all the same.
func TestSyslogReceiverMisbehaves(t *testing.T) {
	own, pool := certificate(t)
	stranger, _ := certificate(t)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	reset := func(conn net.Conn) {
		_ = conn.(*net.TCPConn).SetLinger(0) // a reset instead of a goodbye
		_ = conn.Close()
	}
	for name, misbehave := range map[string]func(net.Conn){
		"closes at once":          func(conn net.Conn) { _ = conn.Close() },
		"resets at once":          reset,
		"resets within a message": func(conn net.Conn) { _, _ = conn.Read(make([]byte, 10)); reset(conn) },
		"says goodbye and hangs":  func(conn net.Conn) { _ = conn.(*net.TCPConn).CloseWrite(); <-hold },
		"never answers":           func(net.Conn) { <-hold },
		"has another's certificate": func(conn net.Conn) {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{stranger}}).Handshake()
			_ = conn.Close()
		},
		"speaks no TLS": func(conn net.Conn) { _, _ = conn.Write([]byte("220 hello\r\n")); <-hold },
	} {
		t.Run(name, func(t *testing.T) {
			var connections atomic.Int32
			got := make(chan string, 1000)
			address := listen(t, func(conn net.Conn) {
				if connections.Add(1) <= 2 {
					misbehave(conn)
					return
				}
				receive(t, tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{own}}), got)
			})
			s := newSyslog(t, SyslogOptions{Transport: SyslogTLS, Address: address, TLS: &tls.Config{RootCAs: pool}, Timeout: 100 * time.Millisecond})
			source := newMemory(20)
			_, stop := start(t, Options{Source: source, Sink: s, BatchRevisions: 5, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond})
			for n := 1; n <= 20; { // repeats are allowed, holes are not
				if p := <-got; p == fmt.Sprint(n) {
					n++
				} else if p > fmt.Sprint(n) && len(p) >= len(fmt.Sprint(n)) {
					t.Fatalf("message %s before %d", p, n)
				}
			}
			stop()
			if got := source.saved("test"); got < 15 {
				t.Errorf("position %d", got)
			}
		})
	}
}

// Our kernel takes more than the other one has confirmed: some or all of a batch may be
// written that nobody has.
func TestSyslogReceiverThatDoesNotRead(t *testing.T) {
	for _, size := range []int{12 << 20, 300 << 10} {
		hold := make(chan struct{})
		address := listen(t, func(conn net.Conn) {
			_ = conn.(*net.TCPConn).SetReadBuffer(4096)
			<-hold
		})
		t.Cleanup(func() { close(hold) })
		s := newSyslog(t, SyslogOptions{Transport: SyslogTCP, Address: address, Timeout: 200 * time.Millisecond, MaxBytes: maxSyslogBytes})
		large := webShell()
		large.Alert.Summary = strings.Repeat("x", size)
		if err := s.Deliver(t.Context(), []Revision{large}); err == nil {
			t.Errorf("%d bytes are taken as delivered, and nobody has read one", size)
		}
		if s.conn != nil {
			t.Error("a connection with half a frame is kept")
		}
	}
}

func TestSyslogConnectionThatDiedMeanwhileIsNoticed(t *testing.T) {
	got, conns := make(chan string, 10), make(chan net.Conn, 2)
	address := listen(t, func(conn net.Conn) { conns <- conn; receive(t, conn, got) })
	s := newSyslog(t, SyslogOptions{Transport: SyslogTCP, Address: address})
	for n := range 2 {
		deliver(t, s, revisions(n+1, n+1))
		if m := <-got; m != fmt.Sprint(n+1) {
			t.Errorf("message %s, want %d", m, n+1)
		}
		if err := (<-conns).Close(); err != nil {
			t.Fatal(err)
		}
		<-s.conn.closed
	}
}

func TestSyslogOptions(t *testing.T) {
	facility := 24
	for want, o := range map[string]SyslogOptions{
		"none of tls":         {Transport: "http", Address: "a:1"},
		"missing port":        {Transport: SyslogTCP, Address: "a"},
		"want 480 to 65507":   {Transport: SyslogUDP, Address: "a:1", MaxBytes: 479},
		"facility 24: want 0": {Transport: SyslogTCP, Address: "a:1", Facility: &facility},
	} {
		if _, err := NewSyslog(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	bad := func([]byte, Revision) ([]byte, error) { return nil, errors.New("no text") }
	var refused *RefusedError
	if err := newSyslog(t, SyslogOptions{Transport: SyslogTCP, Address: "a:1", Text: bad}).Deliver(t.Context(), revisions(1, 1)); !errors.As(err, &refused) {
		t.Errorf("what has no form: %v", err)
	}
}

func FuzzSyslog(f *testing.F) {
	f.Add("shop", "Web shell\n1 <34>1 - - - - - -", `a"]\`, "node\x00 1", "web-shell", 2048)
	f.Add("\xff]\"", "\u2028ß", strings.Repeat("ß", 300), "", "", 480)
	f.Fuzz(func(t *testing.T, pod, title, image, host, kind string, limit int) {
		limit = minDatagram + (limit%60000+60000)%60000
		s, err := NewSyslog(SyslogOptions{Transport: SyslogTCP, Address: "localhost:1", Hostname: host, MaxBytes: limit})
		if err != nil {
			t.Fatal(err)
		}
		r := Revision{Position: 7, Alert: &alertv1.Alert{Id: "a1", Revision: 3, Kind: kind, Title: title, Asset: &alertv1.Asset{Node: host,
			Container: &sensorv1.Container{Image: image, Pod: &sensorv1.Pod{Name: pod, Namespace: pod}}}}}
		frames, err := s.frames([]Revision{r, r})
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(bytes.NewReader(bytes.Join(frames, nil)))
		for range 2 {
			m, err := frame(in)
			if err != nil {
				t.Fatal(err)
			}
			if len(m) > limit || bytes.ContainsAny(m, "\n\r\x00") {
				t.Fatalf("%d bytes of at most %d: %q", len(m), limit, m)
			}
			p, err := parseSyslog(m)
			if err != nil {
				t.Fatal(err)
			}
			if p.params["id"] != "a1" || p.params["revision"] != "3" {
				t.Fatalf("%v", p.params)
			}
		}
		if _, err := frame(in); !errors.Is(err, io.EOF) {
			t.Fatalf("a third frame: %v", err)
		}
	})
}
