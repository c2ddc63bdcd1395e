package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

const (
	fetchBytes  = 4 << 20 // read at a time, so that memory is bounded
	fetchWaitMs = 500     // for a new leader whose high watermark lags
)

// replay reads [from, own] and hands out all but the owners' own records.
func (j *Journal) replay(ctx context.Context, from, own int64, replay func(Record) error) error {
	for from <= own {
		next, err := j.replaySome(ctx, from, own, replay)
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

// replaySome reads once. It returns the offset to go on from.
func (j *Journal) replaySome(ctx context.Context, from, own int64, replay func(Record) error) (next int64, err error) {
	next = from
	var failed error // of replay: not to be taken for a failure of storage
	err = j.leader.do(ctx, func(ctx context.Context, node storageclient.Storage, id storageclient.PartitionID, epoch int32) error {
		resp, err := node.Fetch(ctx, &storageclient.FetchRequest{
			MinBytes: 1, MaxBytes: fetchBytes, MaxWaitMs: fetchWaitMs,
			Partitions: []storageclient.FetchPartition{{
				PartitionID: id, LeaderEpoch: epoch, Offset: from, MaxBytes: fetchBytes, OwnerEpoch: j.leader.cfg.OwnerEpoch,
			}},
		})
		if err != nil {
			return err
		}
		defer resp.Release()
		if err := resp.Results[0].Err; err != nil {
			return err
		}
		next, failed = j.read(resp.Results[0].Batches, from, own, replay)
		return nil
	})
	return next, errors.Join(err, failed)
}

// read hands out the records of whole batches up to own.
func (j *Journal) read(batches []byte, from, own int64, replay func(Record) error) (next int64, err error) {
	next = from
	for len(batches) > 0 {
		batch, rest, h, err := record.Next(batches)
		if errors.Is(err, record.ErrPartial) {
			break
		}
		if err == nil {
			_, err = record.Verify(batch)
		}
		if err != nil {
			return next, fmt.Errorf("batch after offset %d: %w", next, err)
		}
		if h.BaseOffset > own {
			return own + 1, nil
		}
		if !h.Control() {
			if err := j.readBatch(batch, from, own, replay); err != nil {
				return next, err
			}
		}
		next, batches = h.NextOffset(), rest
	}
	return next, nil
}

func (j *Journal) readBatch(batch []byte, from, own int64, replay func(Record) error) error {
	return record.ForEach(batch, record.DefaultLimits(), func(r *record.Record) error {
		if r.Offset < from || r.Offset > own {
			return nil
		}
		kind, _, err := ParseKey(r.Key)
		switch {
		case err != nil:
			return fmt.Errorf("record at offset %d: %w", r.Offset, err)
		case kind == kindOwner:
			return j.checkOwner(r)
		}
		if err := replay(Record{Key: r.Key, Value: r.Value}); err != nil {
			return fmt.Errorf("record at offset %d: %w", r.Offset, err)
		}
		return nil
	})
}

// checkOwner finds owners of a later epoch even where the leader of the
// partition has forgotten them.
func (j *Journal) checkOwner(r *record.Record) error {
	if len(r.Value) != ownerValueSize || r.Value[0] != valueVersion {
		return fmt.Errorf("record at offset %d: not an owner of a version that is known here", r.Offset)
	}
	if epoch := int64(binary.BigEndian.Uint64(r.Value[1:])); epoch > j.leader.cfg.OwnerEpoch {
		return fmt.Errorf("%w: epoch %d, this is %d", ErrFenced, epoch, j.leader.cfg.OwnerEpoch)
	}
	return nil
}

const ownerValueSize = 9

func ownerValue(epoch int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{valueVersion}, uint64(epoch))
}
