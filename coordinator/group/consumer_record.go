package group

import (
	"slices"

	"moldau.dev/coordinator/journal"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/topicid"
)

// writeConsumer makes a consumer group's own record durable.
func (m *Machine) writeConsumer(g *consumerGroup) {
	m.write(journal.Put(kindConsumer, &coordinatorv1.ConsumerGroupRecord{
		Epoch: g.epoch, AssignmentEpoch: g.assigned, TopicsHash: g.topicsHash,
	}, g.id))
}

// tell makes durable what a member has told.
func (m *Machine) tell(g *consumerGroup, x *consumerMember, t told) {
	g.put(x)
	g.setTold(x, t)
	m.write(journal.Put(kindMember, &coordinatorv1.ConsumerMemberRecord{
		InstanceId: t.instance, RackId: t.rack, ClientId: t.clientID, ClientHost: t.clientHost, RebalanceTimeoutMs: t.rebalanceMs,
		Topics: t.topics, Regex: t.regex, ServerAssignor: t.assignor, Classic: t.classic, StreamId: t.stream,
	}, g.id, x.id))
}

// aim makes a member's target durable.
func (m *Machine) aim(g *consumerGroup, x *consumerMember, target partitions) {
	x.target = target
	m.write(journal.Put(kindTarget, &coordinatorv1.TargetRecord{Partitions: partitionsToProto(target)}, g.id, x.id))
}

// hold makes durable what a member holds.
func (m *Machine) hold(g *consumerGroup, x *consumerMember, c current) {
	g.setCurrent(x, c)
	m.write(journal.Put(kindCurrent, &coordinatorv1.CurrentRecord{
		Epoch: c.epoch, PreviousEpoch: c.previous, State: c.state, Assigned: heldToProto(c.assigned), Revoking: heldToProto(c.revoking),
	}, g.id, x.id))
}

// dropMember forgets a member and its timers.
func (m *Machine) dropMember(g *consumerGroup, x *consumerMember) {
	for _, what := range []timerKind{timerSession, timerRevoke, timerLateJoin, timerLateSync} {
		m.timers.Cancel(timer{what, g.id, x.id})
	}
	g.remove(x)
	g.staged = nil // may name it
	m.write(journal.Drop(kindCurrent, g.id, x.id))
	m.write(journal.Drop(kindTarget, g.id, x.id))
	m.write(journal.Drop(kindMember, g.id, x.id))
}

// dropConsumer forgets a consumer group with its members.
func (m *Machine) dropConsumer(g *consumerGroup) {
	for _, x := range g.inOrder() {
		m.dropMember(g, x)
	}
	delete(m.groups, g.id)
	m.timers.Cancel(timer{timerAssign, g.id, ""})
	m.write(journal.Drop(kindConsumer, g.id))
}

// replayMember finds or makes the member that a record is about. Compaction may
// leave records of members whose group's own record comes later.
func (m *Machine) replayMember(group, member string) (*consumerGroup, *consumerMember) {
	g, ok := m.groups[group].(*consumerGroup)
	if !ok {
		g = newConsumerGroup(group)
		m.groups[group] = g
	}
	x := g.members[member]
	if x == nil {
		x = &consumerMember{id: member, current: newcomer()}
		g.put(x)
	}
	return g, x
}

func (m *Machine) replayTold(group, member string, r *coordinatorv1.ConsumerMemberRecord) {
	g, x := m.replayMember(group, member)
	g.setTold(x, told{
		instance: r.GetInstanceId(), rack: r.GetRackId(), clientID: r.GetClientId(), clientHost: r.GetClientHost(),
		rebalanceMs: r.GetRebalanceTimeoutMs(), topics: r.GetTopics(), regex: r.GetRegex(), assignor: r.GetServerAssignor(), classic: r.GetClassic(),
		stream: r.GetStreamId(),
	})
}

func partitionsToProto(list partitions) (out []*coordinatorv1.TopicPartitions) {
	for _, p := range list {
		if n := len(out); n == 0 || topicid.ID(out[n-1].GetTopicId()) != p.topic {
			out = append(out, &coordinatorv1.TopicPartitions{TopicId: slices.Clone(p.topic[:])})
		}
		last := out[len(out)-1]
		last.Partitions = append(last.Partitions, p.index)
	}
	return out
}

// partitionsFromProto reads partitions of a request or a record.
func partitionsFromProto(list []*coordinatorv1.TopicPartitions) (partitions, error) {
	var all []partition
	for _, t := range list {
		id, err := topicid.FromBytes(t.GetTopicId())
		if err != nil {
			return nil, err
		}
		for _, i := range t.GetPartitions() {
			all = append(all, partition{id, i})
		}
	}
	return newPartitions(all), nil
}

func heldToProto(list holdings) (out []*coordinatorv1.HeldPartitions) {
	for _, h := range list {
		if n := len(out); n == 0 || topicid.ID(out[n-1].GetTopicId()) != h.topic {
			out = append(out, &coordinatorv1.HeldPartitions{TopicId: slices.Clone(h.topic[:])})
		}
		last := out[len(out)-1]
		last.Partitions, last.Epochs = append(last.Partitions, h.index), append(last.Epochs, h.epoch)
	}
	return out
}

func heldFromProto(list []*coordinatorv1.HeldPartitions) (holdings, error) {
	var all holdings
	for _, t := range list {
		id, err := topicid.FromBytes(t.GetTopicId())
		if err != nil {
			return nil, err
		}
		for i, p := range t.GetPartitions() {
			h := held{partition: partition{id, p}}
			if i < len(t.GetEpochs()) {
				h.epoch = t.GetEpochs()[i]
			}
			all = append(all, h)
		}
	}
	slices.SortFunc(all, compareHeld)
	return all, nil
}
