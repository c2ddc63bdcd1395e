package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewaytest"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

type frames struct {
	t      testing.TB
	stream grpc.ServerStreamingClient[moldauv1.ReadResponse]
}

func (r *rig) read(ctx context.Context, req *moldauv1.ReadRequest) frames {
	r.t.Helper()
	stream, err := moldauv1.NewReadServiceClient(r.grpc).Read(ctx, req)
	if err != nil {
		r.t.Fatal(err)
	}
	return frames{r.t, stream}
}

func (f frames) next() *moldauv1.ReadResponse {
	f.t.Helper()
	resp, err := f.stream.Recv()
	if err != nil {
		f.t.Fatal(err)
	}
	return resp
}

// until returns the first frame that fits; the others are passed over.
func (f frames) until(fits func(*moldauv1.ReadResponse) bool) *moldauv1.ReadResponse {
	f.t.Helper()
	for {
		if resp := f.next(); fits(resp) {
			return resp
		}
	}
}

// all returns the values of every record to the stream's end.
func (f frames) all() (values []string) {
	f.t.Helper()
	for {
		resp, err := f.stream.Recv()
		if errors.Is(err, io.EOF) {
			return values
		}
		if err != nil {
			f.t.Fatal(err)
		}
		for _, rec := range resp.GetRecords().GetRecords() {
			values = append(values, string(rec.GetValue()))
		}
	}
}

func (r *rig) produce(topic string, partition int32, values ...string) {
	r.t.Helper()
	for _, v := range values {
		resp, err := grpcAPI{r.grpc}.Produce(r.t.Context(), &moldauv1.ProduceRequest{Topic: topic, Partition: &partition, Records: one(v)})
		if err != nil || resp.GetResults()[0].GetError() != nil {
			r.t.Fatalf("%v, %v", resp, err)
		}
	}
}

func whole(topic string, pos *moldauv1.Position) *moldauv1.ReadRequest {
	return &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: topic, Position: pos}}}
}

func TestReadStartsWhereAsked(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.produce("t", 0, "0", "1", "2", "3", "4")
	for name, c := range map[string]struct {
		at   *moldauv1.Position
		want string
	}{
		"absent":       {nil, "01234"},
		"start":        {&moldauv1.Position{At: &moldauv1.Position_Start{Start: true}}, "01234"},
		"offset":       {at(3), "34"},
		"before end":   {&moldauv1.Position{At: &moldauv1.Position_BeforeEnd{BeforeEnd: 2}}, "34"},
		"long before":  {&moldauv1.Position{At: &moldauv1.Position_BeforeEnd{BeforeEnd: 99}}, "01234"},
		"end":          {&moldauv1.Position{At: &moldauv1.Position_End{End: true}}, ""},
		"the very end": {at(5), ""},
	} {
		req := whole("t", c.at)
		req.UntilEnd = true
		if got := strings.Join(r.read(t.Context(), req).all(), ""); got != c.want {
			t.Errorf("%s: read %q, want %q", name, got, c.want)
		}
	}
	req := whole("t", nil)
	req.MaxRecords = 3
	if got := strings.Join(r.read(t.Context(), req).all(), ""); got != "012" {
		t.Errorf("three records: %q", got)
	}
}

// TestReadBeatsWhileNothingComes moves the clock by hand: five seconds of
// silence bring a heartbeat.
func TestReadBeatsWhileNothingComes(t *testing.T) {
	clk := clock.NewManual(time.UnixMilli(1_800_000_000_000))
	r := newRig(t, func(_ *gateway.Config, d *gateway.Deps) { d.Clock = clk })
	r.topic("t", 2)
	f := r.read(t.Context(), whole("t", nil))
	f.until(func(f *moldauv1.ReadResponse) bool { return f.GetCaughtUp().GetPartition() == 1 })
	stop := make(chan struct{})
	defer close(stop)
	go func() { // moves only while asked to, 5 s at a time at the most
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				clk.Advance(time.Second)
			}
		}
	}()
	for range 3 {
		beat := f.next().GetHeartbeat()
		if len(beat.GetPlaces()) != 2 {
			t.Fatalf("heartbeat %v", beat)
		}
	}
}

func TestReadTailsSeveralNodesAndTopics(t *testing.T) {
	r := newRig(t)
	second := gatewaytest.NewStorage(clock.Real())
	r.nodes.Set(2, second)
	r.topic("a", 2)
	r.topic("b", 1)
	r.meta.Lead("a", 1, 2)
	f := r.read(t.Context(), &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "a"}, {Topic: "b"}}})
	if started := f.next().GetStarted(); len(started.GetPlaces()) != 3 || started.GetOrigin().GetRevision() == 0 {
		t.Fatalf("started %v", started)
	}
	for i := range 20 {
		topic, partition := [...]string{"a", "a", "b"}[i%3], int32(i%3%2)
		r.produce(topic, partition, fmt.Sprint(i))
		got := f.until(func(f *moldauv1.ReadResponse) bool { return f.GetRecords() != nil }).GetRecords()
		if got.GetTopic() != topic || got.GetPartition() != partition || string(got.GetRecords()[0].GetValue()) != fmt.Sprint(i) {
			t.Fatalf("record %d: %v", i, got)
		}
	}
}

func TestReadFollowsTheLeaderAndNewPartitions(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	f := r.read(t.Context(), whole("t", nil))
	f.until(func(f *moldauv1.ReadResponse) bool { return f.GetCaughtUp() != nil })

	second := gatewaytest.NewStorage(clock.Real())
	r.nodes.Set(2, second)
	r.storage.Refuse(func(id storageclient.PartitionID, _ int32) error {
		if id.Index == 0 {
			return errcode.New(errcode.NotLeader, "led by node 2")
		}
		return nil
	})
	r.meta.Lead("t", 0, 2)
	r.produce("t", 0, "moved")
	f.until(func(f *moldauv1.ReadResponse) bool {
		return len(f.GetRecords().GetRecords()) == 1 && string(f.GetRecords().GetRecords()[0].GetValue()) == "moved"
	})

	if _, err := (grpcAPI{r.grpc}).AddPartitions(t.Context(), &moldauv1.AddPartitionsRequest{Name: "t", PartitionCount: 2}); err != nil {
		t.Fatal(err)
	}
	r.produce("t", 1, "grown")
	f.until(func(f *moldauv1.ReadResponse) bool {
		return f.GetRecords().GetPartition() == 1 && f.GetRecords() != nil
	})

	if _, err := (grpcAPI{r.grpc}).DeleteTopic(t.Context(), &moldauv1.DeleteTopicRequest{Name: "t"}); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := f.stream.Recv(); err != nil {
			if errcode.ReasonOf(err) != errcode.UnknownTopic {
				t.Errorf("after the deletion: %v", err)
			}
			return
		}
	}
}

// TestDrainHandsOverTheReader: the reconnect frame's request, sent to another
// gateway, brings what is missing and nothing twice.
func TestDrainHandsOverTheReader(t *testing.T) {
	r := newRig(t)
	r.topic("t", 2)
	r.produce("t", 0, "a0", "a1")
	req := whole("t", nil)
	req.MaxRecords = 4
	f := r.read(t.Context(), req)
	seen := 0
	for seen < 2 {
		seen += len(f.next().GetRecords().GetRecords())
	}
	if err := r.service.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := f.until(func(f *moldauv1.ReadResponse) bool { return f.GetReconnect() != nil }).GetReconnect()
	if _, err := f.stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("after reconnect: %v", err)
	}
	other := newRig(t, func(_ *gateway.Config, d *gateway.Deps) { d.Metadata, d.Nodes = r.meta, r.nodes })
	r.produce("t", 0, "a2") // a draining gateway still serves
	r.produce("t", 1, "b0")
	got := other.read(t.Context(), last.GetResume()).all()
	if len(got) != 2 || strings.Contains(strings.Join(got, " "), "a0") || strings.Contains(strings.Join(got, " "), "a1") {
		t.Errorf("went on with %v", got)
	}
}

// TestAHandedOverReaderGetsPartitionsThatComeLater: also those that came while
// it had no stream, and from their start. Named partitions stay alone.
func TestAHandedOverReaderGetsPartitionsThatComeLater(t *testing.T) {
	r := newRig(t)
	r.topic("whole", 1)
	r.topic("named", 1)
	grow := func(n int32) {
		for _, name := range []string{"whole", "named"} {
			if _, err := (grpcAPI{r.grpc}).AddPartitions(t.Context(), &moldauv1.AddPartitionsRequest{Name: name, PartitionCount: n}); err != nil {
				t.Fatal(err)
			}
			r.produce(name, n-1, fmt.Sprint(name, " ", n-1))
		}
	}
	r.produce("whole", 0, "before the end")
	f := r.read(t.Context(), &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{
		{Topic: "whole", Position: &moldauv1.Position{At: &moldauv1.Position_End{End: true}}},
		{Topic: "named", Partitions: []*moldauv1.ReadPartition{{Partition: 0}}},
	}})
	f.until(func(f *moldauv1.ReadResponse) bool { return f.GetCaughtUp() != nil })
	if err := r.service.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	resume := f.until(func(f *moldauv1.ReadResponse) bool { return f.GetReconnect() != nil }).GetReconnect().GetResume()
	grow(2)
	other := newRig(t, func(_ *gateway.Config, d *gateway.Deps) { d.Metadata, d.Nodes = r.meta, r.nodes })
	f = other.read(t.Context(), resume)
	next := func() string {
		return string(f.until(func(f *moldauv1.ReadResponse) bool { return f.GetRecords() != nil }).GetRecords().GetRecords()[0].GetValue())
	}
	if got := next(); got != "whole 1" {
		t.Errorf("read %q, which came while there was no stream", got)
	}
	grow(3)
	if got := next(); got != "whole 2" {
		t.Errorf("read %q, which came later", got)
	}
	r.produce("named", 0, "named 0")
	if got := next(); got != "named 0" {
		t.Errorf("read %q", got)
	}
}

// TestSlowReaderIsHeldBack: a reader that does not read stops the fetching;
// what it finds later is whole and in order.
func TestSlowReaderIsHeldBack(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	const n = 200
	value := strings.Repeat("x", 100_000)
	for i := range n {
		r.produce("t", 0, fmt.Sprintf("%03d", i)+value)
	}
	req := whole("t", nil)
	req.UntilEnd = true
	f := r.read(t.Context(), req)
	f.next()
	time.Sleep(200 * time.Millisecond)
	if sent := r.counter("moldau_gateway_read_records_total"); sent > n/2 {
		t.Errorf("%v records were sent to a reader that does not read", sent)
	}
	got := f.all()
	if len(got) != n {
		t.Fatalf("%d records, want %d", len(got), n)
	}
	for i, v := range got {
		if v[:3] != fmt.Sprintf("%03d", i) {
			t.Fatalf("record %d begins with %s", i, v[:3])
		}
	}
}

func (r *rig) counter(name string) float64 {
	r.t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	r.t.Fatalf("no metric %s", name)
	return 0
}

// TestStreamsLeaveNothingBehind: rule G7.
func TestStreamsLeaveNothingBehind(t *testing.T) {
	r := newRig(t)
	r.topic("t", 3)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		r.read(ctx, whole("t", nil)).next()
		cancel()
	}
	deadline := time.Now().Add(5 * time.Second)
	for r.counter("moldau_gateway_open_streams") > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%v streams are still open", r.counter("moldau_gateway_open_streams"))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestReadEndsWhereRetentionTookItsPlace(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.produce("t", 0, "0", "1", "2")
	id := r.partition("t", 0)
	r.storage.BeforeFetch = sync.OnceFunc(func() { r.storage.Trim(id, 2) })
	f := r.read(t.Context(), whole("t", nil))
	f.next()
	for {
		if _, err := f.stream.Recv(); err != nil {
			if e := errcode.Of(err); e.Reason != errcode.OffsetOutOfRange || e.Metadata["earliest_offset"] != "2" || e.Metadata["topic"] != "t" {
				t.Errorf("%v %v", e, e.Metadata)
			}
			return
		}
	}
}

func TestLongPollEndsWithTheDrain(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	got := make(chan error, 1)
	go func() {
		resp, err := grpcAPI{r.grpc}.Fetch(t.Context(), &moldauv1.FetchRequest{Topic: "t", Position: at(0), MaxWait: durationpb.New(20 * time.Second)})
		if err == nil && len(resp.GetRecords()) > 0 {
			err = errors.New("records from nowhere")
		}
		got <- err
	}()
	time.Sleep(50 * time.Millisecond)
	if err := r.service.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the long poll outlives the drain")
	}
}

// TestBatchesThatAreLentArriveWhole: they lie in the node's memory, which it
// spoils once it has it back, until the transport has written them.
func TestBatchesThatAreLentArriveWhole(t *testing.T) {
	r := newRig(t)
	r.topic("t", 2)
	value := strings.Repeat("v", 40<<10)
	for i := range 20 {
		r.produce("t", int32(i%2), value)
	}
	req := whole("t", nil)
	req.AsBatches, req.UntilEnd, req.MaxBytes = true, true, 100<<10
	f, records := r.read(t.Context(), req), 0
	for {
		resp, err := f.stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for b := resp.GetRecords().GetRecordBatches(); len(b) > 0; {
			batch, rest, _, err := record.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := record.Verify(batch); err != nil {
				t.Fatal(err)
			}
			b = rest
			records += strings.Count(string(batch), value)
		}
	}
	if records != 20 {
		t.Errorf("%d records", records)
	}
}
