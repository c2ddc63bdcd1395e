package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

func (r *rig) partition(topic string, index int32) storageclient.PartitionID {
	return storageclient.PartitionID{Topic: r.meta.View().Topics[topic].ID, Index: index}
}

// TestConcurrentProducesShareBatchesInOrder: each producer's records stand in
// its order, each answer's offsets are those of its records, and while one
// batch is under way the others gather into the next.
func TestConcurrentProducesShareBatchesInOrder(t *testing.T) {
	const producers, each = 16, 40
	r := newRig(t)
	r.topic("t", 1)
	r.storage.AfterAppend = func(*storageclient.AppendRequest) error {
		time.Sleep(time.Millisecond) // a disk; without it nothing gathers
		return nil
	}
	where := make([][each]int64, producers)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				resp, err := grpcAPI{r.grpc}.Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "t", Records: []*moldauv1.Record{
					{Value: fmt.Appendf(nil, "%d/%d", p, i)}, {Value: fmt.Appendf(nil, "%d/%d+", p, i)},
				}})
				if err != nil || resp.GetResults()[0].GetError() != nil {
					t.Errorf("produce: %v, %v", resp, err)
					return
				}
				where[p][i] = resp.GetResults()[0].GetBaseOffset()
			}
		})
	}
	wg.Wait()
	values := r.storage.Values(r.partition("t", 0))
	if len(values) != producers*each*2 {
		t.Fatalf("%d records, want %d", len(values), producers*each*2)
	}
	for p := range producers {
		last := int64(-1)
		for i, base := range where[p] {
			if base <= last {
				t.Fatalf("producer %d: offset %d after %d", p, base, last)
			}
			if got, want := values[base], fmt.Sprintf("%d/%d", p, i); got != want || values[base+1] != want+"+" {
				t.Fatalf("at %d: %s and %s, want %s", base, got, values[base+1], want)
			}
			last = base
		}
	}
	if n := r.storage.Appends(); n > producers*each/2 {
		t.Errorf("%d appends for %d produces: nothing was gathered", n, producers*each)
	}
}

func TestKeysGoWhereKafkasJavaClientSendsThem(t *testing.T) {
	r := newRig(t)
	r.topic("t", 7)
	var records []*moldauv1.Record
	for i := range 50 {
		records = append(records, &moldauv1.Record{Key: fmt.Appendf(nil, "key-%d", i)})
	}
	records = append(records, &moldauv1.Record{Value: []byte("a")}, &moldauv1.Record{Value: []byte("b")})
	resp, err := grpcAPI{r.grpc}.Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "t", Records: records})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int32]int32{}
	for _, res := range resp.GetResults() {
		if int(res.GetRecordCount()) != len(res.GetRecordIndexes()) {
			t.Errorf("%d records, %d indexes", res.GetRecordCount(), len(res.GetRecordIndexes()))
		}
		for _, i := range res.GetRecordIndexes() {
			seen[i] = res.GetPartition()
		}
	}
	for i := range int32(50) {
		if want := routing.PartitionForKey(records[i].GetKey(), 7); seen[i] != want {
			t.Errorf("%s went to %d, want %d", records[i].GetKey(), seen[i], want)
		}
	}
	if len(seen) != len(records) || seen[50] != seen[51] {
		t.Errorf("%d of %d records placed; those without a key in %d and %d", len(seen), len(records), seen[50], seen[51])
	}
}

// failing fails the calls that it is told to.
func failing(after int, times int, err error) func(*storageclient.AppendRequest) error {
	var calls atomic.Int32
	return func(*storageclient.AppendRequest) error {
		if n := int(calls.Add(1)); n > after && n <= after+times {
			return err
		}
		return nil
	}
}

// TestLostAnswersAppendOnce: the gateway's own sequence makes it safe to ask
// again where nobody knows whether a batch was taken.
func TestLostAnswersAppendOnce(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.storage.AfterAppend = failing(1, 2, errcode.New(errcode.NodeUnavailable, "the answer was lost"))
	r.storage.BeforeAppend = failing(6, 1, errcode.New(errcode.NodeUnavailable, "the request was lost"))
	for i := range 8 {
		resp, err := grpcAPI{r.grpc}.Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "t", Records: one(fmt.Sprint(i))})
		if err != nil || resp.GetResults()[0].GetError() != nil || resp.GetResults()[0].GetBaseOffset() != int64(i) || resp.GetResults()[0].GetDuplicate() {
			t.Fatalf("produce %d: %v, %v", i, resp, err)
		}
	}
	if got := strings.Join(r.storage.Values(r.partition("t", 0)), ""); got != "01234567" {
		t.Errorf("the log holds %s", got)
	}
}

// TestForeignBatchIsNotSentTwice: a batch without a producer may be in the log
// after a lost answer, so the caller must decide (rule G4).
func TestForeignBatchIsNotSentTwice(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.storage.AfterAppend = failing(0, 1, errcode.New(errcode.NodeUnavailable, "the answer was lost"))
	b := record.NewBuilder(record.DefaultBuilderOptions())
	b.Append(&record.Record{Value: []byte("v"), Timestamp: 1})
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := grpcAPI{r.grpc}.Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(0)), RecordBatch: batch})
	if err != nil {
		t.Fatal(err)
	}
	if e := resp.GetResults()[0].GetError(); e.GetReason() != string(errcode.NodeUnavailable) || !e.GetRetryable() {
		t.Errorf("answered %v", resp)
	}
	if got := r.storage.Appends(); got != 1 {
		t.Errorf("%d appends", got)
	}
}

func TestClientSequenceIsPassedThrough(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	a := grpcAPI{r.grpc}
	id, err := a.InitProducer(t.Context(), &moldauv1.InitProducerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	send := func(seq int32) *moldauv1.ProduceResult {
		t.Helper()
		resp, err := a.Produce(t.Context(), &moldauv1.ProduceRequest{
			Topic: "t", Partition: ptr(int32(0)), Records: one(fmt.Sprint(seq)),
			Producer: &moldauv1.ProducerSequence{ProducerId: id.GetProducerId(), Sequence: seq},
		})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetResults()[0]
	}
	if res := send(0); res.GetBaseOffset() != 0 || res.GetDuplicate() {
		t.Errorf("first: %v", res)
	}
	if res := send(0); res.GetBaseOffset() != 0 || !res.GetDuplicate() {
		t.Errorf("again: %v", res)
	}
	if res := send(5); res.GetError().GetReason() != string(errcode.OutOfOrderSequence) {
		t.Errorf("with a gap: %v", res)
	}
	if res := send(1); res.GetBaseOffset() != 1 {
		t.Errorf("next: %v", res)
	}
}

func TestConditionalAppend(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	send := func(expected int64) *moldauv1.ProduceResult {
		t.Helper()
		resp, err := grpcAPI{r.grpc}.Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(0)), Records: one("v"), ExpectedOffset: &expected})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetResults()[0]
	}
	if res := send(0); res.GetError() != nil {
		t.Error(res)
	}
	if res := send(0); res.GetError().GetReason() != string(errcode.OffsetMismatch) || res.GetError().GetMetadata()["end_offset"] != "1" || res.GetBaseOffset() != -1 {
		t.Error(res)
	}
	if res := send(1); res.GetError() != nil || res.GetBaseOffset() != 1 {
		t.Error(res)
	}
}

// TestProduceFollowsTheLeader: the first node asked refuses, and metadata
// names the second only later.
func TestProduceFollowsTheLeader(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	second := gatewaytest.NewStorage(clock.Real())
	r.nodes.Set(2, second)
	asked := make(chan struct{}, 100)
	r.storage.Refuse(func(storageclient.PartitionID, int32) error {
		asked <- struct{}{}
		return errcode.New(errcode.NotLeader, "led by node 2")
	})
	go func() {
		<-asked
		r.meta.Lead("t", 0, 2)
	}()
	resp, err := grpcAPI{r.grpc}.Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "t", Records: one("v")})
	if err != nil || resp.GetResults()[0].GetError() != nil || second.Appends() != 1 || resp.GetResults()[0].GetLeaderEpoch() != 1 {
		t.Errorf("%v, %v, %d appends", resp, err, second.Appends())
	}
}

// TestOneBadRecordDoesNotSpoilAnothersBatch: the node refuses a batch that
// several share, and only who is at fault is told so.
func TestOneBadRecordDoesNotSpoilAnothersBatch(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	first, gate, waiting := true, make(chan struct{}), make(chan struct{})
	r.storage.BeforeAppend = func(*storageclient.AppendRequest) error {
		if first {
			first = false
			close(waiting)
			<-gate // until the others have gathered
		}
		return nil
	}
	var judged []int32
	r.storage.Judge = func(batch []byte) error {
		h, err := record.ParseHeader(batch)
		if err != nil {
			return err
		}
		judged = append(judged, h.Count)
		if bytes.Contains(batch, []byte("poison")) {
			return errcode.New(errcode.InvalidRecord, "poison").With("record_index", 0)
		}
		return nil
	}
	stream, err := moldauv1.NewProduceServiceClient(r.grpc).ProduceStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sent := []string{"a", "b", "poison", "c"}
	for i, v := range sent {
		if err := stream.Send(&moldauv1.ProduceStreamRequest{CorrelationId: int64(i), Request: &moldauv1.ProduceRequest{Topic: "t", Records: one(v)}}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-waiting
		}
	}
	time.AfterFunc(100*time.Millisecond, func() { close(gate) })
	for i, v := range sent {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		res := resp.GetResponse().GetResults()[0]
		if bad := v == "poison"; (res.GetError().GetReason() == string(errcode.InvalidRecord)) != bad || (res.GetBaseOffset() < 0) != bad {
			t.Errorf("answer %d: %v", i, res)
		}
	}
	if got := strings.Join(r.storage.Values(r.partition("t", 0)), " "); got != "a b c" {
		t.Errorf("the log holds %s", got)
	}
	if fmt.Sprint(judged) != "[1 3 1 1 1]" {
		t.Errorf("batches of %v", judged)
	}
}

// TestProduceStreamAnswersInOrder: errors of single requests do not end it.
func TestProduceStreamAnswersInOrder(t *testing.T) {
	r := newRig(t)
	r.topic("t", 4)
	for name, conn := range map[string]moldauv1.ProduceServiceClient{
		"grpc": moldauv1.NewProduceServiceClient(r.grpc), "grpc on http port": moldauv1.NewProduceServiceClient(dial(t, r.service.HTTPAddr())),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		stream, err := conn.ProduceStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		const n = 2000
		go func() {
			for i := range int64(n) {
				topic := "t"
				if i%10 == 7 {
					topic = "nope"
				}
				if err := stream.Send(&moldauv1.ProduceStreamRequest{CorrelationId: i, Request: &moldauv1.ProduceRequest{Topic: topic, Partition: ptr(int32(i % 4)), Records: one("v")}}); err != nil {
					t.Errorf("%s: send %d: %v", name, i, err)
					return
				}
			}
			_ = stream.CloseSend()
		}()
		for i := range int64(n) {
			resp, err := stream.Recv()
			if err != nil || resp.GetCorrelationId() != i || (resp.GetError() != nil) != (i%10 == 7) {
				t.Fatalf("%s: answer %d: %v, %v", name, i, resp, err)
			}
		}
		if _, err := stream.Recv(); err == nil {
			t.Errorf("%s: more than was asked", name)
		}
		cancel()
	}
}

func TestAcksNoneAnswersBeforeTheAppend(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	gate, appended := make(chan struct{}), make(chan struct{})
	r.storage.BeforeAppend = func(*storageclient.AppendRequest) error { <-gate; return nil }
	r.storage.AfterAppend = func(*storageclient.AppendRequest) error { close(appended); return nil }
	resp, err := grpcAPI{r.grpc}.Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "t", Records: one("v"), Acks: moldauv1.Acks_ACKS_NONE})
	if err != nil || resp.GetResults()[0].GetBaseOffset() != -1 {
		t.Fatalf("%v, %v", resp, err)
	}
	close(gate)
	<-appended
}

func TestUnknownTopicIsCreatedWhereConfigured(t *testing.T) {
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.AutoCreateTopics = true })
	var wg sync.WaitGroup
	for range 8 { // all at once: one creates, the others find it
		wg.Go(func() {
			resp, err := grpcAPI{r.grpc}.Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "new", Records: one("v")})
			if err != nil || resp.GetResults()[0].GetError() != nil {
				t.Errorf("%v, %v", resp, err)
			}
		})
	}
	wg.Wait()
	if _, err := (grpcAPI{r.grpc}).Produce(t.Context(), &moldauv1.ProduceRequest{Topic: "no/name", Records: one("v")}); errcode.ReasonOf(err) != errcode.InvalidTopicName {
		t.Errorf("a name that is none: %v", err)
	}
}

func TestProduceGivesUpAtTheDeadline(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.meta.Change(func(v *metadataclient.View) { delete(v.Nodes, 1) })
	r.nodes.Set(1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	resp, err := grpcAPI{r.grpc}.Produce(ctx, &moldauv1.ProduceRequest{Topic: "t", Records: one("v")})
	if err == nil && resp.GetResults()[0].GetError().GetRetryable() {
		return // the answer was as quick as the deadline
	}
	if errcode.ReasonOf(err) != errcode.RequestTimedOut {
		t.Errorf("%v, %v", resp, err)
	}
}

// TestBatchesOfAStreamAreNotMixedUp: their memory is used again as soon as each
// is appended, while others are still under way.
func TestBatchesOfAStreamAreNotMixedUp(t *testing.T) {
	r := newRig(t)
	r.topic("t", 3)
	stream, err := moldauv1.NewProduceServiceClient(r.grpc).ProduceStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const n = 300
	value := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 1+i*157%40_000) }
	go func() {
		for i := range n {
			b := record.NewBuilder(record.DefaultBuilderOptions())
			b.Append(&record.Record{Value: value(i)})
			batch, err := b.Build(nil)
			if err == nil {
				err = stream.Send(&moldauv1.ProduceStreamRequest{Request: &moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(i % 3)), RecordBatch: batch}})
			}
			if err != nil {
				t.Errorf("send %d: %v", i, err)
				return
			}
		}
	}()
	for i := range n {
		resp, err := stream.Recv()
		if err != nil || resp.GetResponse().GetResults()[0].GetBaseOffset() != int64(i/3) {
			t.Fatalf("answer %d: %v, %v", i, resp, err)
		}
	}
	for i := range n {
		resp, err := grpcAPI{r.grpc}.Fetch(t.Context(), &moldauv1.FetchRequest{Topic: "t", Partition: int32(i % 3), Position: at(int64(i / 3)), MaxRecords: 1})
		if err != nil || !bytes.Equal(resp.GetRecords()[0].GetValue(), value(i)) {
			t.Fatalf("record %d is not what was sent: %v", i, err)
		}
	}
}
