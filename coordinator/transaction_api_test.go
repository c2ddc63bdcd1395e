package coordinator

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/coordinator/journal/journaltest"
	"moldau.dev/coordinator/markers"
	"moldau.dev/coordinator/shard"
	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const twoShards = 2

// transactionWorld is a coordinator's transactions over journals in memory, in
// a bubble.
type transactionWorld struct {
	*testing.T
	meta   *allocator
	api    *transactionAPI
	sender *markers.Sender
	shards map[int32]*shard.Shard
	topic  topicid.ID // "t", of two partitions
	mu     sync.Mutex
	marked []string // participants
	ids    []string // transactional ids, one of each shard
}

// allocator is metadata that has producer ids.
type allocator struct {
	*journaltest.Metadata
	next int64
}

func (a *allocator) AllocateProducerIds(_ context.Context, req *metadatav1.AllocateProducerIdsRequest) (*metadatav1.AllocateProducerIdsResponse, error) {
	a.next += int64(req.GetCount())
	return &metadatav1.AllocateProducerIdsResponse{FirstId: a.next - int64(req.GetCount()), Count: req.GetCount()}, nil
}

// participants are nodes and coordinators that only take markers.
type participants struct {
	storageclient.Storage
	w *transactionWorld
}

func (w *transactionWorld) mark(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marked = append(w.marked, what)
}

func (p participants) Node(int32) (storageclient.Storage, error) { return p, nil }

func (p participants) WriteMarkers(_ context.Context, req *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	resp := &storageclient.WriteMarkersResponse{}
	for _, m := range req.Markers {
		for range m.Partitions {
			p.w.mark("partition")
		}
		resp.Results = append(resp.Results, storageclient.MarkerResult{Errs: make([]error, len(m.Partitions))})
	}
	return resp, nil
}

func (p participants) CompleteOffsets(context.Context, *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error) {
	p.w.mark("offsets")
	return &coordinatorv1.CompleteOffsetsResponse{}, nil
}

func withTransactions(t *testing.T, test func(w *transactionWorld)) {
	synctest.Test(t, func(t *testing.T) {
		w := &transactionWorld{T: t, meta: &allocator{Metadata: journaltest.NewMetadata()}, shards: map[int32]*shard.Shard{}}
		w.meta.Create(txn.Topic, twoShards)
		w.meta.Create(offsetsTopic, twoShards)
		w.topic = w.meta.Create("t", 2)
		w.meta.Change(func(v *metadataclient.View) { v.Shards = make([]metadataclient.Shard, twoShards) })
		w.sender = markers.New(markers.Deps{
			Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: w.meta, Nodes: participants{w: w}, Offsets: participants{w: w},
			Metrics: markers.NewMetrics(nil),
		})
		store := journaltest.NewStorage()
		calls := &transactionCalls{meta: w.meta, sender: w.sender}
		for i := range int32(twoShards) {
			w.shards[i] = shard.Start(shard.Config{
				Name: "transaction", Shard: i, Epoch: 1, Topic: txn.Topic, AppendTimeout: time.Minute, CallTimeout: time.Second, MaxWaiting: 100,
			}, shard.Deps{
				Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: w.meta, Nodes: store, Metrics: shard.NewMetrics("transaction", nil),
				NewMachine: func() shard.Machine { return txn.New(txn.DefaultConfig()) }, Do: calls.Do, Owned: func() bool { return true },
			})
		}
		w.api = &transactionAPI{
			meta: w.meta, shards: func() map[int32]*shard.Shard { return w.shards },
			shardOf: func(i int32) (*shard.Shard, error) {
				if s := w.shards[i]; s != nil {
					return s, nil
				}
				return nil, errcode.New(errcode.NotCoordinator, "not here")
			},
		}
		for i := range int32(twoShards) {
			for _, id := range []string{"a", "b", "c", "d"} {
				if coordinatorclient.ShardOf(id, twoShards) == i {
					w.ids = append(w.ids, id)
					break
				}
			}
		}
		synctest.Wait()
		test(w)
		for _, s := range w.shards {
			s.Stop()
		}
		w.sender.Close()
	})
}

// init begins as a transactional id.
func (w *transactionWorld) init(id string) *coordinatorv1.InitProducerResponse {
	w.Helper()
	p, err := w.api.InitProducer(w.Context(), &coordinatorv1.InitProducerRequest{
		TransactionalId: id, TransactionTimeoutMs: 60_000, ProducerId: -1, ProducerEpoch: -1,
	})
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func (w *transactionWorld) add(id string, p *coordinatorv1.InitProducerResponse, verify bool, partitions ...*coordinatorv1.TransactionPartition) ([]string, error) {
	resp, err := w.api.AddPartitions(w.Context(), &coordinatorv1.AddPartitionsRequest{
		TransactionalId: id, ProducerId: p.GetProducerId(), ProducerEpoch: p.GetProducerEpoch(), VerifyOnly: verify, Partitions: partitions,
	})
	var reasons []string
	for _, e := range resp.GetErrors() {
		reasons = append(reasons, e.GetReason())
	}
	return reasons, err
}

func TestATransactionGoesThroughTheShardOfItsID(t *testing.T) {
	withTransactions(t, func(w *transactionWorld) {
		id := w.ids[1]
		p := w.init(id)
		byID := &coordinatorv1.TransactionPartition{TopicId: w.topic[:], Partition: 1}
		byName := &coordinatorv1.TransactionPartition{Topic: "t", Partition: 0}
		if got, err := w.add(id, p, true, byID, byName); err != nil || !slices.Equal(got, []string{"TRANSACTION_ABORTABLE", "TRANSACTION_ABORTABLE"}) {
			w.Fatalf("verified before it was added: %v, %v", got, err)
		}
		if got, err := w.add(id, p, false, byID); err != nil || !slices.Equal(got, []string{""}) {
			w.Fatalf("added: %v, %v", got, err)
		}
		if got, err := w.add(id, p, true, byID, byName, byID); err != nil || !slices.Equal(got, []string{"", "TRANSACTION_ABORTABLE", ""}) {
			w.Fatalf("verified in the order asked: %v, %v", got, err)
		}
		offsets := &coordinatorv1.AddOffsetsRequest{TransactionalId: id, ProducerId: p.GetProducerId(), GroupId: "g", VerifyOnly: true}
		if _, err := w.api.AddOffsets(w.Context(), offsets); !errcode.Is(err, errcode.TransactionAbortable) {
			w.Fatalf("offsets verified before they were added: %v", err)
		}
		offsets.VerifyOnly = false
		if added, err := w.api.AddOffsets(w.Context(), offsets); err != nil || added.GetCoordinatorEpoch() != 1 {
			w.Fatalf("got %v, %v", added, err)
		}
		w.describe(id, "Ongoing", "t-1", "__consumer_offsets-"+string('0'+rune(coordinatorclient.ShardOf("g", twoShards))))
		end, err := w.api.EndTransaction(w.Context(), &coordinatorv1.EndTransactionRequest{
			TransactionalId: id, ProducerId: p.GetProducerId(), Commit: true, TransactionVersion: 2,
		})
		if err != nil || end.GetProducerId() != p.GetProducerId() || end.GetProducerEpoch() != 1 {
			w.Fatalf("got %v, %v", end, err)
		}
		synctest.Wait()
		w.describe(id, "CompleteCommit")
		slices.Sort(w.marked)
		if !slices.Equal(w.marked, []string{"offsets", "partition"}) {
			w.Errorf("markers at %v", w.marked)
		}
	})
}

func (w *transactionWorld) describe(id, state string, partitions ...string) {
	w.Helper()
	resp, err := w.api.DescribeTransactions(w.Context(), &coordinatorv1.DescribeTransactionsRequest{TransactionalIds: []string{id, id + "?"}})
	if err != nil {
		w.Fatal(err)
	}
	got := resp.GetTransactions()[0]
	var in []string
	for _, p := range got.GetPartitions() {
		in = append(in, p.GetTopic()+"-"+string('0'+rune(p.GetPartition())))
	}
	if got.GetTransactionalId() != id || got.GetState() != state || !slices.Equal(in, partitions) || got.GetStartTimeMs() <= 0 {
		w.Errorf("got %v", got)
	}
	if e := resp.GetTransactions()[1].GetError(); e.GetReason() != string(errcode.UnknownTransaction) {
		w.Errorf("what is not known: %v", e)
	}
}

func TestTransactionsOfAllShardsAreListedAndThoseThatAreNotHereSaid(t *testing.T) {
	withTransactions(t, func(w *transactionWorld) {
		for _, id := range w.ids {
			w.init(id)
		}
		list := func(pattern string, states ...string) string {
			resp, err := w.api.ListTransactions(w.Context(), &coordinatorv1.ListTransactionsRequest{IdPattern: pattern, States: states, LongerThanMs: -1})
			if err != nil {
				w.Fatal(err)
			}
			var all []string
			for _, l := range resp.GetTransactions() {
				all = append(all, l.GetTransactionalId()+" "+l.GetState())
			}
			for _, s := range resp.GetLoadingShards() {
				all = append(all, "shard "+string('0'+rune(s)))
			}
			return strings.Join(all, ", ")
		}
		slices.Sort(w.ids)
		if got, want := list(""), w.ids[0]+" Empty, "+w.ids[1]+" Empty"; got != want {
			w.Errorf("got %s, want %s", got, want)
		}
		if got := list(w.ids[0], "Empty"); got != w.ids[0]+" Empty" {
			w.Errorf("got %s", got)
		}
		if got := list("", "Ongoing"); got != "" {
			w.Errorf("got %s", got)
		}
		if _, err := w.api.ListTransactions(w.Context(), &coordinatorv1.ListTransactionsRequest{IdPattern: "("}); !errcode.Is(err, errcode.InvalidRegularExpression) {
			w.Errorf("got %v", err)
		}
		w.shards[1].Stop()
		if got := list(""); !strings.HasSuffix(got, "shard 1") {
			w.Errorf("got %s", got)
		}
	})
}

// TestProducersOfAllShardsHaveIDsOfTheirOwn: each shard has blocks of its own.
func TestProducersOfAllShardsHaveIDsOfTheirOwn(t *testing.T) {
	withTransactions(t, func(w *transactionWorld) {
		seen := map[int64]bool{}
		for _, id := range append(w.ids, "", "", "x", "y", "z") {
			p := w.init(id)
			if seen[p.GetProducerId()] || p.GetProducerEpoch() != 0 {
				w.Errorf("%q got %v", id, p)
			}
			seen[p.GetProducerId()] = true
		}
	})
}

func TestBadTransactionRequestsAreRefusedByName(t *testing.T) {
	withTransactions(t, func(w *transactionWorld) {
		p := w.init(w.ids[0])
		_, tooLong := w.api.InitProducer(w.Context(), &coordinatorv1.InitProducerRequest{TransactionalId: strings.Repeat("x", txn.MaxIDBytes+1), TransactionTimeoutMs: 1})
		_, notText := w.api.InitProducer(w.Context(), &coordinatorv1.InitProducerRequest{TransactionalId: "\xff", TransactionTimeoutMs: 1})
		_, epoch := w.api.EndTransaction(w.Context(), &coordinatorv1.EndTransactionRequest{TransactionalId: w.ids[0], ProducerEpoch: 1 << 15, TransactionVersion: 2})
		_, version := w.api.EndTransaction(w.Context(), &coordinatorv1.EndTransactionRequest{TransactionalId: w.ids[0]})
		_, unknownTopic := w.add(w.ids[0], p, false, &coordinatorv1.TransactionPartition{Topic: "t"}, &coordinatorv1.TransactionPartition{Topic: "u"})
		_, unknownID := w.add(w.ids[0], p, false, &coordinatorv1.TransactionPartition{TopicId: make([]byte, 16)})
		_, badID := w.add(w.ids[0], p, false, &coordinatorv1.TransactionPartition{TopicId: []byte{1}})
		_, partition := w.add(w.ids[0], p, false, &coordinatorv1.TransactionPartition{Topic: "t", Partition: 2})
		_, internal := w.add(w.ids[0], p, false, &coordinatorv1.TransactionPartition{Topic: txn.Topic})
		_, group := w.api.AddOffsets(w.Context(), &coordinatorv1.AddOffsetsRequest{TransactionalId: w.ids[0]})
		for name, c := range map[string]struct {
			err  error
			want errcode.Reason
		}{
			"an id that is too long": {tooLong, errcode.InvalidArgument}, "an id that is no text": {notText, errcode.InvalidArgument},
			"an epoch that cannot be": {epoch, errcode.InvalidArgument}, "no version": {version, errcode.InvalidArgument},
			"a topic that is not known": {unknownTopic, errcode.UnknownTopicID}, "an id that is not known": {unknownID, errcode.UnknownTopicID},
			"an id that cannot be": {badID, errcode.InvalidArgument}, "a partition that is not there": {partition, errcode.UnknownPartition},
			"a topic of the platform": {internal, errcode.InvalidTopicName}, "no group": {group, errcode.InvalidGroupID},
		} {
			if !errcode.Is(c.err, c.want) {
				w.Errorf("%s: %v, want %s", name, c.err, c.want)
			}
		}
		w.shards[0].Stop()
		_, err0 := w.api.EndTransaction(w.Context(), &coordinatorv1.EndTransactionRequest{TransactionalId: w.ids[0], TransactionVersion: 2})
		if !errcode.Is(err0, errcode.NotCoordinator) {
			w.Errorf("another's shard: %v", err0)
		}
	})
}
