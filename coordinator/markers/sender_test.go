package markers_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"moldau.dev/coordinator/journal/journaltest"
	"moldau.dev/coordinator/markers"
	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is nodes and shards of groups that note what they are told.
type world struct {
	*testing.T
	meta   *journaltest.Metadata
	sender *markers.Sender

	mu    sync.Mutex
	told  []string
	calls int
	hang  int // the first calls never are answered
	node  func(id int32, m storageclient.Marker, p storageclient.PartitionID) error
	whole func(id int32) error // of a call to a node
	shard func(id int32) error
}

func inBubble(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, meta: journaltest.NewMetadata()}
		w.sender = markers.New(markers.Deps{
			Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: w.meta, Nodes: w, Offsets: w, Metrics: markers.NewMetrics(nil),
		})
		test(w)
		w.sender.Close()
	})
}

type node struct {
	storageclient.Storage
	w  *world
	id int32
}

func (w *world) Node(id int32) (storageclient.Storage, error) { return node{w: w, id: id}, nil }

func (n node) WriteMarkers(ctx context.Context, req *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	time.Sleep(time.Millisecond)
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.calls++
	if n.w.hang >= n.w.calls {
		n.w.mu.Unlock()
		<-ctx.Done()
		n.w.mu.Lock()
		return nil, ctx.Err()
	}
	if n.w.whole != nil {
		if err := n.w.whole(n.id); err != nil {
			return nil, err
		}
	}
	resp := &storageclient.WriteMarkersResponse{}
	for _, m := range req.Markers {
		r := storageclient.MarkerResult{}
		for _, p := range m.Partitions {
			var err error
			if n.w.node != nil {
				err = n.w.node(n.id, m, p)
			}
			if err == nil {
				n.w.told = append(n.w.told, fmt.Sprintf("node %d: %d/%d commit=%v v%d by %d at %d", n.id, m.ProducerID, m.ProducerEpoch, m.Commit, m.TransactionVersion, m.CoordinatorEpoch, p.Index))
			}
			r.Errs = append(r.Errs, err)
		}
		resp.Results = append(resp.Results, r)
	}
	return resp, ctx.Err()
}

func (w *world) CompleteOffsets(_ context.Context, req *coordinatorv1.CompleteOffsetsRequest) (*coordinatorv1.CompleteOffsetsResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shard != nil {
		if err := w.shard(req.GetShard()); err != nil {
			return nil, err
		}
	}
	w.told = append(w.told, fmt.Sprintf("shard %d: %d/%d commit=%v v%d by %d", req.GetShard(), req.GetProducerId(), req.GetProducerEpoch(), req.GetCommit(), req.GetTransactionVersion(), req.GetCoordinatorEpoch()))
	return &coordinatorv1.CompleteOffsetsResponse{}, nil
}

// lead makes a topic whose partition i node leaders[i] leads.
func (w *world) lead(name string, leaders ...int32) topicid.ID {
	id := w.meta.Create(name, len(leaders))
	w.meta.Change(func(v *metadataclient.View) {
		t := *v.Topics[name]
		t.Partitions = slices.Clone(t.Partitions)
		for i, l := range leaders {
			t.Partitions[i].Leader = l
		}
		v.Topics[name], v.TopicsByID[id] = &t, &t
	})
	return id
}

func (w *world) message(topic topicid.ID, partitions []int32, shards ...int32) txn.SendMarkers {
	var at []txn.Partition
	for _, p := range partitions {
		at = append(at, txn.Partition{Topic: topic, Index: p})
	}
	return txn.SendMarkers{
		ID: "app", Producer: txn.Identity{ProducerID: 7, Epoch: 3}, CoordinatorEpoch: 9, Version: 2, Commit: true,
		Participants: txn.NewParticipants(at, shards), Revision: w.meta.View().Revision,
	}
}

func (w *world) send(m txn.SendMarkers) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	if err := w.sender.Send(ctx, m); err != nil {
		w.Error(err)
	}
}

func (w *world) want(lines ...string) {
	w.Helper()
	slices.Sort(w.told)
	if !slices.Equal(w.told, lines) {
		w.Errorf("told:\n%s\nwant:\n%s", strings.Join(w.told, "\n"), strings.Join(lines, "\n"))
	}
}

func TestEveryParticipantIsTold(t *testing.T) {
	inBubble(t, func(w *world) {
		w.send(w.message(w.lead("t", 1, 2, 1), []int32{0, 1, 2}, 4, 5))
		w.want(
			"node 1: 7/3 commit=true v2 by 9 at 0", "node 1: 7/3 commit=true v2 by 9 at 2", "node 2: 7/3 commit=true v2 by 9 at 1",
			"shard 4: 7/3 commit=true v2 by 9", "shard 5: 7/3 commit=true v2 by 9")
		if w.calls != 2 {
			w.Errorf("%d calls to two nodes", w.calls)
		}
	})
}

// TestOnlyWhatFailedIsToldAgain, wherever its leader is by then.
func TestOnlyWhatFailedIsToldAgain(t *testing.T) {
	for _, reason := range []errcode.Reason{errcode.NotLeader, errcode.NotEnoughReplicas, errcode.RequestTimedOut, errcode.UnknownTopicID, errcode.StorageError} {
		inBubble(t, func(w *world) {
			topic := w.lead("t", 1, 1)
			w.node = func(id int32, _ storageclient.Marker, p storageclient.PartitionID) error {
				if p.Index == 1 && id == 1 {
					return errcode.New(reason, "not here")
				}
				return nil
			}
			time.AfterFunc(5*time.Second, func() { w.lead("t", 1, 2) })
			w.send(w.message(topic, []int32{0, 1}))
			w.want("node 1: 7/3 commit=true v2 by 9 at 0", "node 2: 7/3 commit=true v2 by 9 at 1")
		})
	}
}

func TestANodeAndAShardThatDoNotAnswerAreAskedUntilTheyDo(t *testing.T) {
	inBubble(t, func(w *world) {
		nodeDown, shardDown := 20, 20
		w.whole = func(int32) error {
			if nodeDown--; nodeDown > 0 {
				return errcode.New(errcode.NodeUnavailable, "gone")
			}
			return nil
		}
		w.shard = func(int32) error {
			if shardDown--; shardDown > 0 {
				return errcode.New(errcode.CoordinatorLoading, "loading")
			}
			return nil
		}
		w.send(w.message(w.lead("t", 1), []int32{0}, 4))
		w.want("node 1: 7/3 commit=true v2 by 9 at 0", "shard 4: 7/3 commit=true v2 by 9")
	})
}

// TestAHangingCallIsGivenUpAndRepeated: the node was paused with it in hand.
func TestAHangingCallIsGivenUpAndRepeated(t *testing.T) {
	inBubble(t, func(w *world) {
		w.hang = 2
		w.send(w.message(w.lead("t", 1), []int32{0}))
		w.want("node 1: 7/3 commit=true v2 by 9 at 0")
	})
}

// TestADeletedTopicNeedsNoMarker (T10), but one that is only not known yet does
// (invariant 17).
func TestADeletedTopicNeedsNoMarker(t *testing.T) {
	inBubble(t, func(w *world) {
		topic := w.lead("t", 1)
		m := w.message(topic, []int32{0})
		w.node = func(int32, storageclient.Marker, storageclient.PartitionID) error {
			return errcode.New(errcode.UnknownTopicID, "deleted")
		}
		time.AfterFunc(3*time.Second, func() {
			w.meta.Change(func(v *metadataclient.View) { delete(v.TopicsByID, topic) })
		})
		w.send(m)
		w.want()
	})
	inBubble(t, func(w *world) {
		topic := w.lead("t", 1)
		known := w.meta.View().TopicsByID[topic]
		w.meta.Change(func(v *metadataclient.View) { delete(v.TopicsByID, topic) }) // as a process that lags sees it
		m := w.message(topic, []int32{0})
		m.Revision++
		time.AfterFunc(3*time.Second, func() {
			w.meta.Change(func(v *metadataclient.View) { v.TopicsByID[topic] = known })
		})
		w.send(m)
		w.want("node 1: 7/3 commit=true v2 by 9 at 0")
	})
}

func TestAPartitionWithoutALeaderIsWaitedFor(t *testing.T) {
	inBubble(t, func(w *world) {
		topic := w.lead("t", -1)
		time.AfterFunc(20*time.Second, func() { w.lead("t", 2) })
		w.send(w.message(topic, []int32{0}))
		w.want("node 2: 7/3 commit=true v2 by 9 at 0")
	})
}

// TestAPartitionBeyondTheMarkerIsDone: whoever got there first had written it.
func TestAPartitionBeyondTheMarkerIsDone(t *testing.T) {
	inBubble(t, func(w *world) {
		w.node = func(int32, storageclient.Marker, storageclient.PartitionID) error {
			return errcode.New(errcode.InvalidProducerEpoch, "epoch 4 is known")
		}
		w.send(w.message(w.lead("t", 1), []int32{0}))
	})
}

// TestWhoIsFencedNeverSaysDone: a newer owner writes the markers; this one ends
// when its shard does.
func TestWhoIsFencedNeverSaysDone(t *testing.T) {
	inBubble(t, func(w *world) {
		w.node = func(int32, storageclient.Marker, storageclient.PartitionID) error {
			return errcode.New(errcode.CoordinatorFenced, "epoch 10 is known")
		}
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		if err := w.sender.Send(ctx, w.message(w.lead("t", 1), []int32{0})); err == nil {
			w.Error("it says done")
		}
		if w.calls > 100 {
			w.Errorf("%d calls in a minute", w.calls)
		}
	})
}

// TestManyTransactionsShareCalls: what comes while calls are under way goes
// together.
func TestManyTransactionsShareCalls(t *testing.T) {
	inBubble(t, func(w *world) {
		topic := w.lead("t", 1)
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() { w.send(w.message(topic, []int32{0})) })
		}
		all.Wait()
		if len(w.told) != 500 || w.calls > 50 {
			w.Errorf("%d markers in %d calls", len(w.told), w.calls)
		}
	})
}

func TestAnswersForOtherMarkersCountForNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		w.meta.Change(func(*metadataclient.View) {})
		s := markers.New(markers.Deps{
			Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: w.meta, Nodes: liar{}, Metrics: markers.NewMetrics(nil),
		})
		defer s.Close()
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		if err := s.Send(ctx, w.message(w.lead("t", 1), []int32{0})); err == nil {
			w.Error("it says done")
		}
	})
}

// liar is a node that answers too little.
type liar struct{ storageclient.Storage }

func (l liar) Node(int32) (storageclient.Storage, error) { return l, nil }

func (liar) WriteMarkers(context.Context, *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	return &storageclient.WriteMarkersResponse{Results: []storageclient.MarkerResult{{}}}, nil
}
