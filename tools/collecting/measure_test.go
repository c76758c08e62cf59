package collecting

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// measured has the collector serve its metrics.
func (n *node) measured() *node {
	n.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.Fatal(err)
	}
	n.admin = l.Addr().String()
	if err := l.Close(); err != nil {
		n.Fatal(err)
	}
	return n
}

// metrics are the collector's series now, by name and labels.
func (n *node) metrics() map[string]float64 {
	n.Helper()
	answer, err := http.Get("http://" + n.admin + "/metrics")
	if err != nil {
		n.Fatalf("%v\n%v", err, n.log())
	}
	defer answer.Body.Close()
	series := map[string]float64{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if at := strings.LastIndexByte(lines.Text(), ' '); at > 0 {
			if v, err := strconv.ParseFloat(lines.Text()[at+1:], 64); err == nil {
				series[lines.Text()[:at]] = v
			}
		}
	}
	return series
}

// until waits for a metric to be as wanted.
func (n *node) until(name string, wanted func(float64) bool) {
	n.Helper()
	var last float64
	for end := time.Now().Add(waiting); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if last = n.metrics()[name]; wanted(last) {
			return
		}
	}
	n.Fatalf("%s is %v still\n%v", name, last, n.log())
}

// footprint is what somebody may use up from outside.
type footprint struct{ goroutines, files, resident float64 }

// footprint waits until connections that ended are gone.
func (n *node) footprint(settled float64) footprint {
	n.Helper()
	if settled > 0 {
		n.until("go_goroutines", func(v float64) bool { return v <= settled })
	}
	m := n.metrics()
	return footprint{m["go_goroutines"], m["process_open_fds"], m["process_resident_memory_bytes"]}
}

// logs waits until the collector has said something.
func (n *node) logs(words string) {
	n.Helper()
	for end := time.Now().Add(waiting); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(fmt.Sprint(n.log()), words) {
			return
		}
	}
	n.Fatalf("the collector does not say %q\n%v", words, n.log())
}
