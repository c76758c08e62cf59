package obs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// Bounds of the admin server. A scrape takes milliseconds; who needs longer
// than this to ask or to read the answer only holds a connection.
const (
	adminHeaderTimeout = 5 * time.Second
	adminReadTimeout   = 10 * time.Second
	adminWriteTimeout  = 30 * time.Second
	adminIdleTimeout   = 90 * time.Second // above the usual scrape interval of 15 to 60 s
	adminStopTimeout   = 2 * time.Second  // what a running scrape gets when the binary stops
	adminHeaderBytes   = 16 << 10
	// Scrapes read kernel maps: more than a few at once are of use to nobody.
	adminScrapes = 4
)

// Admin answers operators over HTTP: /metrics, /healthz, /readyz and, if asked
// for, /debug/pprof. There is no access control: it belongs on loopback unless
// the network around it is trusted.
type Admin struct {
	listener net.Listener
	server   *http.Server
}

// AdminOptions are what the admin server shows.
type AdminOptions struct {
	Metrics prometheus.Gatherer
	Ready   *Ready
	// Profiling adds /debug/pprof, which shows the memory of the process.
	Profiling bool
	Log       *zap.Logger
}

// ListenAdmin takes the address (host:port; port 0: any) and fails if it is in use.
// Nothing is answered before [Admin.Serve].
func ListenAdmin(ctx context.Context, address string, o AdminOptions) (*Admin, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for admin requests: %w", err)
	}
	errorLog, err := zap.NewStdLogAt(o.Log, zap.WarnLevel)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("build log of admin server: %w", err), listener.Close())
	}

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{
		ErrorLog: errorLog,
		// A collector that fails costs its own series, not the others'.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: adminScrapes,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answerReady(w, o.Ready) })
	if o.Profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return &Admin{
		listener: listener,
		server: &http.Server{
			Handler:           mux,
			ErrorLog:          errorLog,
			ReadHeaderTimeout: adminHeaderTimeout,
			ReadTimeout:       adminReadTimeout,
			WriteTimeout:      adminWriteTimeout,
			IdleTimeout:       adminIdleTimeout,
			MaxHeaderBytes:    adminHeaderBytes,
		},
	}, nil
}

// Addr is the address that was taken.
func (a *Admin) Addr() net.Addr { return a.listener.Addr() }

// Serve answers until ctx is done, then lets running answers end for a moment
// and returns nil. It closes what ListenAdmin opened: call it exactly once.
func (a *Admin) Serve(ctx context.Context) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		// The parent is done by now; what is left is the time to say goodbye.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminStopTimeout)
		defer cancel()
		err := a.server.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = a.server.Close()
		}
		stopped <- err
	})
	err := a.server.Serve(a.listener)
	if stop() { // ctx is not done: the server ended by itself
		return fmt.Errorf("serve admin requests: %w", err)
	}
	if err := <-stopped; err != nil {
		return fmt.Errorf("stop admin server: %w", err)
	}
	return nil
}

func answerReady(w http.ResponseWriter, ready *Ready) {
	missing := ready.Missing()
	status := http.StatusOK
	if len(missing) > 0 {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, struct {
		Ready   bool      `json:"ready"`
		Missing []Missing `json:"missing"`
	}{len(missing) == 0, missing})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error here is the client's connection: there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
