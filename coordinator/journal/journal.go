package journal

import (
	"context"
	"errors"
	"fmt"

	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// kindOwner is the journal's own: who writes it. Its value is the owner's epoch.
const kindOwner Kind = 0

// ErrFenced says that another owner writes the journal, or has been given it.
var ErrFenced = errors.New("journal: a newer owner has it")

// ErrTooLarge says that records do not fit in one batch. Nothing was appended.
var ErrTooLarge = errors.New("journal: records too large for one batch")

// Journal is one partition, owned under one epoch. It is not safe for
// concurrent use.
type Journal struct {
	leader leader
	// next is where the log ends, as far as this owner knows. Each append says
	// so, and is refused where it is not true: a late one of this owner as well
	// as one of another (invariant 21).
	next    int64
	builder *record.Builder
	batch   []byte
}

// Open makes the caller the journal's owner under an epoch, and replays what
// all owners before have written: it first appends a record of its own, behind
// which no append of theirs can come, and then reads up to it. It tries for
// as long as ctx lasts; ErrFenced and what replay returns end it at once.
// Records are lent to replay for the call. Those of a later version of the
// format are an error.
func Open(ctx context.Context, cfg Config, deps Deps, replay func(Record) error) (*Journal, error) {
	j := &Journal{
		leader:  leader{cfg: cfg, deps: deps},
		builder: record.NewBuilder(record.DefaultBuilderOptions()),
	}
	first, own, err := j.takeOver(ctx)
	if err != nil {
		return nil, fmt.Errorf("take over %s-%d: %w", cfg.Topic, cfg.Partition, err)
	}
	if err := j.replay(ctx, first, own, replay); err != nil {
		return nil, fmt.Errorf("replay %s-%d: %w", cfg.Topic, cfg.Partition, err)
	}
	j.next = own + 1
	return j, nil
}

// takeOver appends the owner's record. It returns the first offset of the log
// and that of the record.
func (j *Journal) takeOver(ctx context.Context) (first, own int64, err error) {
	epoch := Record{Key: Key(kindOwner), Value: ownerValue(j.leader.cfg.OwnerEpoch)}
	if err := j.build([]Record{epoch}); err != nil {
		return 0, 0, err
	}
	r, err := j.append(ctx, nil) // done twice where the first answer is lost: no harm
	if err != nil {
		return 0, 0, err
	}
	return r.LogStartOffset, r.BaseOffset, nil
}

// Append writes records as one batch, all or none, and returns once they are
// durable. Where an answer was lost it looks whether the batch is there. After
// ErrTooLarge the journal goes on; after any other error it is not known what it
// holds, and it must be opened again.
func (j *Journal) Append(ctx context.Context, records []Record) error {
	if err := j.build(records); err != nil {
		return err
	}
	expected := j.next
	r, err := j.append(ctx, &expected)
	if errcode.Is(err, errcode.OffsetMismatch) && j.holdsBatch(ctx, expected) {
		r, err = &storageclient.AppendResult{BaseOffset: expected}, nil
	}
	if err != nil {
		return fmt.Errorf("append to %s-%d: %w", j.leader.cfg.Topic, j.leader.cfg.Partition, err)
	}
	if r.BaseOffset != expected {
		return fmt.Errorf("append to %s-%d: at offset %d, not %d", j.leader.cfg.Topic, j.leader.cfg.Partition, r.BaseOffset, expected)
	}
	j.next = expected + int64(len(records))
	return nil
}

// MaxBytes is about how many bytes of records one Append may have.
func (j *Journal) MaxBytes() int { return j.leader.maxBatchBytes() - record.HeaderSize }

func (j *Journal) build(records []Record) error {
	now := j.leader.deps.Clock.Now().UnixMilli()
	j.builder.Reset(record.DefaultBuilderOptions())
	for i := range records {
		j.builder.Append(&record.Record{Timestamp: now, Key: records[i].Key, Value: records[i].Value})
	}
	if j.builder.Size() > j.leader.maxBatchBytes() {
		return ErrTooLarge
	}
	var err error
	j.batch, err = j.builder.Build(j.batch[:0])
	return err
}

// append repeats the append of the built batch while it fails for reasons that
// pass. With an expected offset that is safe even where the answer was lost: if
// the batch is in the log already, the log does not end there any more, and the
// error is OFFSET_MISMATCH.
func (j *Journal) append(ctx context.Context, expected *int64) (*storageclient.AppendResult, error) {
	in := storageclient.AppendPartition{Batch: j.batch, ExpectedOffset: expected, OwnerEpoch: j.leader.cfg.OwnerEpoch}
	var result storageclient.AppendResult
	err := j.leader.do(ctx, func(ctx context.Context, node storageclient.Storage, id storageclient.PartitionID, epoch int32) error {
		in.PartitionID, in.LeaderEpoch = id, epoch
		resp, err := node.Append(ctx, &storageclient.AppendRequest{
			Acks: storageclient.AcksAll, Partitions: []storageclient.AppendPartition{in},
		})
		if err != nil {
			return err
		}
		result = resp.Results[0]
		return result.Err
	})
	return &result, err
}
