package native

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// SeekGroup moves a group that has no members to other places.
func (s *Server) SeekGroup(ctx context.Context, req *moldauv1.SeekGroupRequest) (*moldauv1.SeekGroupResponse, error) {
	if err := checkGroupID(req.GetGroupId()); err != nil {
		return nil, err
	}
	seeks, err := s.seeks(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := s.withoutMembers(ctx, req.GetGroupId()); err != nil {
		return nil, err
	}
	before, err := s.allOffsets(ctx, req.GetGroupId())
	if err != nil {
		return nil, err
	}
	view, from := s.meta.View(), map[storageclient.PartitionID]int64{}
	for _, o := range before.GetOffsets() {
		if t := topicOfOffset(view, o); t != nil {
			from[storageclient.PartitionID{Topic: t.ID, Index: o.GetPartition()}] = o.GetOffset()
		}
	}
	for _, k := range seeks {
		if offset, known := from[k.id]; known {
			k.shown.FromOffset = offset
		}
	}
	if !req.GetValidateOnly() {
		if err := s.commitSeeks(ctx, req.GetGroupId(), seeks); err != nil {
			return nil, err
		}
	}
	resp := &moldauv1.SeekGroupResponse{Origin: s.origin()}
	for _, k := range seeks {
		resp.Partitions = append(resp.Partitions, k.shown)
	}
	return resp, nil
}

// seek is one partition to move a group in.
type seek struct {
	id    storageclient.PartitionID
	shown *moldauv1.GroupSeek
}

// seeks finds the places asked for, by topic, then by partition.
func (s *Server) seeks(ctx context.Context, req *moldauv1.SeekGroupRequest) ([]*seek, error) {
	if n := len(req.GetTopics()); n == 0 || n > maxReadTopics {
		return nil, invalid("topics", "%d topics, 1 to %d are allowed", n, maxReadTopics)
	}
	// A Read checks, names and bounds the same partitions.
	r, err := s.newReading(&moldauv1.ReadRequest{Topics: req.GetTopics()}, nil)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(r.parts, func(a, b *readPart) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id.Index, b.id.Index))
	})
	ids := make([]storageclient.PartitionID, len(r.parts))
	positions := make([]*moldauv1.Position, len(r.parts))
	for i, p := range r.parts {
		ids[i], positions[i] = p.id, p.position
	}
	places, err := s.resolve(ctx, ids, positions, false)
	if err != nil {
		return nil, err
	}
	out := make([]*seek, len(r.parts))
	for i, p := range r.parts {
		out[i] = &seek{id: p.id, shown: &moldauv1.GroupSeek{Topic: p.topic, Partition: p.id.Index, FromOffset: -1, ToOffset: places[i].offset}}
	}
	return out, nil
}

// withoutMembers refuses groups that have members: who reads would not notice
// that it was moved. A group that is not there has none.
func (s *Server) withoutMembers(ctx context.Context, id string) error {
	g, err := s.describeGroup(ctx, id)
	switch {
	case errcode.Is(err, errcode.UnknownGroup):
		return nil
	case err != nil:
		return err
	case len(g.GetMembers()) > 0:
		return errcode.New(errcode.GroupNotEmpty, "group %q has %d members", clip(id), len(g.GetMembers())).
			WithHint("Stop its members, or remove them, and ask again.")
	}
	return nil
}

func (s *Server) commitSeeks(ctx context.Context, group string, seeks []*seek) error {
	for len(seeks) > 0 {
		part := seeks[:min(len(seeks), maxOffsets)]
		seeks = seeks[len(part):]
		req := &coordinatorv1.CommitOffsetsRequest{GroupId: group, Generation: noMember}
		for _, k := range part {
			req.Offsets = append(req.Offsets, &coordinatorv1.Offset{
				Topic: k.shown.GetTopic(), TopicId: k.id.Topic[:], Partition: k.id.Index, Offset: k.shown.GetToOffset(),
				LeaderEpoch: noCommittedEpoch, RetentionMs: -1,
			})
		}
		resp, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.CommitOffsetsResponse, error) {
			return s.coordinators.CommitOffsets(ctx, req)
		})
		if errcode.Is(err, errcode.UnknownMember) { // one has joined meanwhile
			return errcode.Wrap(err, errcode.GroupNotEmpty, "group %q has members", clip(group))
		}
		if err != nil {
			return err
		}
		if len(resp.GetErrors()) != len(part) {
			return errcode.New(errcode.Internal, "a coordinator answered for %d offsets, %d were sent", len(resp.GetErrors()), len(part))
		}
		for i, k := range part {
			if err := partError(resp.Errors[i]); err != nil {
				k.shown.ToOffset, k.shown.Error = k.shown.GetFromOffset(), rangeError(err, nil)
			}
		}
	}
	return nil
}

// DeleteGroupOffsets forgets offsets of topics that no member subscribes to.
func (s *Server) DeleteGroupOffsets(ctx context.Context, req *moldauv1.DeleteGroupOffsetsRequest) (*moldauv1.DeleteGroupOffsetsResponse, error) {
	if err := checkGroupID(req.GetGroupId()); err != nil {
		return nil, err
	}
	if n := len(req.GetTopics()); n == 0 || n > maxOffsetTopics {
		return nil, invalid("topics", "%d topics, 1 to %d are allowed", n, maxOffsetTopics)
	}
	ask := &coordinatorv1.DeleteOffsetsRequest{GroupId: req.GetGroupId()}
	for i, asked := range req.GetTopics() {
		t, err := s.topic(asked.GetTopic(), fmt.Sprintf("topics[%d].topic", i))
		if err != nil {
			return nil, err
		}
		for _, index := range partitionsOrAll(t, asked.GetPartitions()) {
			if err := routing.CheckPartition(t, index); err != nil {
				return nil, errcode.Of(err).WithField(fmt.Sprintf("topics[%d].partitions", i))
			}
			ask.Keys = append(ask.Keys, &coordinatorv1.OffsetKey{Topic: t.Name, TopicId: t.ID[:], Partition: index})
		}
	}
	if len(ask.Keys) > s.cfg.MaxStreamPartitions {
		return nil, invalid("topics", "%d partitions, at most %d are allowed", len(ask.Keys), s.cfg.MaxStreamPartitions)
	}
	deleted, err := coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.DeleteOffsetsResponse, error) {
		return s.coordinators.DeleteOffsets(ctx, ask)
	})
	if err != nil {
		return nil, err
	}
	if len(deleted.GetErrors()) != len(ask.Keys) {
		return nil, errcode.New(errcode.Internal, "a coordinator answered for %d offsets, %d were named", len(deleted.GetErrors()), len(ask.Keys))
	}
	resp := &moldauv1.DeleteGroupOffsetsResponse{Origin: s.origin()}
	for i, k := range ask.Keys {
		out := &moldauv1.GroupOffset{Topic: k.GetTopic(), Partition: k.GetPartition(), Offset: -1}
		if err := partError(deleted.Errors[i]); err != nil {
			out.Error = rangeError(err, nil)
		}
		resp.Offsets = append(resp.Offsets, out)
	}
	slices.SortStableFunc(resp.Offsets, func(a, b *moldauv1.GroupOffset) int {
		return cmp.Or(cmp.Compare(a.GetTopic(), b.GetTopic()), cmp.Compare(a.GetPartition(), b.GetPartition()))
	})
	return resp, nil
}

func partitionsOrAll(t *metadataclient.Topic, some []int32) []int32 {
	if len(some) > 0 {
		return some
	}
	for i := range t.Partitions {
		some = append(some, int32(i))
	}
	return some
}
