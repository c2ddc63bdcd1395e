package native

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

const (
	// timedPartitions are those whose lag is also told in time, which takes a read
	// of each.
	timedPartitions = 1000
	timedAtOnce     = 8
)

// groupProgress tells how far a group has read what it has offsets of and what
// its members hold.
func (s *Server) groupProgress(ctx context.Context, view *metadataclient.View, g *moldauv1.Group) ([]*moldauv1.GroupProgress, error) {
	committed, err := s.allOffsets(ctx, g.GetGroupId())
	if err != nil {
		return nil, err
	}
	known := map[storageclient.PartitionID]*moldauv1.GroupProgress{}
	at := func(t *metadataclient.Topic, index int32) *moldauv1.GroupProgress {
		id := storageclient.PartitionID{Topic: t.ID, Index: index}
		if known[id] == nil {
			known[id] = &moldauv1.GroupProgress{Topic: t.Name, Partition: index, CommittedOffset: -1, EndOffset: -1, Lag: -1}
		}
		return known[id]
	}
	for _, o := range committed.GetOffsets() {
		if t := topicOfOffset(view, o); t != nil && o.GetOffset() >= 0 {
			p := at(t, o.GetPartition())
			p.CommittedOffset, p.Metadata = o.GetOffset(), o.GetMetadata()
		}
	}
	for _, m := range g.GetMembers() {
		for _, held := range m.GetAssignment() {
			if t := view.Topics[held.GetTopic()]; t != nil {
				for _, index := range held.GetPartitions() {
					at(t, index).MemberId = m.GetMember().GetMemberId()
				}
			}
		}
	}
	s.measure(ctx, known)
	var out []*moldauv1.GroupProgress
	for _, p := range known {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *moldauv1.GroupProgress) int {
		return cmp.Or(cmp.Compare(a.GetTopic(), b.GetTopic()), cmp.Compare(a.GetPartition(), b.GetPartition()))
	})
	return out, nil
}

// allOffsets are those that a group has committed.
func (s *Server) allOffsets(ctx context.Context, group string) (*coordinatorv1.GroupOffsets, error) {
	return coordinated(ctx, s, func(ctx context.Context) (*coordinatorv1.GroupOffsets, error) {
		return s.fetchOffsets(ctx, &coordinatorv1.FetchGroupOffsets{GroupId: group, MemberEpoch: noMember, All: true}, false)
	})
}

// topicOfOffset is the topic that an offset is of, nil where it is gone.
func topicOfOffset(view *metadataclient.View, o *coordinatorv1.Offset) *metadataclient.Topic {
	if id, err := topicid.FromBytes(o.GetTopicId()); err == nil {
		return view.TopicsByID[id]
	}
	return view.Topics[o.GetTopic()]
}

// measure fills in ends and lags.
func (s *Server) measure(ctx context.Context, known map[storageclient.PartitionID]*moldauv1.GroupProgress) {
	ids := make([]storageclient.PartitionID, 0, len(known))
	for id := range known {
		ids = append(ids, id)
	}
	ends, errs := s.lookUpEach(ctx, ids, storageclient.Latest, true)
	var behind []storageclient.PartitionID
	for i, id := range ids {
		p := known[id]
		if errs[i] != nil {
			p.Error = rangeError(errs[i], nil)
			continue
		}
		p.EndOffset = ends[i].Offset
		if p.CommittedOffset >= 0 {
			p.Lag = max(p.EndOffset-p.CommittedOffset, 0)
		}
		if p.Lag > 0 {
			behind = append(behind, id)
		}
	}
	slices.SortFunc(behind, func(a, b storageclient.PartitionID) int { return cmp.Compare(known[b].Lag, known[a].Lag) })
	var group errgroup.Group
	group.SetLimit(timedAtOnce)
	for _, id := range behind[:min(len(behind), timedPartitions)] {
		group.Go(func() error {
			if waited, ok := s.waited(ctx, id, known[id].CommittedOffset); ok {
				known[id].TimeLag = durationpb.New(waited)
			}
			return nil
		})
	}
	_ = group.Wait() // a time that cannot be told is left out
}

// waited is how long the record at an offset, or the next there is, has waited.
func (s *Server) waited(ctx context.Context, id storageclient.PartitionID, offset int64) (time.Duration, bool) {
	resp, err := s.fetchOne(ctx, id, offset, true, 1, 1, 0)
	if err != nil {
		return 0, false
	}
	defer resp.Release()
	stamp := int64(-1)
	_, err = eachRecord(resp.Results[0].Batches, resp.Results[0].Aborted, offset, func(r *record.Record) bool {
		stamp = r.Timestamp
		return false
	})
	if err != nil || stamp < 0 {
		return 0, false
	}
	return max(s.clk.Now().Sub(timeOf(stamp)), 0), true
}
