package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
	"go.uber.org/zap"
)

// DefaultAddress is where containerd listens unless told otherwise.
const DefaultAddress = "/run/containerd/containerd.sock"

const (
	callTimeout = 2 * time.Second // of one request
	listTimeout = 30 * time.Second
	backoffMin  = 100 * time.Millisecond
	backoffMax  = 2 * time.Second // a daemon that appears is found within this
	sweepPeriod = 30 * time.Second
)

// Containerd names a table's candidates by what a containerd daemon tells. The
// daemon may be absent, restart or appear later; a table works without it.
//
// The methods but Connection belong to the goroutine of Run.
type Containerd struct {
	address string
	table   *Table
	tree    *Hierarchy
	log     *zap.Logger

	facts facts

	mu         sync.Mutex // guards connection
	connection Connection
}

// Connection is how an agent stands with its runtime.
type Connection struct {
	Connected bool
	Since     time.Time // of this state
	Version   string    // of the daemon last connected to
	Err       error     // why it is not connected
	Connects  uint64
}

// NewContainerd returns a client of the daemon that listens at address, a path
// (empty: DefaultAddress). Without a hierarchy, tasks cannot be compared with
// their cgroups, and only specifications count. Run does everything.
func NewContainerd(address string, table *Table, log *zap.Logger) *Containerd {
	if address == "" {
		address = DefaultAddress
	}
	return &Containerd{
		address: address, table: table, tree: table.options.Hierarchy, log: log.Named("containerd"),
		facts:      facts{limit: table.options.MaxContainers, byKey: make(map[factKey]*generations)},
		connection: Connection{Since: table.now(), Err: errNotTried},
	}
}

var (
	errNotTried    = errors.New("not tried yet")
	errStreamEnded = errors.New("the daemon ended the event stream")
)

// Connection returns the state of this moment.
func (c *Containerd) Connection() Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connection
}

func (c *Containerd) setConnected(version string) {
	c.table.reachable(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connection = Connection{
		Connected: true, Since: c.table.now(), Version: version, Connects: c.connection.Connects + 1,
	}
}

// setLost returns whether that is news.
func (c *Containerd) setLost(err error) bool {
	c.table.reachable(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.connection.Connected || errors.Is(c.connection.Err, errNotTried)
	if c.connection.Connected {
		c.connection.Since = c.table.now()
	}
	c.connection.Connected, c.connection.Err = false, err
	return news
}

// Run connects, listens and answers the table's questions until ctx ends, then
// returns nil. Whatever goes wrong with the daemon is tried again.
func (c *Containerd) Run(ctx context.Context) error {
	pause := backoffMin
	for {
		connects := c.Connection().Connects
		err := c.session(ctx)
		if ctx.Err() != nil {
			c.setLost(ctx.Err())
			return nil
		}
		if c.setLost(err) {
			c.log.Info("disconnected", zap.String("address", c.address), zap.Error(err))
		}
		if c.Connection().Connects > connects {
			pause = backoffMin
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, backoffMax)
	}
}

// topics are the events that tell of containers and their tasks.
var topics = []string{
	`topic=="/containers/create"`, `topic=="/containers/update"`, `topic=="/containers/delete"`,
	`topic=="/tasks/create"`, `topic=="/tasks/start"`, `topic=="/namespaces/create"`,
}

// session lasts as long as one connection.
func (c *Containerd) session(ctx context.Context) error {
	// The client waits long for a socket that is not there: look first.
	var dialer net.Dialer
	probe, err := dialer.DialContext(ctx, "unix", c.address)
	if err != nil {
		return fmt.Errorf("dial containerd: %w", err)
	}
	probe.Close()
	client, err := containerd.New(c.address, containerd.WithTimeout(callTimeout))
	if err != nil {
		return fmt.Errorf("open containerd client: %w", err)
	}
	defer client.Close()
	d := daemon{client: client}

	version, err := d.version(ctx)
	if err != nil {
		return err
	}
	// Subscribe first: what is created after the list is in the stream.
	stream, cancel := context.WithCancel(ctx)
	envelopes, errs := client.Subscribe(stream, topics...)
	defer func() { // the client's goroutine closes errs as it ends
		cancel()
		for range errs {
		}
	}()
	if err := c.list(ctx, d); err != nil {
		return err
	}
	c.setConnected(version)
	c.log.Info("connected", zap.String("address", c.address), zap.String("version", version))
	return c.serve(ctx, d, envelopes, errs)
}

func (c *Containerd) serve(ctx context.Context, d daemon, envelopes <-chan *events.Envelope, errs <-chan error) error {
	if err := c.answerAll(ctx, d, c.table.questions(true, "")); err != nil {
		return err
	}
	sweep := time.NewTicker(sweepPeriod)
	defer sweep.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err = <-errs:
			if err == nil {
				err = errStreamEnded
			}
			return fmt.Errorf("receive containerd events: %w", err)
		case envelope := <-envelopes:
			err = c.take(ctx, d, envelope)
		case <-c.table.ask:
			err = c.answerAll(ctx, d, c.table.questions(false, ""))
		case <-sweep.C:
			c.sweep()
		}
		if err != nil {
			return err
		}
	}
}

// sweep forgets what was removed longer ago than the retention.
func (c *Containerd) sweep() {
	for _, path := range c.facts.sweep(c.table.now().Add(-c.table.options.Retention)) {
		c.table.forget(path)
	}
}

// list reads all containers. Those that are known but no longer there were
// removed while nobody listened.
func (c *Containerd) list(ctx context.Context, d daemon) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	names, err := d.namespaces(ctx)
	if err != nil {
		return err
	}
	c.facts.namespaces = nil
	there := make(map[factKey]struct{})
	for _, namespace := range names {
		c.facts.addNamespace(namespace)
		listed, err := d.containers(ctx, namespace)
		if err != nil {
			return err
		}
		for _, metadata := range listed {
			if len(there) >= c.facts.limit {
				break
			}
			there[factKey{namespace, metadata.ID}] = struct{}{}
			f := newFact(namespace, metadata, d.digest(ctx, namespace, metadata.Image))
			if err := c.learn(ctx, d, f, true); err != nil {
				return err
			}
		}
	}
	for key := range c.facts.byKey {
		if _, ok := there[key]; !ok {
			c.facts.release(key, c.table.now())
		}
	}
	return nil
}

// learn keeps a container's facts and names its cgroup if that is known already.
// running looks for a task where the specification does not tell the cgroup.
func (c *Containerd) learn(ctx context.Context, d daemon, f *fact, running bool) error {
	f = c.facts.keep(f, c.table.now())
	path := f.path
	if running && (path == "" || !c.exists(path)) {
		own, err := c.taskCgroup(ctx, d, f)
		if err != nil {
			return err
		}
		if own != "" {
			path = own
		}
	}
	if path == "" {
		return nil
	}
	f.announced = c.table.expect(path, f.container.ID)
	q, ok := c.table.candidateAt(path)
	if !ok && running && c.exists(path) {
		c.table.replace(path)
		q, ok = c.table.candidateAt(path)
	}
	if !ok {
		return nil
	}
	return c.compare(ctx, d, f, q)
}

func (c *Containerd) exists(path string) bool {
	if c.tree == nil {
		return false
	}
	_, err := c.tree.Lookup(path)
	return err == nil
}

// take follows one event. Events of unknown types are none of ours.
func (c *Containerd) take(ctx context.Context, d daemon, envelope *events.Envelope) error {
	namespace := envelope.Namespace
	decoded, err := typeurl.UnmarshalAny(envelope.Event)
	if err != nil {
		c.log.Debug("event not understood", zap.String("topic", envelope.Topic), zap.Error(err))
		return nil
	}
	switch e := decoded.(type) {
	case *apievents.NamespaceCreate:
		c.facts.addNamespace(e.Name)
	case *apievents.ContainerCreate:
		c.facts.addNamespace(namespace)
		f, err := c.fetch(ctx, d, namespace, e.ID)
		if err != nil {
			return err
		}
		if f == nil { // it is gone already: the event is all there will ever be
			f = partialFact(namespace, e.ID, e.Image, envelope.Timestamp)
		}
		if err := c.learn(ctx, d, f, false); err != nil {
			return err
		}
		return c.answerAll(ctx, d, c.table.questions(true, e.ID)) // asked too early, perhaps
	case *apievents.ContainerUpdate:
		f, err := c.fetch(ctx, d, namespace, e.ID)
		if err != nil || f == nil {
			return err
		}
		return c.learn(ctx, d, f, true)
	case *apievents.ContainerDelete:
		c.facts.release(factKey{namespace, e.ID}, c.table.now())
	case *apievents.TaskCreate:
		return c.taskSeen(ctx, d, namespace, e.ContainerID)
	case *apievents.TaskStart:
		return c.taskSeen(ctx, d, namespace, e.ContainerID)
	}
	return nil
}

// taskSeen looks again at a container that has a task now.
func (c *Containerd) taskSeen(ctx context.Context, d daemon, namespace, id string) error {
	if f := c.facts.newest(factKey{namespace, id}); f != nil && f.path == "" && !f.partial {
		if err := c.learn(ctx, d, f, true); err != nil {
			return err
		}
	}
	return c.answerAll(ctx, d, c.table.questions(true, id))
}
