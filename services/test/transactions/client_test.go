package transactions

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/shard"
	"moldau.dev/coordinator/txn"
	"moldau.dev/gateway/guard"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

var (
	realClock = clock.Real()
	quiet     = slog.New(slog.DiscardHandler)
)

// gateway is one process that clients come in through.
type gateway struct {
	*process
	w *world
}

// AddPartitions implements guard.Coordinators.
func (g gateway) AddPartitions(ctx context.Context, req *coordinatorv1.AddPartitionsRequest) (*coordinatorv1.AddPartitionsResponse, error) {
	var partitions []txn.Partition
	for _, p := range req.GetPartitions() {
		partitions = append(partitions, txn.Partition{Topic: topicid.ID(p.GetTopicId()), Index: p.GetPartition()})
	}
	q := txn.AddParticipants{
		ID: req.GetTransactionalId(), Producer: txn.Identity{ProducerID: req.GetProducerId(), Epoch: int16(req.GetProducerEpoch())},
		Participants: txn.NewParticipants(partitions, nil), VerifyOnly: req.GetVerifyOnly(), Revision: g.w.meta.View().Revision,
	}
	v, err := askTransactions[txn.Verdict](ctx, g, q)
	if err != nil {
		return nil, err
	}
	g.w.reach("add answered", nil)
	resp := &coordinatorv1.AddPartitionsResponse{}
	for _, e := range v.Partitions {
		part := &coordinatorv1.PartError{}
		if e != nil {
			part.Reason, part.Message = string(e.Reason), e.Message
		}
		resp.Errors = append(resp.Errors, part)
	}
	return resp, nil
}

// askTransactions asks the owner of the transactions, from a gateway.
func askTransactions[A any](ctx context.Context, g gateway, question any) (*A, error) {
	to := g.w.owner(txn.Topic)
	a, err := rpc(ctx, g.process, to.process, func(ctx context.Context) (*A, error) {
		return shard.Ask[A](ctx, to.shard, question)
	})
	return a, coordinatorError(err)
}

func askGroups[A any](ctx context.Context, g gateway, question any) (*A, error) {
	to := g.w.owner(group.OffsetsTopic)
	a, err := rpc(ctx, g.process, to.process, func(ctx context.Context) (*A, error) {
		return shard.Ask[A](ctx, to.shard, question)
	})
	return a, coordinatorError(err)
}

// coordinatorError is what coordinatorclient makes of a process that is not
// there.
func coordinatorError(err error) error {
	if errcode.Is(err, errcode.NodeUnavailable) {
		return unavailable()
	}
	return err
}

// ending is what a client does with a transaction.
type ending string

const (
	commits ending = "commit"
	aborts  ending = "abort"
	dies    ending = "death" // and begins anew
)

// client consumes, transforms and produces, exactly once, as the API's manual
// says: whatever is not well, it begins again.
type client struct {
	w       *world
	g       gateway
	version int8
	who     txn.Identity
	fresh   bool   // it must begin anew
	end     ending // of its struck transaction, the first time

	counts    txn.Identity // whose sequences these are
	sequences [2]int32     // of the next record, by partition
}

const (
	clientWaits = 5 * time.Second // for one answer
	clientTries = 90 * time.Second
)

// try makes a call through a gateway until it is answered by something final;
// where a gateway does not answer, through another.
func try[A any](c *client, call func(context.Context, gateway) (A, error)) (answer A, err error) {
	for until := time.Now().Add(clientTries); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := c.w.within(clientWaits)
		g := c.g
		answer, err = rpc(ctx, &process{}, g.process, func(ctx context.Context) (A, error) { return call(ctx, g) })
		cancel()
		switch errcode.ReasonOf(err) {
		case errcode.NodeUnavailable, errcode.RequestTimedOut:
			c.g = gateway{&process{}, c.w}
		case errcode.ConcurrentTransactions, errcode.CoordinatorUnavailable, errcode.CoordinatorLoading, errcode.NotCoordinator, errcode.UnstableOffset:
		default:
			return answer, err
		}
	}
	return answer, err
}

// run consumes all inputs.
func (c *client) run() {
	c.fresh = true
	for round := 0; ; round++ {
		if round > 40 {
			c.w.Fatal("it comes to no end")
		}
		next, err := c.begin()
		if err != nil {
			c.w.Fatalf("begin: %v", err)
		}
		if next == inputs {
			return
		}
		if next == struck {
			time.Sleep(time.Second) // the transaction before has completed
			c.w.arm()
		}
		if err := c.transaction(next); err != nil {
			c.w.Logf("input %d as %s: %v", next, c.who, err)
			c.fresh = true
		}
	}
}

// begin returns the input to go on with.
func (c *client) begin() (int64, error) {
	if c.fresh {
		who, err := try(c, func(ctx context.Context, g gateway) (*txn.Identity, error) {
			return askTransactions[txn.Identity](ctx, g, txn.InitProducer{ID: transactionalID, TimeoutMs: 30_000, Expected: txn.Nobody})
		})
		if err != nil {
			return 0, err
		}
		c.who, c.fresh = *who, false
	}
	return try(c, func(ctx context.Context, g gateway) (int64, error) {
		resp, err := askGroups[coordinatorv1.FetchOffsetsResponse](ctx, g, &coordinatorv1.FetchOffsetsRequest{RequireStable: true, Groups: []*coordinatorv1.FetchGroupOffsets{{
			GroupId: groupID, MemberEpoch: -1, Keys: []*coordinatorv1.OffsetKey{{Topic: "in", TopicId: c.w.input[:]}},
		}}})
		if err != nil {
			return 0, err
		}
		g0 := resp.GetGroups()[0]
		for _, e := range append([]*coordinatorv1.PartError{g0.GetError()}, g0.GetErrors()...) {
			if reason, ok := errcode.ParseReason(e.GetReason()); ok && e.GetReason() != "" && reason != errcode.UnknownGroup {
				return 0, errcode.New(reason, "%s", e.GetMessage())
			}
		}
		if len(g0.GetOffsets()) == 0 {
			return 0, nil
		}
		return max(g0.GetOffsets()[0].GetOffset(), 0), nil
	})
}

// transaction consumes one input.
func (c *client) transaction(input int64) error {
	if c.version == 1 {
		if _, err := try(c, func(ctx context.Context, g gateway) (any, error) {
			req := &coordinatorv1.AddPartitionsRequest{TransactionalId: transactionalID, ProducerId: c.who.ProducerID, ProducerEpoch: int32(c.who.Epoch)}
			for i := range c.w.nodes {
				req.Partitions = append(req.Partitions, &coordinatorv1.TransactionPartition{TopicId: c.w.topic[:], Partition: int32(i)})
			}
			return g.AddPartitions(ctx, req)
		}); err != nil {
			return err
		}
	}
	for i := range c.w.nodes {
		if err := c.produce(int32(i), input); err != nil {
			return err
		}
	}
	if err := c.commitOffset(input + 1); err != nil {
		return err
	}
	if input > struck {
		time.Sleep(away + time.Second) // open while what is late from the one before arrives
	}
	end := commits
	if input == struck {
		end, c.end = c.end, commits
	}
	if end == dies {
		c.fresh = true
		return nil
	}
	next, err := try(c, func(ctx context.Context, g gateway) (*txn.Identity, error) {
		who, err := askTransactions[txn.Identity](ctx, g, txn.EndTransaction{ID: transactionalID, Producer: c.who, Commit: end == commits, Version: c.version})
		if err == nil {
			g.w.reach("client answered", nil)
			g.w.reach("gateway dies with the response in hand", g.process)
		}
		return who, err
	})
	if err != nil {
		return err
	}
	c.who = *next
	return nil
}

func (c *client) produce(partition int32, input int64) error {
	if c.counts != c.who {
		c.counts, c.sequences = c.who, [2]int32{}
	}
	b := record.NewBuilder(record.BuilderOptions{
		ProducerID: c.who.ProducerID, ProducerEpoch: c.who.Epoch, BaseSequence: c.sequences[partition], Transactional: true,
	})
	b.Append(&record.Record{Timestamp: 1, Value: []byte(strconv.FormatInt(input, 10))})
	batch, err := b.Build(nil)
	if err != nil {
		c.w.Fatal(err)
	}
	who := &guard.Transaction{ID: transactionalID, ProducerID: c.who.ProducerID, ProducerEpoch: c.who.Epoch, Version: int32(c.version)}
	_, err = try(c, func(ctx context.Context, g gateway) (storageclient.AppendResult, error) {
		resp, err := guard.New(g, realClock).Append(ctx, nodeDoor{n: c.w.nodes[partition], from: g.process}, who, &storageclient.AppendRequest{
			Partitions: []storageclient.AppendPartition{{PartitionID: storageclient.PartitionID{Topic: c.w.topic, Index: partition}, Batch: append([]byte(nil), batch...)}},
		})
		if err != nil {
			return storageclient.AppendResult{}, err
		}
		return resp.Results[0], resp.Results[0].Err
	})
	if err == nil {
		c.sequences[partition]++
	}
	return err
}

func (c *client) commitOffset(offset int64) error {
	if c.version == 1 {
		if _, err := try(c, func(ctx context.Context, g gateway) (any, error) {
			return askTransactions[txn.Verdict](ctx, g, txn.AddParticipants{ID: transactionalID, Producer: c.who, Participants: txn.NewParticipants(nil, []int32{0})})
		}); err != nil {
			return err
		}
	}
	_, err := try(c, func(ctx context.Context, g gateway) (any, error) {
		resp, err := askGroups[coordinatorv1.CommitTransactionOffsetsResponse](ctx, g, &coordinatorv1.CommitTransactionOffsetsRequest{
			TransactionalId: transactionalID, ProducerId: c.who.ProducerID, ProducerEpoch: int32(c.who.Epoch), GroupId: groupID, Generation: -1,
			ImplicitAdd: c.version >= 2,
			Offsets:     []*coordinatorv1.Offset{{Topic: "in", TopicId: c.w.input[:], Offset: offset, LeaderEpoch: -1, RetentionMs: -1}},
		})
		if err != nil {
			return nil, err
		}
		if e := resp.GetErrors()[0]; e.GetReason() != "" {
			reason, _ := errcode.ParseReason(e.GetReason())
			return nil, errcode.New(reason, "%s", e.GetMessage())
		}
		return nil, nil
	})
	return err
}
