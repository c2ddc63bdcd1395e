package kafka_test

import (
	"context"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

func TestItem20InitProducerIdInEachVersion(t *testing.T) {
	_, s, c := withCoordinator(t)
	for version := range int16(6) {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = version, kmsg.StringPtr("tx"), 60_000, 5, 7
		c.set(&coordinatorv1.InitProducerResponse{ProducerId: 5, ProducerEpoch: 8}, nil)
		got := askAt[*kmsg.InitProducerIDResponse](t, s, req)
		want := &coordinatorv1.InitProducerRequest{TransactionalId: "tx", TransactionTimeoutMs: 60_000, ProducerId: -1, ProducerEpoch: -1}
		if version >= 3 {
			want.ProducerId, want.ProducerEpoch = 5, 7
		}
		wants(t, c, want)
		if got.ErrorCode != 0 || got.ProducerID != 5 || got.ProducerEpoch != 8 {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

func TestItem19FencedProducersHearWhatTheirVersionKnows(t *testing.T) {
	f, s, c := withCoordinator(t)
	f.topic("t", 1)
	c.set(nil, refusal(errcode.ProducerFenced))
	fenced := func(version, since int16) int16 {
		if version < since {
			return 47
		}
		return 90
	}
	for version := range int16(6) {
		init := kmsg.NewPtrInitProducerIDRequest()
		init.Version, init.TransactionalID = version, kmsg.StringPtr("tx")
		if got := askAt[*kmsg.InitProducerIDResponse](t, s, init); got.ErrorCode != fenced(version, 4) || got.ProducerID != -1 {
			t.Errorf("InitProducerId %d: %+v", version, got)
		}
		end := kmsg.NewPtrEndTxnRequest()
		end.Version, end.TransactionalID = version, "tx"
		if got := askAt[*kmsg.EndTxnResponse](t, s, end); got.ErrorCode != fenced(version, 2) {
			t.Errorf("EndTxn %d: %+v", version, got)
		}
		if version <= 4 {
			add := kmsg.NewPtrAddOffsetsToTxnRequest()
			add.Version, add.TransactionalID, add.Group = version, "tx", "g"
			if got := askAt[*kmsg.AddOffsetsToTxnResponse](t, s, add); got.ErrorCode != fenced(version, 2) {
				t.Errorf("AddOffsetsToTxn %d: %+v", version, got)
			}
		}
		offsets := kmsg.NewPtrTxnOffsetCommitRequest()
		offsets.Version, offsets.TransactionalID, offsets.Group = version, "tx", "g"
		offsets.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{}}}}
		if got := askAt[*kmsg.TxnOffsetCommitResponse](t, s, offsets); got.Topics[0].Partitions[0].ErrorCode != 47 {
			t.Errorf("TxnOffsetCommit %d: %+v", version, got)
		}
	}
}

func TestItem25EndTxnTellsTheVersionOfTheTransaction(t *testing.T) {
	_, s, c := withCoordinator(t)
	for version := range int16(6) {
		req := kmsg.NewPtrEndTxnRequest()
		req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = version, "tx", 5, 7, true
		c.set(&coordinatorv1.EndTransactionResponse{ProducerId: 5, ProducerEpoch: 8}, nil)
		got := askAt[*kmsg.EndTxnResponse](t, s, req)
		want := &coordinatorv1.EndTransactionRequest{TransactionalId: "tx", ProducerId: 5, ProducerEpoch: 7, Commit: true, TransactionVersion: 1}
		if version == 5 {
			want.TransactionVersion = 2
		}
		wants(t, c, want)
		if got.ErrorCode != 0 || version == 5 && (got.ProducerID != 5 || got.ProducerEpoch != 8) {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

func TestAddPartitionsToTxnIsAllOrNothing(t *testing.T) {
	f, s, c := withCoordinator(t)
	topic := f.topic("t", 2)
	for version := range int16(6) {
		for _, missing := range []bool{false, true} {
			parts := []int32{0, 1}
			if missing {
				parts = append(parts, 9)
			}
			req := kmsg.NewPtrAddPartitionsToTxnRequest()
			req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = version, "tx", 5, 7
			req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: parts}}
			if version >= 4 {
				req.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{
					TransactionalID: "tx", ProducerID: 5, ProducerEpoch: 7, Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "t", Partitions: parts}},
				}}
			}
			c.set(&coordinatorv1.AddPartitionsResponse{Errors: []*coordinatorv1.PartError{{}, {Reason: "CONCURRENT_TRANSACTIONS"}}}, nil)
			codes := addedCodes(askAt[*kmsg.AddPartitionsToTxnResponse](t, s, req))
			if missing {
				if c.last() != nil || len(codes) != 3 || codes[0] != 55 || codes[1] != 55 || codes[2] != unknownTopic {
					t.Errorf("version %d, one is not there: codes %v", version, codes)
				}
				continue
			}
			wants(t, c, &coordinatorv1.AddPartitionsRequest{TransactionalId: "tx", ProducerId: 5, ProducerEpoch: 7, Partitions: []*coordinatorv1.TransactionPartition{
				{Topic: "t", TopicId: topic.ID[:]}, {Topic: "t", TopicId: topic.ID[:], Partition: 1},
			}})
			if len(codes) != 2 || codes[0] != 0 || codes[1] != 51 {
				t.Errorf("version %d: codes %v", version, codes)
			}
		}
	}
}

func addedCodes(resp *kmsg.AddPartitionsToTxnResponse) (codes []int16) {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	for _, tx := range resp.Transactions {
		for _, t := range tx.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	}
	return codes
}

func TestItem31TxnOffsetCommitInEachVersion(t *testing.T) {
	f, s, c := withCoordinator(t)
	topic := f.topic("t", 1)
	for version := range int16(6) {
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.Version, req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch = version, "tx", "g", 5, 7
		req.Generation, req.MemberID, req.InstanceID = 3, "m", kmsg.StringPtr("i")
		req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{
			{Offset: 42, LeaderEpoch: 2, Metadata: kmsg.StringPtr("meta")}, {Partition: 9},
		}}}
		c.set(&coordinatorv1.CommitTransactionOffsetsResponse{Errors: []*coordinatorv1.PartError{{Reason: "ILLEGAL_GENERATION"}}}, nil)
		got := askAt[*kmsg.TxnOffsetCommitResponse](t, s, req).Topics[0].Partitions
		want := &coordinatorv1.CommitTransactionOffsetsRequest{
			TransactionalId: "tx", ProducerId: 5, ProducerEpoch: 7, GroupId: "g", Generation: -1, ImplicitAdd: version >= 5,
			Offsets: []*coordinatorv1.Offset{{Topic: "t", TopicId: topic.ID[:], Offset: 42, LeaderEpoch: -1, Metadata: "meta", RetentionMs: -1}},
		}
		if version >= 2 {
			want.Offsets[0].LeaderEpoch = 2
		}
		if version >= 3 {
			want.Generation, want.MemberId, want.InstanceId = 3, "m", "i"
		}
		wants(t, c, want)
		if got[0].ErrorCode != 22 || got[1].ErrorCode != unknownTopic {
			t.Errorf("version %d: %+v", version, got)
		}
	}
}

// markerKeeper is a node that takes markers.
type markerKeeper struct {
	storageclient.Storage
	mu  sync.Mutex
	got []storageclient.Marker
}

func (m *markerKeeper) last() storageclient.Marker {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.got[len(m.got)-1]
}

func (m *markerKeeper) WriteMarkers(_ context.Context, req *storageclient.WriteMarkersRequest) (*storageclient.WriteMarkersResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, req.Markers...)
	return &storageclient.WriteMarkersResponse{Results: []storageclient.MarkerResult{{Errs: []error{errcode.New(errcode.InvalidProducerEpoch, "old")}}}}, nil
}

func TestItem32OperatorsAbortWhatHangsByMarkers(t *testing.T) {
	f, c := newFakes(t), &scripted{}
	f.shards(50)
	node := &markerKeeper{Storage: f.storage}
	f.nodes.Set(1, node)
	s := f.gateway(4, coordinated(c))
	topic := f.topic("t", 1)
	for version := int16(1); version <= 2; version++ {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Version = version
		req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{
			ProducerID: 5, ProducerEpoch: 7, CoordinatorEpoch: 3, TransactionVersion: 2, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{
				{Topic: "t", Partitions: []int32{0, 1}}, {Topic: "__consumer_offsets", Partitions: []int32{12}},
			},
		}}
		c.set(&coordinatorv1.CompleteOffsetsResponse{}, nil)
		got := askAt[*kmsg.WriteTxnMarkersResponse](t, s, req).Markers[0]
		if p := got.Topics[0].Partitions; got.ProducerID != 5 || p[0].ErrorCode != 47 || p[1].ErrorCode != unknownTopic || got.Topics[1].Partitions[0].ErrorCode != 0 {
			t.Errorf("version %d: %+v", version, got)
		}
		txnVersion := int32(version)
		m := node.last()
		if m.ProducerID != 5 || m.ProducerEpoch != 7 || m.CoordinatorEpoch != 3 || m.TransactionVersion != txnVersion || m.Commit ||
			len(m.Partitions) != 1 || m.Partitions[0].Topic != topic.ID {
			t.Errorf("version %d: the node got %+v", version, m)
		}
		wants(t, c, &coordinatorv1.CompleteOffsetsRequest{Shard: 12, ProducerId: 5, ProducerEpoch: 7, CoordinatorEpoch: 3, TransactionVersion: txnVersion})
	}
}

func TestItem32DescribeAndListTransactions(t *testing.T) {
	f, c := newFakes(t), &scripted{}
	f.shards(50)
	a, b := f.gateway(4, coordinated(c)), f.gateway(5, coordinated(c))
	f.awaitGateways(2)
	c.set(&coordinatorv1.DescribeTransactionsResponse{Transactions: []*coordinatorv1.Transaction{
		{TransactionalId: "tx", ProducerId: 5, ProducerEpoch: 7, State: "Ongoing", TimeoutMs: 60_000, StartTimeMs: 99, Partitions: []*coordinatorv1.TransactionPartition{
			{Topic: "t"}, {Topic: "u"}, {Topic: "t", Partition: 1},
		}},
		{TransactionalId: "absent", Error: &coordinatorv1.PartError{Reason: "UNKNOWN_TRANSACTION"}},
	}}, nil)
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{"tx", "absent"}
	got := askAt[*kmsg.DescribeTransactionsResponse](t, a, describe).TransactionStates
	if x := got[0]; x.ErrorCode != 0 || x.State != "Ongoing" || x.StartTimestamp != 99 || len(x.Topics) != 2 || len(x.Topics[0].Partitions) != 2 {
		t.Errorf("got %+v", x)
	}
	if got[1].ErrorCode != 105 || got[1].TransactionalID != "absent" {
		t.Errorf("got %+v", got[1])
	}
	c.set(&coordinatorv1.ListTransactionsResponse{Transactions: []*coordinatorv1.Transaction{
		{TransactionalId: "tx1", ProducerId: 5, State: "Ongoing"}, {TransactionalId: "tx2", ProducerId: 6, State: "Ongoing"},
	}}, nil)
	seen := 0
	for _, s := range []*gateway.Service{a, b} {
		list := kmsg.NewPtrListTransactionsRequest()
		list.Version, list.StateFilters, list.DurationFilterMillis, list.TransactionalIDPattern = 2, []string{"Ongoing", "Sleeping"}, 10, kmsg.StringPtr("tx.")
		resp := askAt[*kmsg.ListTransactionsResponse](t, s, list)
		wants(t, c, &coordinatorv1.ListTransactionsRequest{States: []string{"Ongoing"}, LongerThanMs: 10, IdPattern: "tx."})
		if len(resp.UnknownStateFilters) != 1 || resp.UnknownStateFilters[0] != "Sleeping" {
			t.Errorf("unknown states %v", resp.UnknownStateFilters)
		}
		seen += len(resp.TransactionStates)
	}
	if seen != 2 {
		t.Errorf("%d transactions listed by both brokers together, want each once", seen)
	}
	c.set(nil, refusal(errcode.InvalidRegularExpression))
	list := kmsg.NewPtrListTransactionsRequest()
	list.Version, list.TransactionalIDPattern = 2, kmsg.StringPtr("(")
	if resp := askAt[*kmsg.ListTransactionsResponse](t, a, list); resp.ErrorCode != 128 {
		t.Errorf("a bad pattern: %+v", resp)
	}
}
