package group

import (
	"slices"
	"strings"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// list serves a ListGroups.
func (m *Machine) list(q *coordinatorv1.ListGroupsRequest) (*coordinatorv1.ListGroupsResponse, error) {
	among := func(list []string, s string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
	}
	r := &coordinatorv1.ListGroupsResponse{}
	for _, id := range sortedKeys(m.groups) {
		g := m.groups[id]
		if among(q.GetStates(), g.state()) && among(q.GetTypes(), g.kind()) {
			r.Groups = append(r.Groups, &coordinatorv1.ListedGroup{GroupId: id, ProtocolType: g.protocol(), State: g.state(), Type: g.kind()})
		}
	}
	return r, nil
}

// describe serves a DescribeGroups. Each group has a result of its own.
func (m *Machine) describe(q *coordinatorv1.DescribeGroupsRequest) (*coordinatorv1.DescribeGroupsResponse, error) {
	r := &coordinatorv1.DescribeGroupsResponse{}
	for _, id := range q.GetGroupIds() {
		switch g := m.groups[id].(type) {
		case *classicGroup:
			r.Groups = append(r.Groups, g.described())
		case *consumerGroup:
			r.Groups = append(r.Groups, m.describeConsumer(g))
		default:
			r.Groups = append(r.Groups, &coordinatorv1.Group{GroupId: id, Error: partError(refuse(errcode.UnknownGroup, "there is no group %q", id))})
		}
	}
	return r, nil
}

// described tells of a classic group; what its members assign is told of a
// stable one alone.
func (g *classicGroup) described() *coordinatorv1.Group {
	r := &coordinatorv1.Group{GroupId: g.id, Type: g.kind(), State: g.state(), ProtocolType: g.protocolType, Epoch: g.generation}
	if g.now == stable {
		r.ProtocolName = g.protocolName
	}
	for _, x := range g.inOrder() {
		d := &coordinatorv1.Member{MemberId: x.id, InstanceId: x.instance, ClientId: x.clientID, ClientHost: x.clientHost}
		if g.now == stable {
			d.Metadata, d.Assignment = x.metadata(g.protocolName), x.assignment
		}
		r.Members = append(r.Members, d)
	}
	return r
}

func (m *Machine) describeConsumer(g *consumerGroup) *coordinatorv1.Group {
	r := &coordinatorv1.Group{
		GroupId: g.id, Type: g.kind(), State: g.state(), ProtocolType: consumerProtocolType, ProtocolName: m.preferred(g),
		Epoch: g.epoch, AssignmentEpoch: g.assigned,
	}
	for _, x := range g.inOrder() {
		d := &coordinatorv1.Member{
			MemberId: x.id, InstanceId: x.instance, ClientId: x.clientID, ClientHost: x.clientHost, RackId: x.rack,
			MemberEpoch: x.epoch, Subscription: &coordinatorv1.Subscription{Topics: x.topics, HasTopics: true},
			Owned:      &coordinatorv1.Ownership{Partitions: partitionsToProto(x.assigned.partitions())},
			Target:     &coordinatorv1.Ownership{Partitions: partitionsToProto(x.target)},
			MemberType: 1,
		}
		if x.regex != "" {
			d.Subscription.Regex = &x.regex
		}
		if x.classic != nil {
			d.MemberType = 0
		}
		r.Members = append(r.Members, d)
	}
	return r
}

// deleteGroups serves a DeleteGroups: groups without members, with their
// offsets. Each has a result of its own.
func (m *Machine) deleteGroups(q *coordinatorv1.DeleteGroupsRequest) (*coordinatorv1.DeleteGroupsResponse, error) {
	r := &coordinatorv1.DeleteGroupsResponse{}
	for _, id := range q.GetGroupIds() {
		r.Errors = append(r.Errors, partError(m.deleteGroup(id)))
	}
	return r, nil
}

func (m *Machine) deleteGroup(id string) error {
	g := m.groups[id]
	switch {
	case g == nil:
		return refuse(errcode.UnknownGroup, "there is no group %q", id)
	case !g.isEmpty():
		return refuse(errcode.GroupNotEmpty, "group %q has members", id)
	}
	for _, o := range m.offsets.of(id) {
		m.forgetOffset(o)
	}
	for _, pid := range sortedKeys(m.offsets.pending) {
		for _, o := range sortedOffsets(m.offsets.pending[pid]) {
			if o.group == id {
				m.forgetPending(pid, o)
			}
		}
	}
	m.dropGroup(g)
	return nil
}

// Counts tell what a shard has and has done since it was loaded.
type Counts struct {
	Classic, Consumer, Members, Offsets int   // now
	Rebalances, Commits, Expired        int64 // since it was loaded
}

// Add adds those of another shard.
func (c *Counts) Add(o *Counts) {
	c.Classic, c.Consumer, c.Members, c.Offsets = c.Classic+o.Classic, c.Consumer+o.Consumer, c.Members+o.Members, c.Offsets+o.Offsets
	c.Rebalances, c.Commits, c.Expired = c.Rebalances+o.Rebalances, c.Commits+o.Commits, c.Expired+o.Expired
}

// Count asks a Machine for its Counts; the answer is a *Counts.
type Count struct{}

func (m *Machine) count() Counts {
	c := m.counts
	for _, g := range m.groups {
		switch g := g.(type) {
		case *classicGroup:
			c.Classic++
			c.Members += len(g.members)
		case *consumerGroup:
			c.Consumer++
			c.Members += len(g.members)
		}
	}
	for _, o := range m.offsets.groups {
		c.Offsets += o.count
	}
	return c
}
