package enrol

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/seawall-security/seawall/collector/store"
	"github.com/seawall-security/seawall/internal/tlsconf"
)

// Revocations are who may not come any more, as the store had it at one moment.
type Revocations struct {
	agents  map[string]bool
	clients map[string]time.Time // certificates made up to then
}

// Revocations reads them.
func (r *Rows) Revocations(ctx context.Context) (*Revocations, error) {
	all := &Revocations{agents: make(map[string]bool), clients: make(map[string]time.Time)}
	err := r.store.View(ctx, func(tx *store.Tx) error {
		err := tx.Rows(ctx, "SELECT agent_id FROM enrolments WHERE revoked_ns <> 0", nil, func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			all.agents[id] = true
			return err
		})
		if err != nil {
			return err
		}
		return tx.Rows(ctx, "SELECT name, revoked_ns FROM revoked_clients", nil, func(scan func(...any) error) error {
			var name string
			var at int64
			err := scan(&name, &at)
			all.clients[name] = time.Unix(0, at)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read who is revoked: %w", err)
	}
	return all, nil
}

// Has tells whether a peer is among them.
func (r *Revocations) Has(p tlsconf.Peer) bool {
	switch p.Role {
	case tlsconf.Agent:
		return r.agents[p.Name]
	case tlsconf.Client:
		return r.HasClient(p.Name, made(p.Certificate))
	}
	return false
}

// HasClient tells whether a client's certificate of that time is among them.
func (r *Revocations) HasClient(name string, made time.Time) bool {
	until, revoked := r.clients[name]
	return revoked && !made.After(until)
}

// made is when this CA made a certificate, in whole seconds, rounded down.
func made(certificate *x509.Certificate) time.Time { return certificate.NotBefore.Add(backdate) }

// RevokeClient ends the certificates that a client was given so far: one that is made
// later, under the same name, is good. Which there are nobody keeps, so any name can be
// revoked.
func (r *Rows) RevokeClient(ctx context.Context, name string, at time.Time) error {
	if err := (tlsconf.Identity{Cluster: "any", Role: tlsconf.Client, Name: name, Access: tlsconf.Viewer}).Check(); err != nil {
		return fmt.Errorf("revoke client: %w", err)
	}
	return r.store.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO revoked_clients (name, revoked_ns) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET revoked_ns = excluded.revoked_ns`, name, at.UnixNano())
		return err
	})
}
