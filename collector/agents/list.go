package agents

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/store"
	collectorv1 "github.com/seawall-security/seawall/proto/collector/v1"
	sensorv1 "github.com/seawall-security/seawall/proto/sensor/v1"
)

const (
	defaultPage = 100
	maxPage     = 1000
	// pageBytes ends a page early: gRPC's clients take 4 MiB in one message.
	pageBytes     = 2 << 20
	maxTokenBytes = 64 // an agent's id is a UUID
)

// Lister is the part of Management that is about agents. Who may call it is for the
// server to check.
type Lister struct{ agents *Agents }

// NewLister returns a service, to be registered as a part of Management.
func NewLister(a *Agents) *Lister { return &Lister{agents: a} }

// ListAgents implements Management.
func (s *Lister) ListAgents(ctx context.Context, r *collectorv1.ListAgentsRequest) (*collectorv1.ListAgentsResponse, error) {
	size := r.GetPageSize()
	if size == 0 {
		size = defaultPage
	}
	if size > maxPage || len(r.GetPageToken()) > maxTokenBytes {
		return nil, status.Errorf(codes.InvalidArgument, "a page has at most %d agents, its token at most %d bytes", maxPage, maxTokenBytes)
	}
	agents, next, err := s.agents.List(ctx, r.GetPageToken(), int(size))
	if err != nil {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		s.agents.log.Error("list agents", zap.Error(err))
		return nil, status.Error(codes.Internal, "list agents: the store failed; the collector's log says why")
	}
	return &collectorv1.ListAgentsResponse{Agents: agents, NextPageToken: next}, nil
}

// List returns agents whose ids follow one, at most limit, with what they said last. next
// is the id that the following page begins behind; empty: there is none.
func (a *Agents) List(ctx context.Context, after string, limit int) (agents []*collectorv1.Agent, next string, err error) {
	if err := a.flush(ctx); err != nil {
		return nil, "", err
	}
	bytes, full := 0, false
	err = a.store.View(ctx, func(tx *store.Tx) error {
		return tx.Rows(ctx, `SELECT id, cluster, first_seen_ns, last_seen_ns, hello, status, bundle_error, settings_error FROM agents
			WHERE id > ? ORDER BY id LIMIT ?`, []any{after, limit + 1}, func(scan func(...any) error) error {
			if full {
				return nil
			}
			agent, err := read(scan)
			if err != nil {
				return err
			}
			if bytes += proto.Size(agent); len(agents) == limit || len(agents) > 0 && bytes > pageBytes {
				full, next = true, agents[len(agents)-1].Id
				return nil
			}
			agents = append(agents, agent)
			return nil
		})
	})
	return agents, next, err
}

func read(scan func(...any) error) (*collectorv1.Agent, error) {
	agent, hello := &collectorv1.Agent{}, &sensorv1.Hello{}
	var first, last int64
	var helloBody, statusBody []byte
	if err := scan(&agent.Id, &agent.Cluster, &first, &last, &helloBody, &statusBody, &agent.BundleError, &agent.SettingsError); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(helloBody, hello); err != nil {
		return nil, fmt.Errorf("decode Hello of agent %s: %w", agent.Id, err)
	}
	if len(statusBody) > 0 {
		agent.Status = &sensorv1.AgentStatus{}
		if err := proto.Unmarshal(statusBody, agent.Status); err != nil {
			return nil, fmt.Errorf("decode status of agent %s: %w", agent.Id, err)
		}
	}
	agent.Node, agent.MachineId, agent.Version = hello.Node, hello.MachineId, hello.Version
	agent.Kernel, agent.Architecture, agent.Hooks = hello.Kernel, hello.Architecture, hello.Hooks
	agent.FirstSeen, agent.LastSeen = timestamppb.New(time.Unix(0, first)), timestamppb.New(time.Unix(0, last))
	return agent, nil
}
