package kafka_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// guarded is a node whose partitions open no transaction without a guard.
type guarded struct {
	storageclient.Storage
	plain atomic.Int32 // appends that needed none
}

func (g *guarded) Append(ctx context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	resp := &storageclient.AppendResponse{}
	for i := range req.Partitions {
		h := must(record.ParseHeader(req.Partitions[i].Batch))
		if h.Transactional() && req.Partitions[i].Guard == 0 {
			resp.Results = append(resp.Results, storageclient.AppendResult{VerifyGuard: 9})
			continue
		}
		one := must(g.Storage.Append(ctx, &storageclient.AppendRequest{Partitions: req.Partitions[i : i+1], Acks: req.Acks}))
		resp.Results = append(resp.Results, one.Results[0])
		if req.Partitions[i].Guard == 0 {
			g.plain.Add(1)
		}
	}
	return resp, nil
}

// txnBatch is a batch of a producer's transaction.
func txnBatch(producer int64, epoch int16) []byte {
	opts := record.DefaultBuilderOptions()
	opts.ProducerID, opts.ProducerEpoch, opts.BaseSequence, opts.Transactional = producer, epoch, 0, true
	b := record.NewBuilder(opts)
	b.Append(&record.Record{Value: []byte("x"), Timestamp: 1_700_000_000_000})
	return must(b.Build(nil))
}

// produceTxn sends batches of a transaction, one to each partition, in some
// version.
func produceTxn(version int16, id string, batches ...[]byte) *kmsg.ProduceRequest {
	req := produceOf("t", 0, batches[0])
	for i, b := range batches[1:] {
		part := req.Topics[0].Partitions[0]
		part.Partition, part.Records = int32(i+1), b
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
	}
	req.Version = version
	if id != "" {
		req.TransactionID = &id
	}
	return req
}

func withGuards(t *testing.T) (*fakes, *guarded, *scripted, func(*kmsg.ProduceRequest) []int16) {
	f, c := newFakes(t), &scripted{}
	f.shards(50)
	node := &guarded{Storage: f.storage}
	f.nodes.Set(1, node)
	s := f.gateway(4, coordinated(c))
	f.topic("t", 2)
	return f, node, c, func(req *kmsg.ProduceRequest) (codes []int16) {
		for _, p := range askAt[*kmsg.ProduceResponse](t, s, req).Topics[0].Partitions {
			codes = append(codes, p.ErrorCode)
		}
		return codes
	}
}

func TestItem25AppendingAddsThePartitionFromVersion12On(t *testing.T) {
	f, _, c, produce := withGuards(t)
	topic := f.meta.View().Topics["t"]
	for version := int16(3); version <= 12; version++ {
		c.set(&coordinatorv1.AddPartitionsResponse{Errors: []*coordinatorv1.PartError{{}}}, nil)
		if codes := produce(produceTxn(version, "tx", txnBatch(int64(version), 1))); codes[0] != 0 {
			t.Errorf("version %d: code %d", version, codes[0])
		}
		wants(t, c, &coordinatorv1.AddPartitionsRequest{
			TransactionalId: "tx", ProducerId: int64(version), ProducerEpoch: 1, VerifyOnly: version < 12,
			Partitions: []*coordinatorv1.TransactionPartition{{TopicId: topic.ID[:]}},
		})
	}
}

func TestItem24WhatCoordinatorsRefuseIsToldInTheWordsOfTheVersion(t *testing.T) {
	_, _, c, produce := withGuards(t)
	for _, tc := range []struct {
		reason  errcode.Reason
		version int16
		want    int16
	}{
		{errcode.TransactionAbortable, 10, 48}, {errcode.TransactionAbortable, 11, 120}, {errcode.TransactionAbortable, 12, 120},
		{errcode.InvalidTransactionState, 12, 48}, {errcode.ProducerFenced, 12, 47}, {errcode.InvalidProducerEpoch, 12, 47}, {errcode.InvalidProducerMapping, 12, 49},
	} {
		c.set(&coordinatorv1.AddPartitionsResponse{Errors: []*coordinatorv1.PartError{{Reason: string(tc.reason)}}}, nil)
		if codes := produce(produceTxn(tc.version, "tx", txnBatch(5, 1))); codes[0] != tc.want {
			t.Errorf("%s, version %d: code %d, want %d", tc.reason, tc.version, codes[0], tc.want)
		}
	}
}

func TestTransactionalBatchesOfSeveralProducersAreRefused(t *testing.T) {
	f, _, c, produce := withGuards(t)
	c.set(&coordinatorv1.AddPartitionsResponse{Errors: []*coordinatorv1.PartError{{}}}, nil)
	for _, b := range [][]byte{txnBatch(6, 1), txnBatch(5, 2)} {
		if codes := produce(produceTxn(12, "tx", txnBatch(5, 1), b)); codes[0] != 49 || codes[1] != 49 {
			t.Errorf("codes %v", codes)
		}
	}
	if f.storage.Appends() > 0 {
		t.Error("something was appended")
	}
}

// TestB17ABatchOfATransactionNeedsATransactionalId keeps a producer that has no
// right to an id from writing under it.
func TestB17ABatchOfATransactionNeedsATransactionalId(t *testing.T) {
	f, _, _, produce := withGuards(t)
	if codes := produce(produceTxn(12, "", txnBatch(5, 1))); codes[0] != 53 || f.storage.Appends() > 0 {
		t.Errorf("codes %v", codes)
	}
}

func TestBatchesOfNoTransactionNeedNoCoordinator(t *testing.T) {
	_, node, c, produce := withGuards(t)
	c.set(&coordinatorv1.AddPartitionsResponse{Errors: []*coordinatorv1.PartError{{}}}, nil)
	if codes := produce(produceTxn(12, "tx", batch("plain"), txnBatch(5, 1))); codes[0] != 0 || codes[1] != 0 || node.plain.Load() != 1 {
		t.Errorf("codes %v, %d without a guard", codes, node.plain.Load())
	}
	c.set(nil, refusal(errcode.CoordinatorUnavailable))
	if codes := produce(produceTxn(12, "tx", batch("plain"))); codes[0] != 0 {
		t.Errorf("codes %v", codes)
	}
}
