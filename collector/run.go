package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seawall-security/seawall/collector/agents"
	"github.com/seawall-security/seawall/collector/alert"
	"github.com/seawall-security/seawall/collector/audit"
	"github.com/seawall-security/seawall/collector/bundle"
	"github.com/seawall-security/seawall/collector/config"
	"github.com/seawall-security/seawall/collector/connections"
	"github.com/seawall-security/seawall/collector/correlate"
	"github.com/seawall-security/seawall/collector/enrol"
	"github.com/seawall-security/seawall/collector/eventlog"
	"github.com/seawall-security/seawall/collector/ingest"
	"github.com/seawall-security/seawall/collector/siem"
	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/obs"
	"github.com/seawall-security/seawall/internal/tlsconf"
	alertv1 "github.com/seawall-security/seawall/proto/alert/v1"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

// run collects until ctx ends. What it starts it ends in reverse order: first nothing
// more is taken and streams end, then correlation finishes its transaction, sinks their
// attempt, and log and store are closed.
func run(ctx context.Context, c config.Config) (err error) {
	log, err := obs.NewLogger(os.Stderr, c.Log.Level)
	if err != nil {
		return err
	}
	release, err := hold(c.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	authority, made, err := enrol.OpenAuthority(c.DataDir, c.Cluster, time.Now)
	if err != nil {
		return err
	}
	if made {
		log.Info("made the cluster's CA: back the data folder up", zap.String("cluster", c.Cluster), zap.String(obs.FieldPath, c.DataDir))
	}
	state, err := store.Open(ctx, storePath(c))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	events, err := eventlog.Open(ctx, eventlog.Options{Dir: eventLogPath(c), MaxBytes: c.EventLog.MaxBytes, Log: log.Named("eventlog")})
	if err != nil {
		return err
	}
	defer events.Close()
	return collect(ctx, c, &parts{log: log, authority: authority, store: state, events: events})
}

// parts are what is open while the collector runs.
type parts struct {
	log       *zap.Logger
	authority *enrol.Authority
	store     *store.Store
	events    *eventlog.Log
}

// collect wires the parts and runs them.
func collect(ctx context.Context, c config.Config, p *parts) error {
	registry, ready := obs.NewRegistry("seawall_collector", true), &obs.Ready{}
	book := alert.NewBook(p.store)
	correlator, err := correlate.Open(ctx, p.store, book, correlate.DefaultLimits)
	if err != nil {
		return err
	}
	following, err := newFollower(ctx, p.events, correlator, ready.Add("correlation"), p.log)
	if err != nil {
		return err
	}
	deliveries, err := newDeliveries(c, book, p.log, registry)
	if err != nil {
		return err
	}
	own, err := enrol.NewServer(p.authority, c.Names, enrol.Sleep, p.log)
	if err != nil {
		return err
	}
	clock := &ticker{log: p.events, cluster: c.Cluster, waits: &following.waits, logger: p.log.Named("ticker")}
	known := agents.New(p.store, p.log)
	bundles, err := bundle.Open(ctx, p.store)
	if err != nil {
		return err
	}
	judging, err := newJudge(ctx, bundles, time.Now, p.log)
	if err != nil {
		return err
	}
	following.judge = judging
	keep := &retainer{store: p.store, log: p.events, keep: c.EventLog, rows: c.Retention,
		correlated: following.position.Load, now: time.Now, logger: p.log.Named("retain")}
	if err := keep.trim(ctx); err != nil {
		return err
	}
	registry.MustRegister(&pipeline{following: following, keep: keep}, correlator, judging)

	group, ctx := errgroup.WithContext(ctx)
	rows := enrol.NewRows(p.store)
	reviewer, err := newReviewer(c.Enrolment.Kubernetes, os.Getenv)
	if err != nil {
		return err
	}
	guard, err := newGuard(ctx, rows, p.log)
	if err != nil {
		return err
	}
	gate, err := newGate(c.Connections, p.log)
	if err != nil {
		return err
	}
	audits, err := newAuditing(ctx, c, p, clock, own, gate, judging, registry)
	if err != nil {
		return err
	}
	defer audits.close()
	server := newDoor(time.Now, guard, gate, p.log, registry).server(own.Source(), c.Cluster, c.Enrolment.RenewalGrace)
	enrolment, err := enrol.NewService(enrol.Options{Authority: p.authority, Tokens: enrol.NewTokens(rows, p.authority), Agents: rows,
		Reviewer: reviewer, ServiceAccounts: c.Enrolment.Kubernetes.ServiceAccounts,
		RenewalGrace: c.Enrolment.RenewalGrace, Limits: enrol.DefaultLimits, Metrics: registry, Log: p.log})
	if err != nil {
		return err
	}
	sensorv1.RegisterEnrolmentServer(server, enrolment)
	sensor := ingest.New(ctx, ingest.Options{Log: clock, Agents: known, Identify: identify(rows),
		Bundle: bundles.Current, Settings: settingsOf(c.Agents), Now: time.Now, Logger: p.log.Named("ingest")})
	registry.MustRegister(sensor)
	sensorv1.RegisterSensorServer(server, sensor)
	offer := func() int { // what agents are sent holds here, too
		judging.reload(ctx)
		return sensor.Offer()
	}
	alerts := siem.New(siem.Options{Store: book, Client: reader, Log: p.log.Named("siem"), Metrics: registry})
	alertv1.RegisterAlertStreamServer(server, alerts)
	collectorv1.RegisterManagementServer(server, &management{Lister: agents.NewLister(known), Service: bundle.NewService(bundle.Options{
		Bundles: bundles, Client: caller, Offer: offer, Now: time.Now, Log: p.log}), auditService: audit.NewService(audits.health)})

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen for agents and clients: %w", err)
	}
	var admin *obs.Admin
	if c.Admin.Address != "" {
		if admin, err = obs.ListenAdmin(ctx, c.Admin.Address, obs.AdminOptions{
			Metrics: registry, Ready: ready, Profiling: c.Admin.Profiling, Log: p.log}); err != nil {
			return errors.Join(err, listener.Close())
		}
	}

	// What is behind the server goes on until the last call has ended.
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	front, frontCtx := errgroup.WithContext(ctx)
	front.Go(func() error { return serve(frontCtx, server, gate.Listen(listener), alerts.Close) })
	for _, source := range audits.sources {
		front.Go(func() error { return source(frontCtx) })
	}
	group.Go(func() error {
		defer stop()
		return front.Wait()
	})
	background := []func(context.Context) error{following.run, clock.run, keep.run, known.Run, own.Run, guard.run, audits.health.Run, judging.run}
	for _, d := range deliveries {
		background = append(background, d.Run)
	}
	if admin != nil {
		background = append(background, admin.Serve)
	}
	for _, part := range background {
		group.Go(func() error { return part(behind) })
	}
	// One line that scripts may wait for.
	fmt.Fprintf(os.Stderr, "ready: cluster %s listens on %s\n", c.Cluster, listener.Addr())
	return group.Wait()
}

// newGate makes the gate that the configuration asks for, as far as the process may open
// files for it.
func newGate(c config.Connections, log *zap.Logger) (*connections.Gate, error) {
	limits := connections.Limits{Strangers: c.Strangers, StrangersPerAddress: c.StrangersPerAddress,
		Peers: c.Max, PerPeer: connections.DefaultLimits.PerPeer}
	descriptors, err := connections.Descriptors()
	if err != nil {
		return nil, err
	}
	if limits, err = limits.Fit(descriptors); err != nil {
		return nil, fmt.Errorf("bound connections: %w", err)
	}
	if limits.Peers < c.Max {
		log.Warn("fewer agents and clients can be connected than connections.max: the limit of open files is lower",
			zap.Int("max", limits.Peers), zap.Uint64("files", descriptors))
	}
	return connections.NewGate(limits, time.Now), nil
}

// reader is the client of a call, for its cursors.
func reader(ctx context.Context) (siem.Client, error) {
	peer, err := tlsconf.PeerOf(ctx, tlsconf.Client)
	if err != nil {
		return siem.Client{}, err
	}
	return siem.Client{Name: peer.Name, Until: peer.Certificate.NotAfter}, nil
}

// caller is the name of a call's client, for the journal.
func caller(ctx context.Context) (string, error) {
	peer, err := tlsconf.PeerOf(ctx, tlsconf.Client)
	return peer.Name, err
}

// identify tells the agent of a stream. A revoked one has a certificate until it ends,
// but is not heard any more.
func identify(rows *enrol.Rows) func(context.Context) (ingest.Peer, error) {
	return func(ctx context.Context) (ingest.Peer, error) {
		peer, err := tlsconf.PeerOf(ctx, tlsconf.Agent)
		if err != nil {
			return ingest.Peer{}, status.Error(codes.Unauthenticated, err.Error())
		}
		switch revoked, err := rows.Revoked(ctx, peer.Name); {
		case err != nil:
			return ingest.Peer{}, status.Errorf(codes.Unavailable, "look the agent up: %v", err)
		case revoked:
			return ingest.Peer{}, status.Error(codes.PermissionDenied, "the agent is revoked")
		}
		node, err := rows.Node(ctx, peer.Name)
		if err != nil {
			return ingest.Peer{}, status.Errorf(codes.Unavailable, "look the agent up: %v", err)
		}
		return ingest.Peer{Cluster: peer.Cluster, AgentID: peer.Name, Node: node}, nil
	}
}
