// Package markers tells all participants of a transaction how it ended (T9,
// T10, T13): the leaders of its partitions, and the shards of groups whose
// offsets are in it. Above it, the shard of the transaction asks for it once
// the decision is durable; below and beside it are storage nodes, metadata and
// other coordinators.
//
// Invariant: Send returns only when every participant has its marker below the
// high watermark, or is deleted. It tries for as long as its caller owns the
// transaction (invariant 26).
package markers

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/storageclient"
)

// Nodes finds the door of a storage node; storageclient.Pool is one.
type Nodes interface {
	Node(id int32) (storageclient.Storage, error)
}

// Offsets completes offsets at the shards of groups; coordinatorclient.Client
// is one.
type Offsets interface {
	CompleteOffsets(context.Context, *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error)
}

// Deps are what a Sender stands on.
type Deps struct {
	Clock    clock.Clock
	Log      *slog.Logger
	Metadata metadataclient.Client
	Nodes    Nodes
	Offsets  Offsets
	Metrics  *Metrics
}

// Sender sends markers. What is sent to one node at a time goes in one call,
// whichever transactions it is of. Safe for concurrent use; it has goroutines
// only while something is sent.
type Sender struct {
	deps Deps
	life context.Context // of the calls, which are of no single caller
	end  context.CancelFunc

	mu      sync.Mutex
	nodes   map[int32]*queue
	running sync.WaitGroup
}

// New returns a Sender.
func New(deps Deps) *Sender {
	s := &Sender{deps: deps, nodes: map[int32]*queue{}}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Close cuts calls off, and returns when none is under way. All Sends must have
// been given up before.
func (s *Sender) Close() {
	s.end()
	s.running.Wait()
}

const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
	// callTimeout bounds one call: what is not answered then is asked again.
	callTimeout = 3 * time.Second
)

// Send tells all participants of m how it ended. Its only errors are those of
// ctx.
func (s *Sender) Send(ctx context.Context, m txn.SendMarkers) error {
	s.deps.Metrics.Pending.Inc()
	defer s.deps.Metrics.Pending.Dec()
	left, pause := m.Participants, firstPause
	for {
		changed := s.deps.Metadata.Changed()
		if left = s.round(ctx, m, left); left.Len() == 0 {
			return nil
		}
		s.deps.Metrics.Retries.Inc()
		if !s.wait(ctx, changed, pause) {
			return ctx.Err()
		}
		pause = min(2*pause, lastPause)
	}
}

func (s *Sender) wait(ctx context.Context, changed <-chan struct{}, pause time.Duration) bool {
	timer := s.deps.Clock.NewTimer(pause/2 + rand.N(pause/2)) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C():
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// round asks every participant once, all at the same time, and returns those
// that have no marker yet.
func (s *Sender) round(ctx context.Context, m txn.SendMarkers, to txn.Participants) txn.Participants {
	places := s.place(m, to.Partitions)
	var (
		mu         sync.Mutex
		partitions = places.unknown
		shards     []int32
		asked      sync.WaitGroup
	)
	for node, at := range places.byNode {
		asked.Go(func() {
			missed := s.mark(ctx, m, node, at)
			mu.Lock()
			defer mu.Unlock()
			partitions = append(partitions, missed...)
		})
	}
	for _, shard := range to.OffsetShards {
		asked.Go(func() {
			if s.complete(ctx, m, shard) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			shards = append(shards, shard)
		})
	}
	asked.Wait()
	return txn.NewParticipants(partitions, shards)
}

// places is where partitions are to be asked.
type places struct {
	byNode  map[int32][]txn.Partition // by leader
	unknown []txn.Partition           // nobody leads them now, or this process does not know them yet
}

// place looks leaders up. A partition that metadata lacks is deleted, and needs
// no marker, if the metadata is as new as that which knew it (T10, invariant
// 17).
func (s *Sender) place(m txn.SendMarkers, partitions []txn.Partition) places {
	view := s.deps.Metadata.View()
	p := places{byNode: map[int32][]txn.Partition{}}
	for _, x := range partitions {
		switch t := view.TopicsByID[x.Topic]; {
		case t == nil && view.Revision >= m.Revision:
			s.deps.Log.Info("a topic was deleted with a transaction open in it", telemetry.TopicID(x.Topic.String()),
				telemetry.Partition(x.Index), telemetry.TransactionalID(m.ID))
		case t == nil || int(x.Index) >= len(t.Partitions) || t.Partitions[x.Index].Leader < 0:
			p.unknown = append(p.unknown, x)
		default:
			leader := t.Partitions[x.Index].Leader
			p.byNode[leader] = append(p.byNode[leader], x)
		}
	}
	return p
}

// mark has one node write markers, and returns the partitions that have none
// yet.
func (s *Sender) mark(ctx context.Context, m txn.SendMarkers, node int32, partitions []txn.Partition) (missed []txn.Partition) {
	marker := storageclient.Marker{
		ProducerID: m.Producer.ProducerID, ProducerEpoch: m.Producer.Epoch, CoordinatorEpoch: m.CoordinatorEpoch,
		TransactionVersion: int32(m.Version), Commit: m.Commit, Partitions: make([]storageclient.PartitionID, len(partitions)),
	}
	for i, p := range partitions {
		marker.Partitions[i] = storageclient.PartitionID{Topic: p.Topic, Index: p.Index}
	}
	errs, err := s.queueOf(node).add(ctx, marker)
	for i, p := range partitions {
		of := err
		if err == nil {
			of = errs[i]
		}
		if !s.settled(m, p, of) {
			missed = append(missed, p)
		}
	}
	return missed
}

// settled tells whether a partition need not be asked again.
func (s *Sender) settled(m txn.SendMarkers, p txn.Partition, err error) bool {
	switch {
	case err == nil:
		return true
	case errcode.Is(err, errcode.InvalidProducerEpoch):
		// A later epoch is there, which no producer had before all markers of this
		// transaction were written: somebody wrote this one before.
		s.deps.Log.Warn("a partition is beyond a marker", telemetry.TopicID(p.Topic.String()), telemetry.Partition(p.Index),
			telemetry.TransactionalID(m.ID), telemetry.ProducerID(m.Producer.ProducerID), telemetry.ProducerEpoch(m.Producer.Epoch), telemetry.Err(err))
		return true
	}
	s.deps.Log.Debug("a marker is not written yet", telemetry.TopicID(p.Topic.String()), telemetry.Partition(p.Index),
		telemetry.TransactionalID(m.ID), telemetry.Err(err))
	return false
}

// complete tells the shard of groups, and whether it has taken note.
func (s *Sender) complete(ctx context.Context, m txn.SendMarkers, shard int32) bool {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.deps.Offsets.CompleteOffsets(ctx, &coordinatorv1.CompleteOffsetsRequest{
		Shard: shard, ProducerId: m.Producer.ProducerID, ProducerEpoch: int32(m.Producer.Epoch),
		CoordinatorEpoch: m.CoordinatorEpoch, TransactionVersion: int32(m.Version), Commit: m.Commit,
	})
	if err != nil {
		s.deps.Log.Debug("offsets are not completed yet", slog.Int64("shard", int64(shard)), telemetry.TransactionalID(m.ID), telemetry.Err(err))
	}
	return err == nil || errcode.Is(err, errcode.InvalidProducerEpoch)
}

// bounded ends ctx after callTimeout.
func (s *Sender) bounded(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	timer := s.deps.Clock.AfterFunc(callTimeout, cancel)
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}
