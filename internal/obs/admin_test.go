package obs

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// serve runs an admin server for the test and returns its URL and its end.
func serve(t *testing.T, o AdminOptions) (url string, stop func() error) {
	t.Helper()
	o.Log = zap.NewNop()
	ctx, cancel := context.WithCancel(t.Context())
	admin, err := ListenAdmin(ctx, "127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- admin.Serve(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return "http://" + admin.Addr().String(), stop
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestAdminAnswers(t *testing.T) {
	var ready Ready
	hooks := ready.Add("hooks")
	url, _ := serve(t, AdminOptions{Metrics: NewRegistry("seawall_agent", false), Ready: &ready})

	for _, test := range []struct {
		name   string
		before func()
		path   string
		status int
		body   string
	}{
		{"alive", nil, "/healthz", 200, `{"status":"ok"}`},
		{"not ready", nil, "/readyz", 503, `{"ready":false,"missing":[{"condition":"hooks","reason":"starting"}]}`},
		{"ready", hooks.Hold, "/readyz", 200, `{"ready":true,"missing":[]}`},
		{"not ready again", func() { hooks.Fail("ring closed") }, "/readyz", 503, `{"ready":false,"missing":[{"condition":"hooks","reason":"ring closed"}]}`},
		{"metrics", nil, "/metrics", 200, "seawall_agent_build_info{"},
		{"profiles are not asked for", nil, "/debug/pprof/", 404, ""},
		{"nothing at the root", nil, "/", 404, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.before != nil {
				test.before()
			}
			status, body := get(t, url+test.path)
			if status != test.status || !strings.Contains(body, test.body) {
				t.Errorf("%d %s, want %d with %s", status, body, test.status, test.body)
			}
		})
	}
}

func TestAdminProfiling(t *testing.T) {
	url, _ := serve(t, AdminOptions{Metrics: prometheus.NewRegistry(), Ready: &Ready{}, Profiling: true})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
		if status, body := get(t, url+path); status != 200 || body == "" {
			t.Errorf("%s: %d with %d bytes", path, status, len(body))
		}
	}
}

func TestAdminTakesOnlyGET(t *testing.T) {
	url, _ := serve(t, AdminOptions{Metrics: prometheus.NewRegistry(), Ready: &Ready{}})
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		response, err := http.Post(url+path, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, response.StatusCode)
		}
	}
}

// failing is a collector whose second metric cannot be had.
type failing struct{ good, bad *prometheus.Desc }

func (f failing) Describe(out chan<- *prometheus.Desc) { out <- f.good; out <- f.bad }
func (f failing) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(f.good, prometheus.GaugeValue, 1)
	out <- prometheus.NewInvalidMetric(f.bad, errors.New("map is gone"))
}

func TestAdminShowsWhatCanBeHad(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(failing{
		prometheus.NewDesc("good_events", "Can be had.", nil, nil),
		prometheus.NewDesc("bad_events", "Cannot.", nil, nil),
	})
	url, _ := serve(t, AdminOptions{Metrics: registry, Ready: &Ready{}})
	if status, body := get(t, url+"/metrics"); status != 200 || !strings.Contains(body, "good_events 1") {
		t.Errorf("%d %s", status, body)
	}
}

func TestAdminStops(t *testing.T) {
	url, stop := serve(t, AdminOptions{Metrics: prometheus.NewRegistry(), Ready: &Ready{}})
	// A connection that never asks for anything must not hold up the stop.
	idle, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	get(t, url+"/healthz")
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("still listens after the stop: %v", err)
	}
}

func TestAdminAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = ListenAdmin(t.Context(), taken.Addr().String(), AdminOptions{Log: zap.NewNop()})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want an address in use", err)
	}
}
