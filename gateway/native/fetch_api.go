package native

import (
	"context"
	"errors"
	"time"

	"moldau.dev/gateway/routing"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

const (
	maxFetchBytes     = 16 << 20
	defaultFetchBytes = 1 << 20
	maxFetchWait      = 30 * time.Second
	// waitMargin is left of a caller's deadline for the answer's way back.
	waitMargin = 200 * time.Millisecond
)

// Fetch reads records of one partition once.
func (s *Server) Fetch(ctx context.Context, req *moldauv1.FetchRequest) (*moldauv1.FetchResponse, error) {
	if err := checkFetch(req); err != nil {
		return nil, err
	}
	t, err := s.topic(req.GetTopic(), "topic")
	if err != nil {
		return nil, err
	}
	if err := routing.CheckPartition(t, req.GetPartition()); err != nil {
		return nil, errcode.Of(err).WithField("partition")
	}
	id := storageclient.PartitionID{Topic: t.ID, Index: req.GetPartition()}
	offset := req.GetPosition().GetOffset()
	if _, given := req.GetPosition().GetAt().(*moldauv1.Position_Offset); !given {
		places, err := s.resolve(ctx, []storageclient.PartitionID{id}, []*moldauv1.Position{req.GetPosition()}, req.GetReadCommitted())
		if err != nil {
			return nil, err
		}
		offset = places[0].offset
	}
	fetched, maxBytes, err := s.fetchHeld(ctx, id, offset, req)
	if err != nil {
		return nil, err
	}
	defer fetched.Release()
	return s.fetchResponse(req, offset, &fetched.Results[0], maxBytes)
}

func checkFetch(req *moldauv1.FetchRequest) error {
	if err := checkPosition(req.GetPosition(), "position"); err != nil {
		return err
	}
	wait := req.GetMaxWait()
	switch {
	case req.GetMinBytes() < 0 || req.GetMinBytes() > maxFetchBytes:
		return invalid("min_bytes", "%d is not within 0 to %d", req.GetMinBytes(), maxFetchBytes)
	case req.GetMaxBytes() < 0 || req.GetMaxBytes() > maxFetchBytes:
		return invalid("max_bytes", "%d is not within 0 to %d", req.GetMaxBytes(), maxFetchBytes)
	case req.GetMaxRecords() < 0:
		return invalid("max_records", "%d is negative", req.GetMaxRecords())
	case wait != nil && (wait.CheckValid() != nil || wait.AsDuration() < 0 || wait.AsDuration() > maxFetchWait):
		return invalid("max_wait", "not within 0 s to %s", maxFetchWait)
	}
	return nil
}

// fetchHeld fetches what there is, in room for all that was asked for, and only
// if that is too little waits for more, in room for a little. The caller
// releases the response; the room is held until the call's answer has left.
func (s *Server) fetchHeld(ctx context.Context, id storageclient.PartitionID, offset int64, req *moldauv1.FetchRequest) (*storageclient.FetchResponse, int, error) {
	least := max(int(req.GetMinBytes()), 1)
	wait := req.GetMaxWait().AsDuration()
	want, release := s.reserve(fetchBytes(req), answerTimes)
	resp, err := s.fetchOne(ctx, id, offset, req.GetReadCommitted(), want, least, 0)
	if err == nil && wait > 0 && len(resp.Results[0].Batches) < least {
		resp.Release()
		release()
		want, release = s.reserve(min(fetchBytes(req), max(leastHeld, least)), answerTimes)
		resp, err = s.fetchOne(ctx, id, offset, req.GetReadCommitted(), want, least, wait)
	}
	if err != nil {
		release()
		return nil, 0, err
	}
	transport.OnSent(ctx, release)
	return resp, want, nil
}

// fetchOne asks the leader, and again while the way to it is not clear. The
// caller releases the response, which has one result without an error.
func (s *Server) fetchOne(ctx context.Context, id storageclient.PartitionID, offset int64, committed bool, maxBytes, minBytes int, wait time.Duration) (*storageclient.FetchResponse, error) {
	until := s.clk.Now().Add(boundedWait(ctx, s.clk.Now(), wait))
	tries := s.router.Attempts()
	for {
		tries.Begin()
		wait, pollCtx, cancel := max(until.Sub(s.clk.Now()), 0), ctx, func() {}
		if s.polling.Err() != nil {
			wait = 0
		}
		if wait > 0 {
			pollCtx, cancel = s.poll(ctx)
		}
		resp, err := s.fetchOnce(pollCtx, &storageclient.FetchRequest{
			Partitions: []storageclient.FetchPartition{{PartitionID: id, Offset: offset, MaxBytes: maxBytes}},
			MinBytes:   minBytes, MaxBytes: maxBytes, MaxWaitMs: int32(wait.Milliseconds()), ReadCommitted: committed,
		})
		cutOff := pollCtx.Err() != nil && ctx.Err() == nil // by Drain: ask once more, without waiting
		cancel()
		if err == nil {
			return resp, nil
		}
		if cutOff {
			continue
		}
		if !(routing.Misrouted(err) || routing.Unreachable(err)) || !tries.Wait(ctx) {
			return nil, err
		}
	}
}

func fetchBytes(req *moldauv1.FetchRequest) int {
	if n := int(req.GetMaxBytes()); n > 0 {
		return n
	}
	return defaultFetchBytes
}

// boundedWait cuts a wait so that its answer meets the caller's deadline.
func boundedWait(ctx context.Context, now time.Time, wait time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, deadline.Sub(now)-waitMargin)
	}
	return max(wait, 0)
}

func (s *Server) fetchOnce(ctx context.Context, req *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	leader, err := s.router.Leader(req.Partitions[0].PartitionID)
	if err != nil {
		return nil, err
	}
	req.Partitions[0].LeaderEpoch = leader.Epoch
	resp, err := leader.Fetch(ctx, req)
	if err != nil {
		return nil, err
	}
	if len(resp.Results) != 1 {
		resp.Release()
		return nil, errcode.New(errcode.Internal, "a storage node answered for %d partitions, 1 was asked", len(resp.Results))
	}
	if err := resp.Results[0].Err; err != nil {
		resp.Release()
		return nil, err
	}
	return resp, nil
}

// fetchResponse makes the answer. Of batches that decompress to much more than
// was asked for it gives the first records.
func (s *Server) fetchResponse(req *moldauv1.FetchRequest, offset int64, in *storageclient.FetchResult, maxBytes int) (*moldauv1.FetchResponse, error) {
	resp := &moldauv1.FetchResponse{
		HighWatermark: in.HighWatermark, EarliestOffset: in.LogStartOffset, LeaderEpoch: in.LeaderEpoch, NextOffset: offset,
		LastStableOffset: in.LastStableOffset, Origin: s.origin(),
	}
	limit := int64(req.GetMaxRecords())
	if limit == 0 {
		limit = noLimit
	}
	if req.GetAsBatches() {
		kept, end, err := dropAborted(in.Batches, in.Aborted)
		if err != nil {
			return nil, err
		}
		batches, next, err := cutBatches(kept, offset, limit)
		if err != nil {
			return nil, err
		}
		if len(batches) == len(kept) {
			next = max(next, end) // past what was dropped at the end
		}
		resp.RecordBatches, resp.NextOffset = copied(batches), next
		return resp, nil
	}
	size, most := 0, max(answerTimes*maxBytes, len(in.Batches))
	next, err := eachRecord(in.Batches, in.Aborted, offset, func(r *record.Record) bool {
		resp.Records = append(resp.Records, fromRecord(r))
		size += sizeOf(r)
		return int64(len(resp.Records)) < limit && size < most
	})
	if err != nil {
		return nil, err
	}
	resp.NextOffset = next
	s.metrics.readRecords.Add(float64(len(resp.Records)))
	return resp, nil
}

const noLimit = int64(1) << 62

// errEnough stops a walk over records.
var errEnough = errors.New("enough")

// eachRecord calls fn with the records from offset on, until it returns false,
// and returns the offset to go on from. Control batches are passed over, and
// those of aborted transactions. The records are lent for the call.
func eachRecord(batches []byte, all []storageclient.AbortedTransaction, offset int64, fn func(*record.Record) bool) (next int64, err error) {
	next = offset
	for dropped := newAborted(all); len(batches) > 0; {
		batch, rest, h, err := record.Next(batches)
		if errors.Is(err, record.ErrPartial) {
			return next, nil
		}
		if err != nil {
			return next, unreadable(err)
		}
		void := dropped.has(batch, &h)
		if batches = rest; h.NextOffset() <= next {
			continue
		}
		if !h.Control() && !void {
			err = record.ForEach(batch, record.DefaultLimits(), func(r *record.Record) error {
				if r.Offset < next {
					return nil
				}
				next = r.Offset + 1
				if !fn(r) {
					return errEnough
				}
				return nil
			})
			if errors.Is(err, errEnough) {
				return next, nil
			}
			if err != nil {
				return next, unreadable(err)
			}
		}
		next = h.NextOffset()
	}
	return next, nil
}

// cutBatches returns the whole batches that hold at least limit records from
// offset on, or all of them.
func cutBatches(batches []byte, offset, limit int64) (cut []byte, next int64, err error) {
	next = offset
	rest := batches
	for n := int64(0); n < limit && len(rest) > 0; {
		_, after, h, err := record.Next(rest)
		if errors.Is(err, record.ErrPartial) {
			break
		}
		if err != nil {
			return nil, next, unreadable(err)
		}
		rest, next = after, max(next, h.NextOffset())
		if !h.Control() {
			n += int64(h.Count)
		}
	}
	return batches[:len(batches)-len(rest)], next, nil
}
