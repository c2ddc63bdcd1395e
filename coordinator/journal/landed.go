package journal

import (
	"bytes"
	"context"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// holdsBatch tells whether the built batch is in the log at an offset, durable,
// though the answer to its append was lost. Nobody else can have written the
// same there: the next owner begins with a record of its own, and an append of
// an owner before names an offset that has passed. What cannot be read is not
// there.
func (j *Journal) holdsBatch(ctx context.Context, at int64) (holds bool) {
	for {
		there, err := j.batchAt(ctx, at)
		if err != nil {
			return false
		}
		if there != nil {
			return j.isBatch(there)
		}
		if ctx.Err() != nil { // it may still be above the high watermark
			return false
		}
	}
}

// isBatch tells whether a batch of the log is the built one, but for what the
// leader has set in it.
func (j *Journal) isBatch(there []byte) bool {
	built, err := record.ParseHeader(j.batch)
	if err != nil {
		return false
	}
	record.SetBaseOffset(there, built.BaseOffset)
	record.SetLeaderEpoch(there, built.LeaderEpoch)
	return bytes.Equal(there, j.batch)
}

// batchAt reads the batch that begins at an offset; nil where nothing is below
// the high watermark there yet.
func (j *Journal) batchAt(ctx context.Context, at int64) (batch []byte, err error) {
	err = j.leader.do(ctx, func(ctx context.Context, node storageclient.Storage, id storageclient.PartitionID, epoch int32) error {
		resp, err := node.Fetch(ctx, &storageclient.FetchRequest{
			MinBytes: 1, MaxBytes: len(j.batch), MaxWaitMs: fetchWaitMs,
			Partitions: []storageclient.FetchPartition{{
				PartitionID: id, LeaderEpoch: epoch, Offset: at, MaxBytes: len(j.batch), OwnerEpoch: j.leader.cfg.OwnerEpoch,
			}},
		})
		if err != nil {
			return err
		}
		defer resp.Release()
		if err := resp.Results[0].Err; err != nil || len(resp.Results[0].Batches) == 0 {
			return err
		}
		first, _, h, err := record.Next(resp.Results[0].Batches)
		switch {
		case err != nil:
			return err
		case h.BaseOffset != at:
			return errcode.New(errcode.OffsetMismatch, "the batch begins at %d, not %d", h.BaseOffset, at)
		}
		batch = bytes.Clone(first)
		return nil
	})
	return batch, err
}
