package group

import (
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

// commitBy is who commits.
type commitBy struct {
	member, instance string
	epoch            int32 // generation or member epoch; below 0 from outside the group
	transactional    bool
	legacy           bool // OffsetCommit before version 9
	each             bool // each partition must be held
}

// maxNameBytes is the longest name that a topic can have.
const maxNameBytes = 249

// commit serves a CommitOffsets. A group that is not there is made for whoever
// commits from outside of it: it holds offsets and nothing else.
func (m *Machine) commit(q *coordinatorv1.CommitOffsetsRequest) (*coordinatorv1.CommitOffsetsResponse, error) {
	by := commitBy{member: q.GetMemberId(), instance: q.GetInstanceId(), epoch: q.GetGeneration(), legacy: q.GetLegacy(), each: q.GetEach()}
	g, allow, err := m.committer(q.GetGroupId(), by)
	if err != nil {
		return nil, err
	}
	if !q.GetEach() {
		if err := m.allowAll(allow, q.GetOffsets()); err != nil {
			return nil, err
		}
		allow = nil
	}
	if c, ok := g.(*classicGroup); ok && (c.now == stable || c.now == preparing) && c.members[by.member] != nil {
		m.touch(c, c.members[by.member])
	}
	r := &coordinatorv1.CommitOffsetsResponse{}
	for _, o := range q.GetOffsets() {
		id, x, err := m.newOffset(q.GetGroupId(), o)
		if err == nil && allow != nil {
			err = allow(id.topic, id.partition)
		}
		if err == nil {
			m.storeOffset(id, x)
		}
		r.Errors = append(r.Errors, partError(err))
	}
	return r, nil
}

// allowAll asks allow, unless it is nil, about each partition.
func (m *Machine) allowAll(allow func(string, int32) error, offsets []*coordinatorv1.Offset) error {
	if allow == nil {
		return nil
	}
	for _, o := range offsets {
		name, _, err := m.topicNamed(o.GetTopic(), o.GetTopicId())
		if err != nil {
			continue // refused by itself later
		}
		if err := allow(name, o.GetPartition()); err != nil {
			return err
		}
	}
	return nil
}

// committer finds the group that is committed to, and whether it may be.
func (m *Machine) committer(id string, by commitBy) (group, func(string, int32) error, error) {
	if len(id) > maxIDBytes {
		return nil, nil, refuse(errcode.InvalidGroupID, "a group id of %d bytes; at most %d", len(id), maxIDBytes)
	}
	g := m.groups[id]
	if g == nil {
		switch {
		case by.epoch < 0:
			g = newClassicGroup(id, m.nowMs())
			m.groups[id] = g
		case by.legacy || by.transactional:
			return nil, nil, refuse(errcode.IllegalGeneration, "there is no group %q", id)
		default:
			return nil, nil, refuse(errcode.UnknownGroup, "there is no group %q", id)
		}
	}
	allow, err := g.mayCommit(m, by)
	return g, allow, err
}

// mayCommit implements group (items 64 and 65).
func (g *classicGroup) mayCommit(_ *Machine, by commitBy) (func(string, int32) error, error) {
	switch {
	case by.epoch < 0 && g.now == empty:
		return nil, nil // from outside, and nobody is inside
	case by.epoch >= 0 || by.member != "" || by.instance != "":
		if err := g.check(by.member, by.instance); err != nil {
			return nil, err
		}
		if by.epoch != g.generation {
			return nil, illegalGeneration(by.epoch, g.generation)
		}
	case !by.transactional: // older transactional commits do not say who commits
		return nil, refuse(errcode.UnknownMember, "group %q has members: only they commit", g.id)
	}
	if !by.transactional && g.now == completing {
		return nil, refuse(errcode.RebalanceInProgress, "the group rebalances")
	}
	return nil, nil
}

// mayCommit implements group. An epoch that has passed is good for partitions
// that the member had then and still has (KIP-1251).
func (g *consumerGroup) mayCommit(m *Machine, by commitBy) (func(string, int32) error, error) {
	if by.epoch < 0 && len(g.members) == 0 {
		return nil, nil
	}
	x := g.members[by.member]
	switch {
	case x == nil:
		return nil, refuse(errcode.UnknownMember, "%q is no member of the group", by.member)
	case !by.transactional && x.classic == nil && by.legacy:
		return nil, refuse(errcode.Unimplemented, "members of the next-generation protocol commit by OffsetCommit version 9 or later")
	case by.epoch == x.epoch && !by.each:
		return nil, nil
	case x.classic != nil:
		return nil, illegalGeneration(by.epoch, x.epoch)
	case by.epoch < 0 || by.epoch > x.epoch:
		return nil, staleEpoch(by, x)
	}
	return func(topic string, index int32) error {
		if t := m.view.Topics[topic]; t != nil {
			p := partition{t.ID, index}
			for _, list := range []holdings{x.assigned, x.revoking} {
				if h, has := list.find(p); has && h.epoch <= by.epoch {
					return nil
				}
			}
		}
		return staleEpoch(by, x)
	}, nil
}

func staleEpoch(by commitBy, x *consumerMember) error {
	if by.transactional {
		return illegalGeneration(by.epoch, x.epoch)
	}
	return refuse(errcode.StaleMemberEpoch, "member epoch %d; the member is in %d", by.epoch, x.epoch)
}

// newOffset checks one offset of a request.
func (m *Machine) newOffset(group string, o *coordinatorv1.Offset) (offsetID, *offset, error) {
	name, topic, err := m.topicNamed(o.GetTopic(), o.GetTopicId())
	id := offsetID{group, name, o.GetPartition()}
	switch {
	case err != nil:
		return id, nil, err
	case name == "" || len(name) > maxNameBytes || o.GetPartition() < 0:
		return id, nil, refuse(errcode.UnknownTopic, "%q-%d names no partition", name, o.GetPartition())
	case len(o.GetMetadata()) > m.cfg.MaxMetadataBytes:
		return id, nil, refuse(errcode.OffsetMetadataTooLarge, "metadata of %d bytes; at most %d", len(o.GetMetadata()), m.cfg.MaxMetadataBytes)
	}
	if g := m.offsets.groups[group]; g != nil && g.topics[name][id.partition] == nil && g.bytes > m.maxBytes/2 {
		return id, nil, refuse(errcode.ResourceExhausted, "group %q has the %d offsets that one may have", group, g.count)
	}
	if m.bytes+2*id.size()+len(o.GetMetadata()) > m.maxBytes-m.maxBytes/8 {
		return id, nil, refuse(errcode.ResourceExhausted, "too many offsets for one request")
	}
	m.offsets.lastOrder++
	x := &offset{
		offset: o.GetOffset(), leaderEpoch: o.GetLeaderEpoch(), metadata: o.GetMetadata(), commitMs: m.nowMs(), expireMs: -1, order: m.offsets.lastOrder,
	}
	if o.GetRetentionMs() > 0 {
		x.expireMs = m.nowMs() + o.GetRetentionMs()
	}
	if topic != nil {
		x.topicID = topic.ID
	}
	return id, x, nil
}

// topicNamed finds a topic by its name, or by its id where that is given. The
// topic is nil where it is not known here, as metadata may be behind.
func (m *Machine) topicNamed(name string, id []byte) (string, *metadataclient.Topic, error) {
	if len(id) == 0 {
		return name, m.view.Topics[name], nil
	}
	topicID, err := topicid.FromBytes(id)
	if err != nil {
		return "", nil, refuse(errcode.InvalidArgument, "%v", err)
	}
	if t := m.view.TopicsByID[topicID]; t != nil {
		return t.Name, t, nil
	}
	if _, deleted := m.view.Deleted[topicID]; deleted || name == "" {
		return name, nil, refuse(errcode.UnknownTopicID, "no topic has id %s", topicID)
	}
	return name, &metadataclient.Topic{ID: topicID, Name: name}, nil
}
