package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"moldau.dev/services/clock"
)

const (
	blockingWait    = 30 * time.Second // for which Consul holds a query where nothing changes
	blockingGrace   = 10 * time.Second
	requestPatience = 5 * time.Second
	retryPause      = time.Second // after a failure, and at least between two answers that change nothing
)

// Consul finds and announces instances in Consul's catalog. What is found are
// instances whose health check passes, as the agents see it; whoever must know
// who lives asks metadata (C8).
type Consul struct {
	client *api.Client
	names  string // of services, before the role
	clk    clock.Clock
	log    *slog.Logger
}

// NewConsul returns a catalog that reaches Consul when first used.
func NewConsul(cfg ConsulConfig, clk clock.Clock, log *slog.Logger) (*Consul, error) {
	client, err := cfg.Client()
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	return &Consul{client: client, names: serviceNames(cfg.Prefix), clk: clk, log: log}, nil
}

// serviceNames makes a prefix of keys one of services, whose names are DNS
// labels.
func serviceNames(prefix string) string {
	return strings.ReplaceAll(strings.Trim(prefix, "/"), "/", "-") + "-"
}

// Service returns the name under which instances of role are in the catalog.
func (c *Consul) Service(role string) string { return c.names + role }

// Watch implements Source. While Consul cannot be reached the last list stays.
func (c *Consul) Watch(ctx context.Context, role string, update func([]Instance)) error {
	var last []Instance
	for index, first := uint64(0), true; ; {
		next, list, err := c.look(ctx, role, index)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.log.Warn("cannot look up instances", "role", role, "error", err)
		case first || !slices.Equal(list, last):
			first, last = false, list
			update(slices.Clone(list))
			index = next
			continue
		}
		if index = next; err != nil {
			index = 0
		}
		c.sleep(ctx, retryPause)
	}
}

// look returns the instances of role, once the catalog has changed since index;
// 0 is at once. An index that went back counts as 0 (C13).
func (c *Consul) look(ctx context.Context, role string, index uint64) (next uint64, list []Instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, blockingWait+blockingGrace)
	defer cancel()
	q := (&api.QueryOptions{WaitIndex: index, WaitTime: blockingWait}).WithContext(ctx)
	entries, meta, err := c.client.Health().Service(c.Service(role), "", true, q)
	if err != nil {
		return 0, nil, err
	}
	for _, e := range entries {
		list = append(list, instanceOf(e.Service))
	}
	slices.SortFunc(list, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	if next = meta.LastIndex; next < index {
		next = 0
	}
	return next, list, nil
}

func (c *Consul) sleep(ctx context.Context, d time.Duration) {
	timer := c.clk.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

// The metadata of a service in the catalog.
const (
	metaID   = "instance"
	metaRack = "rack"
)

func instanceOf(s *api.AgentService) Instance {
	return Instance{ID: s.Meta[metaID], Addr: net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), Rack: s.Meta[metaRack]}
}

// registration is the way back, with a health check that the agent makes: the
// gRPC health service of the instance.
func (c *Consul) registration(role string, i Instance, extra map[string]string) (*api.AgentServiceRegistration, error) {
	host, text, err := net.SplitHostPort(i.Addr)
	if err != nil {
		return nil, fmt.Errorf("discovery: address of %s %s: %w", role, i.ID, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("discovery: port of %s %s: %w", role, i.ID, err)
	}
	meta := maps.Clone(extra)
	if meta == nil {
		meta = map[string]string{}
	}
	meta[metaID], meta[metaRack] = i.ID, i.Rack
	return &api.AgentServiceRegistration{
		ID: c.Service(role) + "-" + i.ID, Name: c.Service(role), Address: host, Port: port, Meta: meta,
		Check: &api.AgentServiceCheck{
			Name: "gRPC health", GRPC: i.Addr, Interval: checkInterval.String(), Timeout: checkTimeout.String(),
			DeregisterCriticalServiceAfter: forgetAfter.String(),
		},
	}, nil
}
