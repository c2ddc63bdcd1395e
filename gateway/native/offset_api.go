package native

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
)

const (
	maxOffsets       = 10_000
	maxOffsetTopics  = 1000
	maxOffsetText    = 4096
	noMember         = -1 // generation of who is in no group
	noCommittedEpoch = -1
)

// CommitOffsets stores offsets of a group, now or with a transaction.
func (s *Server) CommitOffsets(ctx context.Context, req *moldauv1.CommitOffsetsRequest) (*moldauv1.CommitOffsetsResponse, error) {
	offsets, err := s.checkCommit(req)
	if err != nil {
		return nil, err
	}
	commit := s.commitOffsets
	if req.GetTransaction() != nil {
		commit = s.commitOffsetsInTransaction
	}
	errs, err := coordinated(ctx, s, func(ctx context.Context) ([]*coordinatorv1.PartError, error) {
		errs, err := commit(ctx, req, offsets)
		if err != nil {
			return nil, err
		}
		if len(errs) != len(offsets) {
			return nil, errcode.New(errcode.Internal, "a coordinator answered for %d offsets, %d were sent", len(errs), len(offsets))
		}
		for _, e := range errs {
			if err := partError(e); err != nil && passing(err) {
				return errs, err // a commit may be repeated whole
			}
		}
		return errs, nil
	})
	if errs == nil && err != nil {
		return nil, err
	}
	resp := &moldauv1.CommitOffsetsResponse{Origin: s.origin()}
	for i, o := range req.GetOffsets() {
		stored := &moldauv1.GroupOffset{Topic: o.GetTopic(), Partition: o.GetPartition(), Offset: o.GetOffset(), LeaderEpoch: o.LeaderEpoch, Metadata: o.GetMetadata()}
		if err := partError(errs[i]); err != nil {
			stored.Error = rangeError(err, nil)
		}
		resp.Offsets = append(resp.Offsets, stored)
	}
	return resp, nil
}

// member is who commits: generation, member id and instance id.
func member(req *moldauv1.CommitOffsetsRequest) (int32, string, string) {
	m := req.GetMember()
	if m == nil {
		return noMember, "", ""
	}
	return m.GetGeneration(), m.GetMemberId(), m.GetInstanceId()
}

func (s *Server) commitOffsets(ctx context.Context, req *moldauv1.CommitOffsetsRequest, offsets []*coordinatorv1.Offset) ([]*coordinatorv1.PartError, error) {
	generation, id, instance := member(req)
	resp, err := s.coordinators.CommitOffsets(ctx, &coordinatorv1.CommitOffsetsRequest{
		GroupId: req.GetGroupId(), Generation: generation, MemberId: id, InstanceId: instance, Offsets: offsets,
	})
	return resp.GetErrors(), err
}

func (s *Server) commitOffsetsInTransaction(ctx context.Context, req *moldauv1.CommitOffsetsRequest, offsets []*coordinatorv1.Offset) ([]*coordinatorv1.PartError, error) {
	generation, id, instance := member(req)
	h := req.GetTransaction()
	resp, err := s.coordinators.CommitTransactionOffsets(ctx, &coordinatorv1.CommitTransactionOffsetsRequest{
		TransactionalId: h.GetTransactionalId(), ProducerId: h.GetProducerId(), ProducerEpoch: h.GetProducerEpoch(), GroupId: req.GetGroupId(),
		Generation: generation, MemberId: id, InstanceId: instance, Offsets: offsets, ImplicitAdd: true,
	})
	return resp.GetErrors(), err
}

func (s *Server) checkCommit(req *moldauv1.CommitOffsetsRequest) ([]*coordinatorv1.Offset, error) {
	if err := checkGroupID(req.GetGroupId()); err != nil {
		return nil, err
	}
	if req.GetTransaction() != nil {
		if err := checkHandle(req.GetTransaction()); err != nil {
			return nil, err
		}
	}
	if m := req.GetMember(); m != nil && (m.GetMemberId() == "" || m.GetGeneration() < 0) {
		return nil, invalid("member", "a member has an id, and a generation from 0 on")
	}
	if n := len(req.GetOffsets()); n == 0 || n > maxOffsets {
		return nil, invalid("offsets", "%d offsets, 1 to %d are allowed", n, maxOffsets)
	}
	offsets := make([]*coordinatorv1.Offset, len(req.GetOffsets()))
	for i, o := range req.GetOffsets() {
		field := func(name string) string { return fmt.Sprintf("offsets[%d].%s", i, name) }
		t, err := s.topic(o.GetTopic(), field("topic"))
		if err != nil {
			return nil, err
		}
		switch {
		case o.GetPartition() < 0 || int(o.GetPartition()) >= len(t.Partitions):
			return nil, errcode.New(errcode.UnknownPartition, "%s has %d partitions, %d is not one", t.Name, len(t.Partitions), o.GetPartition()).WithField(field("partition"))
		case o.GetOffset() < 0:
			return nil, invalid(field("offset"), "%d is negative", o.GetOffset())
		case len(o.GetMetadata()) > maxOffsetText:
			return nil, errcode.New(errcode.OffsetMetadataTooLarge, "%d bytes, at most %d are allowed", len(o.GetMetadata()), maxOffsetText).WithField(field("metadata"))
		case o.GetError() != nil:
			return nil, invalid(field("error"), "it is the server's to set")
		}
		offsets[i] = &coordinatorv1.Offset{
			Topic: t.Name, TopicId: t.ID[:], Partition: o.GetPartition(), Offset: o.GetOffset(), LeaderEpoch: noCommittedEpoch,
			Metadata: o.GetMetadata(), RetentionMs: -1,
		}
		if o.LeaderEpoch != nil {
			offsets[i].LeaderEpoch = o.GetLeaderEpoch()
		}
	}
	return offsets, nil
}

func checkGroupID(id string) error {
	if id == "" {
		return errcode.New(errcode.InvalidGroupID, "a group's id is needed").WithField("group_id")
	}
	return nil
}

// FetchOffsets tells committed offsets of a group.
func (s *Server) FetchOffsets(ctx context.Context, req *moldauv1.FetchOffsetsRequest) (*moldauv1.FetchOffsetsResponse, error) {
	if err := checkGroupID(req.GetGroupId()); err != nil {
		return nil, err
	}
	if n := len(req.GetTopics()); n > maxOffsetTopics {
		return nil, invalid("topics", "%d topics, at most %d are allowed", n, maxOffsetTopics)
	}
	ask := &coordinatorv1.FetchGroupOffsets{GroupId: req.GetGroupId(), MemberEpoch: noMember, All: len(req.GetTopics()) == 0}
	for i, name := range req.GetTopics() {
		t, err := s.topic(name, fmt.Sprintf("topics[%d]", i))
		if err != nil {
			return nil, err
		}
		for p := range t.Partitions {
			ask.Keys = append(ask.Keys, &coordinatorv1.OffsetKey{Topic: t.Name, TopicId: t.ID[:], Partition: int32(p)})
		}
	}
	found, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.GroupOffsets, error) {
		return s.fetchOffsets(ctx, ask, req.GetRequireStable())
	})
	if found == nil && err != nil {
		return nil, err
	}
	return &moldauv1.FetchOffsetsResponse{Offsets: showOffsets(s.meta.View(), found), Origin: s.origin()}, nil
}

// fetchOffsets asks once. Offsets that are not stable come back beside an error
// that says so.
func (s *Server) fetchOffsets(ctx context.Context, ask *coordinatorv1.FetchGroupOffsets, stable bool) (*coordinatorv1.GroupOffsets, error) {
	resp, err := s.coordinators.FetchOffsets(ctx, &coordinatorv1.FetchOffsetsRequest{Groups: []*coordinatorv1.FetchGroupOffsets{ask}, RequireStable: stable})
	if err != nil {
		return nil, err
	}
	if len(resp.GetGroups()) != 1 {
		return nil, errcode.New(errcode.Internal, "a coordinator answered for %d groups, 1 was asked", len(resp.GetGroups()))
	}
	found := resp.Groups[0]
	switch err := partError(found.GetError()); {
	case errcode.Is(err, errcode.UnknownGroup):
		return noOffsets(ask), nil
	case err != nil:
		return nil, err
	}
	for _, e := range found.GetErrors() {
		if err := partError(e); errcode.Is(err, errcode.UnstableOffset) {
			return found, err
		}
	}
	return found, nil
}

// noOffsets is what a group has that has committed nothing yet.
func noOffsets(ask *coordinatorv1.FetchGroupOffsets) *coordinatorv1.GroupOffsets {
	none := &coordinatorv1.GroupOffsets{}
	for _, k := range ask.GetKeys() {
		none.Offsets = append(none.Offsets, &coordinatorv1.Offset{
			Topic: k.GetTopic(), TopicId: k.GetTopicId(), Partition: k.GetPartition(), Offset: -1, LeaderEpoch: noCommittedEpoch,
		})
	}
	return none
}

// showOffsets names topics by what they are called now; what is deleted is left
// out.
func showOffsets(view *metadataclient.View, found *coordinatorv1.GroupOffsets) []*moldauv1.GroupOffset {
	var all []*moldauv1.GroupOffset
	for i, o := range found.GetOffsets() {
		name := o.GetTopic()
		if id, err := topicid.FromBytes(o.GetTopicId()); err == nil {
			t := view.TopicsByID[id]
			if t == nil {
				continue
			}
			name = t.Name
		}
		out := &moldauv1.GroupOffset{Topic: name, Partition: o.GetPartition(), Offset: o.GetOffset(), Metadata: o.GetMetadata()}
		if epoch := o.GetLeaderEpoch(); epoch >= 0 {
			out.LeaderEpoch = &epoch
		}
		if i < len(found.GetErrors()) {
			if err := partError(found.Errors[i]); err != nil {
				out.Offset, out.Error = -1, rangeError(err, nil)
			}
		}
		all = append(all, out)
	}
	slices.SortFunc(all, func(a, b *moldauv1.GroupOffset) int {
		return cmp.Or(cmp.Compare(a.GetTopic(), b.GetTopic()), cmp.Compare(a.GetPartition(), b.GetPartition()))
	})
	return all
}
