package native

import (
	"context"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	"moldau.dev/gateway/routing"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// ListOffsets tells offsets of a topic by position or time.
func (s *Server) ListOffsets(ctx context.Context, req *moldauv1.ListOffsetsRequest) (*moldauv1.ListOffsetsResponse, error) {
	t, err := s.topic(req.GetTopic(), "topic")
	if err != nil {
		return nil, err
	}
	asked := req.GetPartitions()
	if err := distinct(t, len(asked), func(i int) int32 { return asked[i] }, "partitions"); err != nil {
		return nil, err
	}
	if err := checkPosition(req.GetPosition(), "position"); err != nil {
		return nil, err
	}
	if len(asked) == 0 {
		for i := range t.Partitions {
			asked = append(asked, int32(i))
		}
	}
	ids := make([]storageclient.PartitionID, len(asked))
	for i, p := range asked {
		ids[i] = storageclient.PartitionID{Topic: t.ID, Index: p}
	}
	found, err := s.find(ctx, ids, req)
	if err != nil {
		return nil, err
	}
	resp := &moldauv1.ListOffsetsResponse{Origin: s.origin()}
	for i, f := range found {
		out := &moldauv1.PartitionOffset{Partition: asked[i], Offset: f.Offset, LeaderEpoch: f.LeaderEpoch}
		if f.Timestamp >= 0 {
			out.Timestamp = timestamppb.New(timeOf(f.Timestamp))
		}
		resp.Offsets = append(resp.Offsets, out)
	}
	return resp, nil
}

// find looks up what is asked for; a time that no record has gives -1.
func (s *Server) find(ctx context.Context, ids []storageclient.PartitionID, req *moldauv1.ListOffsetsRequest) ([]storageclient.ListOffsetsResult, error) {
	committed := req.GetReadCommitted()
	if req.GetMaxTimestamp() {
		return s.lookUp(ctx, ids, storageclient.MaxTimestamp, committed)
	}
	switch at := req.GetPosition().GetAt().(type) {
	case *moldauv1.Position_Time:
		return s.lookUp(ctx, ids, at.Time.AsTime().UnixMilli(), committed)
	case *moldauv1.Position_End:
		return s.lookUp(ctx, ids, storageclient.Latest, committed)
	case *moldauv1.Position_Offset, *moldauv1.Position_BeforeEnd:
		positions := make([]*moldauv1.Position, len(ids))
		for i := range positions {
			positions[i] = req.GetPosition()
		}
		places, err := s.resolve(ctx, ids, positions, committed)
		if err != nil {
			return nil, err
		}
		found := make([]storageclient.ListOffsetsResult, len(ids))
		for i, p := range places {
			found[i] = storageclient.ListOffsetsResult{Offset: p.offset, Timestamp: -1, LeaderEpoch: -1}
		}
		return found, nil
	default:
		return s.lookUp(ctx, ids, storageclient.Earliest, committed)
	}
}

func checkPosition(p *moldauv1.Position, field string) error {
	switch at := p.GetAt().(type) {
	case *moldauv1.Position_Offset:
		if at.Offset < 0 {
			return invalid(field+".offset", "%d is negative", at.Offset)
		}
	case *moldauv1.Position_BeforeEnd:
		if at.BeforeEnd < 0 {
			return invalid(field+".before_end", "%d is negative", at.BeforeEnd)
		}
	case *moldauv1.Position_Time:
		if err := at.Time.CheckValid(); err != nil || at.Time.GetSeconds() < 0 {
			return invalid(field+".time", "the time is not one from 1970 on")
		}
	case *moldauv1.Position_Start:
		if !at.Start {
			return invalid(field+".start", "false has no meaning")
		}
	case *moldauv1.Position_End:
		if !at.End {
			return invalid(field+".end", "false has no meaning")
		}
	}
	return nil
}

// place is where a position is in a partition, and the partition's bounds.
type place struct{ offset, earliest, latest int64 }

// resolve finds the places of checked positions; committed lets the end be
// where all transactions are decided.
func (s *Server) resolve(ctx context.Context, ids []storageclient.PartitionID, positions []*moldauv1.Position, committed bool) ([]place, error) {
	earliest, err := s.lookUp(ctx, ids, storageclient.Earliest, committed)
	if err != nil {
		return nil, err
	}
	latest, err := s.lookUp(ctx, ids, storageclient.Latest, committed) // after earliest, so never before it
	if err != nil {
		return nil, err
	}
	places := make([]place, len(ids))
	byTime := map[int64][]int{}
	for i, pos := range positions {
		p := &places[i]
		p.earliest, p.latest = earliest[i].Offset, latest[i].Offset
		p.offset = p.earliest
		switch at := pos.GetAt().(type) {
		case *moldauv1.Position_Offset:
			p.offset = at.Offset
			if p.offset < p.earliest || p.offset > p.latest && !committed { // else the node knows how far it may lie beyond
				return nil, s.outOfRange(ids[i], *p)
			}
		case *moldauv1.Position_BeforeEnd:
			p.offset = max(p.latest-at.BeforeEnd, p.earliest)
		case *moldauv1.Position_End:
			p.offset = p.latest
		case *moldauv1.Position_Time:
			ms := at.Time.AsTime().UnixMilli()
			byTime[ms] = append(byTime[ms], i)
		}
	}
	for ms, indexes := range byTime {
		some := make([]storageclient.PartitionID, len(indexes))
		for j, i := range indexes {
			some[j] = ids[i]
		}
		found, err := s.lookUp(ctx, some, ms, committed)
		if err != nil {
			return nil, err
		}
		for j, i := range indexes {
			places[i].offset = places[i].latest
			if found[j].Offset >= 0 {
				places[i].offset = found[j].Offset
			}
		}
	}
	return places, nil
}

func (s *Server) outOfRange(id storageclient.PartitionID, p place) error {
	name := id.Topic.String()
	if t := s.meta.View().TopicsByID[id.Topic]; t != nil {
		name = t.Name
	}
	return errcode.New(errcode.OffsetOutOfRange, "offset %d of %s-%d is not in [%d, %d]", p.offset, name, id.Index, p.earliest, p.latest).
		With("topic", name).With("partition", id.Index).With("earliest_offset", p.earliest).With("latest_offset", p.latest)
}

// lookUp asks each partition's leader for one offset. The error is the first.
func (s *Server) lookUp(ctx context.Context, ids []storageclient.PartitionID, timestamp int64, committed bool) ([]storageclient.ListOffsetsResult, error) {
	found, errs := s.lookUpEach(ctx, ids, timestamp, committed)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// lookUpEach is lookUp with an error for each partition.
func (s *Server) lookUpEach(ctx context.Context, ids []storageclient.PartitionID, timestamp int64, committed bool) ([]storageclient.ListOffsetsResult, []error) {
	found := make([]storageclient.ListOffsetsResult, len(ids))
	errs := s.ask(ctx, ids, func(ctx context.Context, l []leaderOf) error {
		req := &storageclient.ListOffsetsRequest{ReadCommitted: committed}
		for _, p := range l {
			req.Partitions = append(req.Partitions, storageclient.ListOffsetsPartition{PartitionID: ids[p.index], LeaderEpoch: p.Epoch, Timestamp: timestamp})
		}
		resp, err := l[0].ListOffsets(ctx, req)
		if err != nil {
			return err
		}
		if len(resp.Results) != len(l) {
			return errcode.New(errcode.Internal, "a storage node answered for %d partitions, %d were asked", len(resp.Results), len(l))
		}
		for i, r := range resp.Results {
			found[l[i].index], l[i].err = r, r.Err
		}
		return nil
	})
	return found, errs
}

// leaderOf is one partition of a call to the node that leads it. A call puts
// the partition's own error into err.
type leaderOf struct {
	routing.Leader
	index int
	err   error
}

// ask groups partitions by leader and makes one call a node, all nodes at
// once. What came to the wrong node, or to none, is asked again when the view
// has moved, until ctx ends: call must be safe to repeat.
func (s *Server) ask(ctx context.Context, ids []storageclient.PartitionID, call func(ctx context.Context, l []leaderOf) error) []error {
	errs := make([]error, len(ids))
	left := make([]int, len(ids))
	for i := range left {
		left[i] = i
	}
	tries := s.router.Attempts()
	for {
		tries.Begin()
		s.askOnce(ctx, ids, left, errs, call)
		var again []int
		for _, i := range left {
			if routing.Misrouted(errs[i]) || routing.Unreachable(errs[i]) {
				again = append(again, i)
			}
		}
		if left = again; len(left) == 0 || !tries.Wait(ctx) {
			return errs
		}
	}
}

func (s *Server) askOnce(ctx context.Context, ids []storageclient.PartitionID, indexes []int, errs []error, call func(ctx context.Context, l []leaderOf) error) {
	byNode := map[int32][]leaderOf{}
	for _, i := range indexes {
		l, err := s.router.Leader(ids[i])
		if errs[i] = err; err == nil {
			byNode[l.NodeID] = append(byNode[l.NodeID], leaderOf{Leader: l, index: i})
		}
	}
	var wg sync.WaitGroup
	for _, group := range byNode {
		wg.Go(func() {
			err := call(ctx, group)
			for i := range group {
				errs[group[i].index] = group[i].err
				if err != nil {
					errs[group[i].index] = err
				}
			}
		})
	}
	wg.Wait()
}
