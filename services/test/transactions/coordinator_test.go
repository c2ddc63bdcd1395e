package transactions

import (
	"context"
	"log/slog"
	"time"

	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/markers"
	"moldau.dev/coordinator/shard"
	"moldau.dev/coordinator/txn"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// coordinator is one process that owns the one shard of transactions, or of
// groups, under an epoch.
type coordinator struct {
	*process
	w      *world
	what   string // txn.Topic or group.OffsetsTopic
	epoch  int64
	shard  *shard.Shard
	sender *markers.Sender
}

func (w *world) startCoordinator(what string) *coordinator {
	w.mu.Lock()
	w.epochs[what]++
	c := &coordinator{process: &process{}, w: w, what: what, epoch: w.epochs[what]}
	w.mu.Unlock()
	quiet := slog.New(slog.DiscardHandler)
	c.sender = markers.New(markers.Deps{
		Clock: clock.Real(), Log: quiet, Metadata: w.meta, Nodes: c, Offsets: c, Metrics: markers.NewMetrics(nil),
	})
	c.shard = shard.Start(shard.Config{
		Name: what, Epoch: c.epoch, Topic: what, AppendTimeout: 10 * time.Second, CallTimeout: time.Second, MaxWaiting: 100,
	}, shard.Deps{
		Clock: clock.Real(), Log: quiet, Metadata: w.meta, Nodes: journalDoor{c: c}, Metrics: shard.NewMetrics(what, nil), Do: c.do, Owned: c.owns,
		NewMachine: func() shard.Machine {
			if what == txn.Topic {
				return txn.New(txn.DefaultConfig())
			}
			return group.New(group.DefaultConfig())
		},
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owners[what] = c
	w.all = append(w.all, c)
	return c
}

// owns is what the process knows: one that is paused or cut off has not heard
// of the owner after it.
func (c *coordinator) owns() bool { return c.away() || c.w.owner(c.what) == c }

// retire stops what runs in the process, as its end does, or as it does when it
// hears that it owns nothing any more.
func (c *coordinator) retire() {
	c.shard.Stop()
	c.sender.Close()
}

// do makes the calls of its machine.
func (c *coordinator) do(ctx context.Context, message any) (any, error) {
	switch m := message.(type) {
	case txn.SendMarkers:
		err := c.sender.Send(ctx, m)
		if err == nil {
			c.w.reach("all markers", c)
			if c.pass() != arrives { // it never hears of its own success
				<-ctx.Done()
			}
		}
		return nil, err
	case txn.AllocateProducerIDs:
		return c.w.allocate(), nil
	case *coordinatorv1.AddOffsetsRequest:
		return rpc(ctx, c.process, c.w.owner(txn.Topic).process, func(ctx context.Context) (*coordinatorv1.AddOffsetsResponse, error) {
			q := txn.AddParticipants{
				ID: m.GetTransactionalId(), Producer: txn.Identity{ProducerID: m.GetProducerId(), Epoch: int16(m.GetProducerEpoch())},
				Participants: txn.NewParticipants(nil, []int32{0}), VerifyOnly: m.GetVerifyOnly(),
			}
			v, err := shard.Ask[txn.Verdict](ctx, c.w.owner(txn.Topic).shard, q)
			if err == nil && v.OffsetShards[0] != nil {
				err = v.OffsetShards[0]
			}
			if err != nil {
				return nil, err
			}
			return &coordinatorv1.AddOffsetsResponse{CoordinatorEpoch: v.CoordinatorEpoch}, nil
		})
	}
	panic("unknown call")
}

// Node implements markers.Nodes.
func (c *coordinator) Node(id int32) (storageclient.Storage, error) {
	return nodeDoor{n: c.w.nodes[id], from: c.process}, nil
}

// CompleteOffsets implements markers.Offsets.
func (c *coordinator) CompleteOffsets(ctx context.Context, req *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error) {
	to := c.w.owner(group.OffsetsTopic)
	return rpc(ctx, c.process, to.process, func(ctx context.Context) (*coordinatorv1.CompleteOffsetsResponse, error) {
		c.w.reach("offset-commit partition moved", to)
		if to.pass() != arrives {
			return nil, errcode.New(errcode.CoordinatorUnavailable, "it is gone")
		}
		return shard.Ask[coordinatorv1.CompleteOffsetsResponse](ctx, to.shard, req)
	})
}

// journalDoor is the node that keeps the journals, as a coordinator sees it.
type journalDoor struct {
	storageclient.Storage
	c *coordinator
}

func (d journalDoor) Node(int32) (storageclient.Storage, error) { return d, nil }

func (d journalDoor) Append(ctx context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	states := statesIn(req.Partitions[0].Batch)
	if states.preparing {
		d.c.w.reach("prepare appended", d.c)
	}
	return rpc(ctx, d.c.process, d.c.w.journalNode, func(ctx context.Context) (*storageclient.AppendResponse, error) {
		resp, err := d.c.w.journal.Append(ctx, req)
		if err == nil && resp.Results[0].Err == nil {
			if states.ongoing {
				d.c.w.reach("add persisted", d.c)
			}
			if states.preparing {
				d.c.w.reach("prepare below the high watermark", d.c)
				d.c.w.reach("epoch overflow", d.c)
			}
			if states.complete {
				d.c.w.reach("complete appended", d.c)
			}
		}
		return resp, err
	})
}

func (d journalDoor) Fetch(ctx context.Context, req *storageclient.FetchRequest) (*storageclient.FetchResponse, error) {
	return rpc(ctx, d.c.process, d.c.w.journalNode, func(ctx context.Context) (*storageclient.FetchResponse, error) {
		return d.c.w.journal.Fetch(ctx, req)
	})
}

// statesIn tells which states of transactions a batch of a journal has.
func statesIn(batch []byte) (s struct{ ongoing, preparing, complete bool }) {
	err := record.ForEach(batch, record.DefaultLimits(), func(r *record.Record) error {
		var value coordinatorv1.TransactionRecord
		if kind, _, err := journal.ParseKey(r.Key); err != nil || kind != txn.Kind || journal.ReadValue(r.Value, &value) != nil {
			return nil
		}
		switch value.GetState() {
		case coordinatorv1.TransactionState_TRANSACTION_STATE_ONGOING:
			s.ongoing = true
		case coordinatorv1.TransactionState_TRANSACTION_STATE_PREPARE_COMMIT, coordinatorv1.TransactionState_TRANSACTION_STATE_PREPARE_ABORT:
			s.preparing = true
		case coordinatorv1.TransactionState_TRANSACTION_STATE_COMPLETE_COMMIT, coordinatorv1.TransactionState_TRANSACTION_STATE_COMPLETE_ABORT:
			s.complete = true
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return s
}
