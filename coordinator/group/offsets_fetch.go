package group

import (
	"slices"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

// fetch serves a FetchOffsets. Each group has a result of its own.
func (m *Machine) fetch(q *coordinatorv1.FetchOffsetsRequest) (*coordinatorv1.FetchOffsetsResponse, error) {
	r := &coordinatorv1.FetchOffsetsResponse{}
	for _, ask := range q.GetGroups() {
		r.Groups = append(r.Groups, m.fetchGroup(ask, q.GetRequireStable()))
	}
	return r, nil
}

func (m *Machine) fetchGroup(q *coordinatorv1.FetchGroupOffsets, stableOnly bool) *coordinatorv1.GroupOffsets {
	if g, ok := m.groups[q.GetGroupId()].(*consumerGroup); ok && q.GetMemberId() != "" {
		if err := g.checkFetch(q); err != nil {
			return &coordinatorv1.GroupOffsets{Error: partError(err)}
		}
	}
	r := &coordinatorv1.GroupOffsets{}
	if q.GetAll() {
		for _, id := range m.offsets.of(q.GetGroupId()) {
			if !m.isStale(id) {
				m.fetchOne(r, id, nil, stableOnly)
			}
		}
		return r
	}
	for _, k := range q.GetKeys() {
		name, _, err := m.topicNamed(k.GetTopic(), k.GetTopicId())
		if err != nil {
			r.Offsets = append(r.Offsets, noOffset(offsetID{topic: k.GetTopic(), partition: k.GetPartition()}, k.GetTopicId()))
			r.Errors = append(r.Errors, partError(err))
			continue
		}
		m.fetchOne(r, offsetID{q.GetGroupId(), name, k.GetPartition()}, k.GetTopicId(), stableOnly)
	}
	return r
}

func (g *consumerGroup) checkFetch(q *coordinatorv1.FetchGroupOffsets) error {
	x := g.members[q.GetMemberId()]
	switch {
	case x == nil:
		return refuse(errcode.UnknownMember, "%q is no member of the group", q.GetMemberId())
	case x.epoch == q.GetMemberEpoch():
		return nil
	case x.classic != nil:
		return illegalGeneration(q.GetMemberEpoch(), x.epoch)
	default:
		return refuse(errcode.StaleMemberEpoch, "member epoch %d; the member is in %d", q.GetMemberEpoch(), x.epoch)
	}
}

// fetchOne adds one offset to a result; topicID is the one asked for, if one is.
func (m *Machine) fetchOne(r *coordinatorv1.GroupOffsets, id offsetID, topicID []byte, stableOnly bool) {
	o, err := m.offsetAnswer(id, topicID), error(nil)
	if stableOnly && m.offsets.held[id] > 0 {
		o = noOffset(id, o.GetTopicId())
		err = refuse(errcode.UnstableOffset, "a transaction holds the offset of %s-%d", id.topic, id.partition)
	}
	r.Offsets, r.Errors = append(r.Offsets, o), append(r.Errors, partError(err))
}

// offsetAnswer tells an offset, but not one of a topic of the same name that
// was deleted.
func (m *Machine) offsetAnswer(id offsetID, topicID []byte) *coordinatorv1.Offset {
	x, t := m.offsets.get(id), m.view.Topics[id.topic]
	if len(topicID) == 0 && t != nil {
		topicID = slices.Clone(t.ID[:])
	}
	if x == nil || m.isStale(id) {
		return noOffset(id, topicID)
	}
	return &coordinatorv1.Offset{
		Topic: id.topic, TopicId: topicID, Partition: id.partition,
		Offset: x.offset, LeaderEpoch: x.leaderEpoch, Metadata: x.metadata, CommitTimeMs: x.commitMs,
	}
}

// isStale tells whether an offset is of a topic that was deleted, be it that one
// of the same name is there now.
func (m *Machine) isStale(id offsetID) bool {
	x, t := m.offsets.get(id), m.view.Topics[id.topic]
	return m.isDeleted(x.topicID) || t != nil && !x.topicID.IsZero() && x.topicID != t.ID
}

func noOffset(id offsetID, topicID []byte) *coordinatorv1.Offset {
	return &coordinatorv1.Offset{Topic: id.topic, TopicId: topicID, Partition: id.partition, Offset: -1, LeaderEpoch: -1}
}

// deleteOffsets serves a DeleteOffsets: offsets of topics that a member reads
// stay (KIP-496).
func (m *Machine) deleteOffsets(q *coordinatorv1.DeleteOffsetsRequest) (*coordinatorv1.DeleteOffsetsResponse, error) {
	if err := checkGroupID(q.GetGroupId()); err != nil {
		return nil, err
	}
	g := m.groups[q.GetGroupId()]
	if g == nil {
		return nil, refuse(errcode.UnknownGroup, "there is no group %q", q.GetGroupId())
	}
	if c, ok := g.(*classicGroup); ok && c.now != empty && c.protocolType != consumerProtocolType {
		return nil, refuse(errcode.GroupNotEmpty, "group %q has members", q.GetGroupId())
	}
	r := &coordinatorv1.DeleteOffsetsResponse{}
	for _, k := range q.GetKeys() {
		name, _, err := m.topicNamed(k.GetTopic(), k.GetTopicId())
		if err == nil && g.subscribes(m, name) {
			err = refuse(errcode.GroupSubscribed, "a member of group %q subscribes to %s", q.GetGroupId(), name)
		}
		if err == nil {
			m.forgetOffset(offsetID{q.GetGroupId(), name, k.GetPartition()})
		}
		r.Errors = append(r.Errors, partError(err))
	}
	return r, nil
}
