package e2e

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/proto/gen/moldau/v1/moldauv1connect"
	"moldau.dev/services/test/testcluster"
)

// door is one way for clients to come in and out.
type door interface {
	name() string
	// produce appends the events, each where its key hashes to, and returns
	// them as they must come out: a door may not let its callers say all.
	produce(t testing.TB, topic string, events []event) []event
	// read returns everything that the topic holds, in no order.
	read(t testing.TB, topic string, partitions int32) []event
}

func doorsOf(c *testcluster.Cluster) []door {
	return []door{cliDoor{c}, grpcDoor{c}, connectDoor{c}, grpcWebDoor{c}, restDoor{c}}
}

const batchSize = 500

func requests(topic string, events []event) []*pb.ProduceRequest {
	var list []*pb.ProduceRequest
	for len(events) > 0 {
		n := min(batchSize, len(events))
		req := &pb.ProduceRequest{Topic: topic}
		for _, e := range events[:n] {
			req.Records = append(req.Records, e.record())
		}
		list, events = append(list, req), events[n:]
	}
	return list
}

func requireAppended(t testing.TB, resp *pb.ProduceResponse, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("produce: %v", err)
	}
	for _, r := range resp.Results {
		if r.Error != nil {
			t.Fatalf("produce: partition %d: %v", r.Partition, r.Error)
		}
	}
}

func readAll(topic string) *pb.ReadRequest {
	return &pb.ReadRequest{UntilEnd: true, Topics: []*pb.ReadTopic{{
		Topic: topic, Position: &pb.Position{At: &pb.Position_Start{Start: true}},
	}}}
}

func eventsIn(frame *pb.ReadResponse) []event {
	var events []event
	for _, r := range frame.GetRecords().GetRecords() {
		events = append(events, eventOf(frame.GetRecords().Partition, r))
	}
	return events
}

// grpcDoor is grpc-go's own client with the generated stub.
type grpcDoor struct{ c *testcluster.Cluster }

func (grpcDoor) name() string { return "grpc" }

func (d grpcDoor) produce(t testing.TB, topic string, events []event) []event {
	t.Helper()
	for _, req := range requests(topic, events) {
		resp, err := d.c.Produce(t).Produce(testcluster.Context(t), req)
		requireAppended(t, resp, err)
	}
	return events
}

func (d grpcDoor) read(t testing.TB, topic string, _ int32) []event {
	t.Helper()
	stream, err := d.c.Read(t).Read(testcluster.Context(t), readAll(topic))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	var events []event
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return events
		}
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		events = append(events, eventsIn(frame)...)
	}
}

// connectDoor is Connect's JSON over plain HTTP.
type connectDoor struct{ c *testcluster.Cluster }

func (connectDoor) name() string { return "connect-json" }

func (d connectDoor) produce(t testing.TB, topic string, events []event) []event {
	t.Helper()
	for _, req := range requests(topic, events) {
		resp := new(pb.ProduceResponse)
		err := connectUnary(t, d.c.HTTP(), procedureProduce, req, resp)
		requireAppended(t, resp, err)
	}
	return events
}

func (d connectDoor) read(t testing.TB, topic string, _ int32) []event {
	t.Helper()
	var events []event
	err := connectStream(t, d.c.HTTP(), procedureRead, readAll(topic), func(json []byte) error {
		frame := new(pb.ReadResponse)
		if err := fromJSON(json, frame); err != nil {
			return err
		}
		events = append(events, eventsIn(frame)...)
		return nil
	})
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return events
}

// grpcWebDoor is gRPC-Web's binary framing over plain HTTP.
type grpcWebDoor struct{ c *testcluster.Cluster }

func (grpcWebDoor) name() string { return "grpc-web" }

func (d grpcWebDoor) produce(t testing.TB, topic string, events []event) []event {
	t.Helper()
	for _, req := range requests(topic, events) {
		resp := new(pb.ProduceResponse)
		err := grpcWeb(t, d.c.HTTP(), procedureProduce, req, func(m []byte) error { return proto.Unmarshal(m, resp) })
		requireAppended(t, resp, err)
	}
	return events
}

func (d grpcWebDoor) read(t testing.TB, topic string, _ int32) []event {
	t.Helper()
	var events []event
	err := grpcWeb(t, d.c.HTTP(), procedureRead, readAll(topic), func(m []byte) error {
		frame := new(pb.ReadResponse)
		if err := proto.Unmarshal(m, frame); err != nil {
			return fmt.Errorf("frame: %w", err)
		}
		events = append(events, eventsIn(frame)...)
		return nil
	})
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return events
}

const (
	procedureProduce = moldauv1connect.ProduceServiceProduceProcedure
	procedureRead    = moldauv1connect.ReadServiceReadProcedure
)

// restDoor is REST with JSON, as curl speaks it.
type restDoor struct{ c *testcluster.Cluster }

func (restDoor) name() string { return "rest" }

func (d restDoor) produce(t testing.TB, topic string, events []event) []event {
	t.Helper()
	for _, req := range requests(topic, events) {
		req.Topic = "" // the path names it
		resp, answer := post(t, d.c.HTTP()+"/v1/topics/"+topic+"/records", "application/json", toJSON(t, req))
		if resp.StatusCode != 200 {
			t.Fatalf("produce: HTTP %d: %s", resp.StatusCode, answer)
		}
		out := new(pb.ProduceResponse)
		requireAppended(t, out, fromJSON(answer, out))
	}
	return events
}

func (d restDoor) read(t testing.TB, topic string, partitions int32) []event {
	t.Helper()
	var events []event
	for p := range partitions {
		for next, end := int64(0), int64(-1); next != end; {
			url := fmt.Sprintf("%s/v1/topics/%s/partitions/%d/records?position.offset=%d", d.c.HTTP(), topic, p, next)
			resp, answer := send(t, "GET", url, "", nil)
			if resp.StatusCode != 200 {
				t.Fatalf("fetch: HTTP %d: %s", resp.StatusCode, answer)
			}
			out := new(pb.FetchResponse)
			if err := fromJSON(answer, out); err != nil {
				t.Fatal(err)
			}
			if out.NextOffset <= next && out.NextOffset != out.HighWatermark {
				t.Fatalf("partition %d: the fetch at %d goes on at %d of %d", p, next, out.NextOffset, out.HighWatermark)
			}
			for _, r := range out.Records {
				events = append(events, eventOf(p, r))
			}
			next, end = out.NextOffset, out.HighWatermark
		}
	}
	return events
}

// TestEveryDoorOpensToEveryOther sends a real access log in through each door
// and takes it out through each of them: key, value, headers, timestamp, place
// and order must be what they were, to the byte.
func TestEveryDoorOpensToEveryOther(t *testing.T) {
	const partitions = 6
	c := testcluster.Start(t)
	events := eventsOf(accessLog(t))
	for _, in := range doorsOf(c) {
		t.Run("in="+in.name(), func(t *testing.T) {
			topic := "through-" + in.name()
			c.CreateTopic(t, topic, partitions, keepForever)
			want := placed(in.produce(t, topic, events), partitions)
			stampAsStored(want, grpcDoor{c}.read(t, topic, partitions))
			for _, out := range doorsOf(c) {
				t.Run("out="+out.name(), func(t *testing.T) {
					sameEvents(t, want, out.read(t, topic, partitions))
				})
			}
		})
	}
}

// anyTime stands for a timestamp that the gateway will choose.
const anyTime = -1

// stampAsStored takes chosen timestamps from one reading, so that every other
// reading is held to it.
func stampAsStored(want, stored []event) {
	byPlace(stored)
	for i := range min(len(want), len(stored)) {
		if want[i].timeMs == anyTime && stored[i].timeMs > 0 {
			want[i].timeMs = stored[i].timeMs
		}
	}
}

// keepForever keeps records that are stamped with a time long past.
var keepForever = map[string]string{"retention.ms": "-1"}

// TestConsumeStartsWhereAsked holds `consume --from` to each of its forms.
func TestConsumeStartsWhereAsked(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "river", 1, keepForever)
	events := placed(eventsOf(accessLog(t))[:100], 1)
	base := events[0].timeMs
	for i := range events {
		events[i].timeMs = base + int64(i)*1000
	}
	grpcDoor{c}.produce(t, "river", events)
	at := func(i int) string { return time.UnixMilli(events[i].timeMs).UTC().Format(time.RFC3339Nano) }
	for _, tc := range []struct {
		from string
		want []event
	}{
		{"start", events},
		{"0", events},
		{"42", events[42:]},
		{"-7", events[93:]},
		{"-1000", events},
		{"@" + at(30), events[30:]},
		{"@" + time.UnixMilli(base-1).UTC().Format(time.RFC3339Nano), events},
		{"@" + time.UnixMilli(events[30].timeMs+1).UTC().Format(time.RFC3339Nano), events[31:]},
	} {
		t.Run(tc.from, func(t *testing.T) {
			sameEvents(t, tc.want, cliDoor{c}.consume(t, "river", "--from", tc.from, "--until-end"))
		})
	}
}
