package kafka_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/errcode"
	"moldau.dev/storage-node/storageclient"
)

// holding is a node whose appends have their place at once, and are answered
// when the test says what of them.
type holding struct {
	storageclient.Storage
	placed chan struct{}
	answer chan error
}

func (h *holding) Append(ctx context.Context, req *storageclient.AppendRequest) (*storageclient.AppendResponse, error) {
	resp, err := h.Storage.Append(ctx, req)
	if err != nil {
		return nil, err
	}
	if req.Ordered != nil {
		req.Ordered()
	}
	select {
	case h.placed <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case bad := <-h.answer:
		if bad != nil {
			resp.Results[0] = storageclient.AppendResult{Err: bad, BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1}
		}
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestNextRequestIsReadWhileTheLastWaitsForReplicas (item 3: answers come in the
// order of the requests all the same).
func TestNextRequestIsReadWhileTheLastWaitsForReplicas(t *testing.T) {
	const n = 5
	f := newFakes(t)
	h := &holding{Storage: f.storage, placed: make(chan struct{}), answer: make(chan error)}
	f.nodes.Set(1, h)
	s := f.gateway(1)
	f.topic("t", 1)
	w := dial(t, s.KafkaAddr())
	for i := range int32(n) {
		w.send(kmsg.NewRequestFormatter().AppendRequest(nil, produceOf("t", 0, batch(fmt.Sprint(i))), i))
	}
	w.send(kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), n))
	for range n {
		<-h.placed // all of them, while none has an answer
	}
	for i := range n {
		var bad error
		if i == 2 {
			bad = errcode.New(errcode.NotEnoughReplicasAfterAppend, "too few")
		}
		h.answer <- bad // to any of them
	}
	refused := 0
	for i := range int32(n) {
		id, body, err := w.read()
		if err != nil || id != i {
			t.Fatalf("answer %d has correlation id %d: %v", i, id, err)
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 12
		check(t, resp.ReadFrom(body[1:]))
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 {
			refused++
			continue
		}
		if p.BaseOffset != int64(i) {
			t.Errorf("answer %d tells of offset %d", i, p.BaseOffset)
		}
	}
	if refused != 1 {
		t.Errorf("%d are refused, want 1", refused)
	}
	if id, _, err := w.read(); err != nil || id != n {
		t.Errorf("what follows is answered with correlation id %d: %v", id, err)
	}
}

// TestClientThatGoesIsWaitedFor: what is appended is so, and nothing leaks.
func TestClientThatGoesIsWaitedFor(t *testing.T) {
	f := newFakes(t)
	h := &holding{Storage: f.storage, placed: make(chan struct{}), answer: make(chan error)}
	f.nodes.Set(1, h)
	s := f.gateway(1)
	f.topic("t", 1)
	w := dial(t, s.KafkaAddr())
	for i := range int32(2) {
		w.send(kmsg.NewRequestFormatter().AppendRequest(nil, produceOf("t", 0, batch(fmt.Sprint(i))), i))
	}
	<-h.placed
	<-h.placed
	check(t, w.conn.Close())
	h.answer <- nil
	h.answer <- nil
	if got := f.storage.Appends(); got != 2 {
		t.Errorf("%d appends", got)
	}
}
