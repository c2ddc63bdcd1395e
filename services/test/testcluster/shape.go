package testcluster

import (
	"fmt"
	"slices"
	"testing"
)

// Shape is how many processes there are of each role.
type Shape struct{ Metadata, StorageNodes, Coordinators, Gateways int }

// Member is one process of a role. IDs begin at 1 and stay over restarts.
type Member struct {
	Role string
	ID   int
}

// Name tells members apart in logs.
func (m Member) Name() string {
	if m.ID == 0 {
		return m.Role
	}
	return fmt.Sprintf("%s-%d", m.Role, m.ID)
}

// members lists all processes in river order; without a shape it is one.
func (s Shape) members() []Member {
	var list []Member
	for _, role := range []struct {
		name  string
		count int
	}{{"metadata", s.Metadata}, {"storage-node", s.StorageNodes}, {"coordinator", s.Coordinators}, {"gateway", s.Gateways}} {
		for id := range role.count {
			list = append(list, Member{Role: role.name, ID: id + 1})
		}
	}
	if list == nil {
		return []Member{{Role: "up"}}
	}
	return list
}

// StartShape starts each role in processes of their own, in river order, and
// waits until all serve.
func StartShape(t testing.TB, shape Shape, opts ...Option) *Cluster {
	t.Helper()
	c := newCluster(t, opts)
	c.shape = shape
	c.start(t)
	return c
}

// WithEnv gives each process further settings, as KEY=VALUE.
func WithEnv(settings ...string) Option {
	return func(c *Cluster) { c.env = append(c.env, settings...) }
}

// WithMemberEnv gives each member settings of its own.
func WithMemberEnv(of func(Member) []string) Option {
	return func(c *Cluster) { c.own = of }
}

// Under runs members by another program, which is given with its arguments and
// must become what follows them (exec); none for those that run by themselves.
func Under(program func(Member) []string) Option {
	return func(c *Cluster) { c.under = program }
}

// Member returns the process of a member; it may have ended.
func (c *Cluster) Member(t testing.TB, m Member) *Process {
	t.Helper()
	p := c.find(m)
	if p == nil {
		t.Fatalf("no process is %s", m.Name())
	}
	return p
}

// MetadataAddr is where a metadata process serves.
func (c *Cluster) MetadataAddr(t testing.TB, m Member) string {
	t.Helper()
	return c.Member(t, m).listens[0]
}

func (c *Cluster) find(m Member) *Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.processes, func(p *Process) bool { return p.member == m })
	if i < 0 {
		return nil
	}
	return c.processes[i]
}

// StartMember starts a member whose process has ended and waits until it
// serves: gateways and metadata where they served before.
func (c *Cluster) StartMember(t testing.TB, m Member) {
	t.Helper()
	old := c.Member(t, m)
	if old.Running() {
		t.Fatalf("%s runs still", m.Name())
	}
	p := c.launch(t, m)
	c.mu.Lock()
	p.listens = old.listens // others who start meanwhile must find it too
	c.processes[slices.Index(c.processes, old)] = p
	c.mu.Unlock()
	if !c.waitReady(t, p) {
		t.Fatalf("%s ended before it was ready", m.Name())
	}
}

// AddMember starts one more process of a role and returns who it is.
func (c *Cluster) AddMember(t testing.TB, role string) Member {
	t.Helper()
	m := Member{Role: role, ID: 1}
	for _, other := range c.Members(role) {
		m.ID = max(m.ID, other.ID+1)
	}
	p := c.launch(t, m)
	c.mu.Lock()
	c.processes = append([]*Process{p}, c.processes...) // a gateway stays the last
	c.mu.Unlock()
	if !c.waitReady(t, p) {
		t.Fatalf("%s ended before it was ready", m.Name())
	}
	return m
}

// Members lists the members of a role, by id.
func (c *Cluster) Members(role string) []Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Member
	for _, p := range c.processes {
		if p.member.Role == role {
			list = append(list, p.member)
		}
	}
	slices.SortFunc(list, func(a, b Member) int { return a.ID - b.ID })
	return list
}

// GRPCAddrs are the gRPC doors of all gateways, and KafkaAddrs their Kafka
// doors.
func (c *Cluster) GRPCAddrs() []string { return c.gateways(0) }

// HTTPAddrs are the HTTP doors of all gateways.
func (c *Cluster) HTTPAddrs() []string { return c.gateways(1) }

// KafkaAddrs are the Kafka doors of all gateways.
func (c *Cluster) KafkaAddrs() []string { return c.gateways(2) }

func (c *Cluster) gateways(listener int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, p := range c.processes {
		if len(p.listens) == 3 {
			list = append(list, p.listens[listener])
		}
	}
	return list
}
