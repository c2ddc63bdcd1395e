package native

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// Commit stores how far a member has come, and gives up what it was asked to.
func (s *Server) Commit(ctx context.Context, req *moldauv1.CommitRequest) (*moldauv1.CommitResponse, error) {
	if err := checkMember(req.GetGroupId(), req.GetMemberId(), req.GetMemberEpoch()); err != nil {
		return nil, err
	}
	resp := &moldauv1.CommitResponse{Origin: s.origin()}
	if len(req.GetOffsets()) > 0 || !req.GetRelease() {
		var err error
		if resp.Offsets, err = s.commitAs(ctx, req.GetGroupId(), req.GetMemberId(), req.GetMemberEpoch(), req.GetOffsets()); err != nil {
			return nil, err
		}
	}
	m := s.consumers.of(req.GetGroupId(), req.GetMemberId())
	if !req.GetRelease() {
		if m != nil {
			m.stored(s, resp.GetOffsets())
			m.poke()
		}
		return resp, nil
	}
	err := s.releaseAs(ctx, req.GetGroupId(), req.GetMemberId())
	if m != nil {
		m.stored(s, resp.GetOffsets())
		m.hurry()
	}
	return resp, err
}

func checkMember(group, id string, epoch int32) error {
	if err := checkGroupID(group); err != nil {
		return err
	}
	if id == "" {
		return invalid("member_id", "a member's id is needed")
	}
	if epoch < 1 {
		return invalid("member_epoch", "%d is no epoch of a member", epoch)
	}
	return nil
}

// commitAs commits as a member: whatever it no longer holds has an error.
func (s *Server) commitAs(ctx context.Context, group, id string, epoch int32, offsets []*moldauv1.GroupOffset) ([]*moldauv1.GroupOffset, error) {
	checked, err := s.checkCommit(&moldauv1.CommitOffsetsRequest{GroupId: group, Offsets: offsets})
	if err != nil {
		return nil, err
	}
	errs, err := coordinated(ctx, s, func(ctx context.Context) ([]*coordinatorv1.PartError, error) {
		resp, err := s.coordinators.CommitOffsets(ctx, &coordinatorv1.CommitOffsetsRequest{
			GroupId: group, MemberId: id, Generation: epoch, Offsets: checked, Each: true,
		})
		if err == nil && len(resp.GetErrors()) != len(checked) {
			return nil, errcode.New(errcode.Internal, "a coordinator answered for %d offsets, %d were sent", len(resp.GetErrors()), len(checked))
		}
		return resp.GetErrors(), err
	})
	if err != nil {
		return nil, err
	}
	stored := make([]*moldauv1.GroupOffset, len(offsets))
	for i, o := range offsets {
		stored[i] = &moldauv1.GroupOffset{Topic: o.GetTopic(), Partition: o.GetPartition(), Offset: o.GetOffset(), LeaderEpoch: o.LeaderEpoch, Metadata: o.GetMetadata()}
		if err := partError(errs[i]); err != nil {
			stored[i].Error = rangeError(err, nil)
		}
	}
	return stored, nil
}

// releaseAs tells the coordinator, beside the member's stream, that the member
// has nothing but what it shall have.
func (s *Server) releaseAs(ctx context.Context, group, id string) error {
	for {
		m, err := s.memberOf(ctx, group, id)
		if err != nil {
			return err
		}
		_, err = coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.HeartbeatMemberResponse, error) {
			return s.coordinators.HeartbeatMember(ctx, &coordinatorv1.HeartbeatMemberRequest{
				GroupId: group, MemberId: id, MemberEpoch: m.GetMemberEpoch(), RebalanceTimeoutMs: -1, Owned: m.GetOwned(),
				ClientId: m.GetClientId(), ClientHost: m.GetClientHost(),
			})
		})
		if !errcode.Is(err, errcode.FencedMemberEpoch) || !s.pause(ctx, firstCoordinatorPause) {
			return err // else the epoch has moved in between
		}
	}
}

// memberOf looks a member of a group up.
func (s *Server) memberOf(ctx context.Context, group, id string) (*coordinatorv1.Member, error) {
	g, err := s.describeGroup(ctx, group)
	if err != nil {
		return nil, err
	}
	if groupTypes[g.GetType()] == moldauv1.GroupType_GROUP_TYPE_CONSUMER {
		for _, m := range g.GetMembers() {
			if m.GetMemberId() == id {
				return m, nil
			}
		}
	}
	return nil, errcode.New(errcode.UnknownMember, "%q is no member of the group", clip(id))
}

// Seek moves a member to other places.
func (s *Server) Seek(ctx context.Context, req *moldauv1.SeekRequest) (*moldauv1.SeekResponse, error) {
	if err := checkMember(req.GetGroupId(), req.GetMemberId(), req.GetMemberEpoch()); err != nil {
		return nil, err
	}
	if n := len(req.GetTopics()); n == 0 || n > maxReadTopics {
		return nil, invalid("topics", "%d topics, 1 to %d are allowed", n, maxReadTopics)
	}
	m, err := s.memberOf(ctx, req.GetGroupId(), req.GetMemberId())
	if err != nil {
		return nil, err
	}
	offsets, err := s.soughtPlaces(ctx, req.GetTopics(), partitionsOf(m.GetOwned()))
	if err != nil {
		return nil, err
	}
	resp := &moldauv1.SeekResponse{}
	if resp.Offsets, err = s.commitAs(ctx, req.GetGroupId(), req.GetMemberId(), req.GetMemberEpoch(), offsets); err != nil {
		return nil, err
	}
	stream := soughtBy + rand.Text()
	taken, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.HeartbeatMemberResponse, error) {
		return s.coordinators.HeartbeatMember(ctx, &coordinatorv1.HeartbeatMemberRequest{
			GroupId: req.GetGroupId(), MemberId: req.GetMemberId(), MemberEpoch: req.GetMemberEpoch(), RebalanceTimeoutMs: -1,
			StreamId: &stream, TakeOver: true, ClientId: m.GetClientId(), ClientHost: m.GetClientHost(),
		})
	})
	if err != nil {
		return nil, err
	}
	if m := s.consumers.of(req.GetGroupId(), req.GetMemberId()); m != nil {
		m.hurry()
	}
	resp.ResumeToken = s.signMembership(membership{group: req.GetGroupId(), member: req.GetMemberId(), epoch: taken.GetMemberEpoch()})
	resp.Origin = s.origin()
	return resp, nil
}

// soughtPlaces are the offsets that places stand for, in partitions that are
// held.
func (s *Server) soughtPlaces(ctx context.Context, topics []*moldauv1.ReadTopic, held []storageclient.PartitionID) ([]*moldauv1.GroupOffset, error) {
	byTopic := map[topicid.ID][]int32{}
	for _, id := range held {
		byTopic[id.Topic] = append(byTopic[id.Topic], id.Index)
	}
	var ids []storageclient.PartitionID
	var positions []*moldauv1.Position
	var offsets []*moldauv1.GroupOffset
	seen := map[storageclient.PartitionID]bool{}
	for i, rt := range topics {
		field := func(name string) string { return fmt.Sprintf("topics[%d].%s", i, name) }
		t, err := s.topic(rt.GetTopic(), field("topic"))
		if err != nil {
			return nil, err
		}
		if err := checkPosition(rt.GetPosition(), field("position")); err != nil {
			return nil, err
		}
		parts := rt.GetPartitions()
		if len(parts) == 0 || rt.GetWhole() {
			for _, index := range byTopic[t.ID] {
				if !slices.ContainsFunc(parts, func(p *moldauv1.ReadPartition) bool { return p.GetPartition() == index }) {
					parts = append(slices.Clip(parts), &moldauv1.ReadPartition{Partition: index})
				}
			}
		}
		for _, p := range parts {
			id := storageclient.PartitionID{Topic: t.ID, Index: p.GetPartition()}
			switch {
			case !slices.Contains(byTopic[t.ID], id.Index):
				return nil, errcode.New(errcode.UnknownPartition, "the member does not hold %s[%d]", t.Name, id.Index).WithField(field("partitions"))
			case seen[id]:
				return nil, invalid(field("partitions"), "%s[%d] is named twice", t.Name, id.Index)
			}
			at := cmp.Or(p.GetPosition(), rt.GetPosition())
			if err := checkPosition(at, field("partitions.position")); err != nil {
				return nil, err
			}
			seen[id], ids, positions = true, append(ids, id), append(positions, at)
			offsets = append(offsets, &moldauv1.GroupOffset{Topic: t.Name, Partition: id.Index})
		}
	}
	places, err := s.resolve(ctx, ids, positions, false)
	if err != nil {
		return nil, err
	}
	for i := range offsets {
		offsets[i].Offset = places[i].offset
	}
	slices.SortFunc(offsets, func(a, b *moldauv1.GroupOffset) int {
		return cmp.Or(cmp.Compare(a.GetTopic(), b.GetTopic()), cmp.Compare(a.GetPartition(), b.GetPartition()))
	})
	return offsets, nil
}

// Leave takes a member out of its group.
func (s *Server) Leave(ctx context.Context, req *moldauv1.LeaveRequest) (*moldauv1.LeaveResponse, error) {
	if err := checkGroupID(req.GetGroupId()); err != nil {
		return nil, err
	}
	if req.GetMemberId() == "" {
		return nil, invalid("member_id", "a member's id is needed")
	}
	if m := s.consumers.of(req.GetGroupId(), req.GetMemberId()); m != nil {
		m.finish(&ending{kind: endLeft})
	}
	_, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.HeartbeatMemberResponse, error) {
		return s.coordinators.HeartbeatMember(ctx, &coordinatorv1.HeartbeatMemberRequest{
			GroupId: req.GetGroupId(), MemberId: req.GetMemberId(), MemberEpoch: leaving, RebalanceTimeoutMs: -1,
		})
	})
	if err != nil && !isLost(err) {
		return nil, err
	}
	return &moldauv1.LeaveResponse{Origin: s.origin()}, nil
}
