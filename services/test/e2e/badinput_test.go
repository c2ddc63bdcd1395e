package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/proto/gen/moldau/v1/moldauv1connect"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/test/testcluster"
)

// memoryBound is the most that a process may hold after all the bad input of
// this file; idle it holds about a tenth.
const memoryBound = 512 << 20

// badRequest is one request that every door must refuse alike.
type badRequest struct {
	name      string
	procedure string
	request   proto.Message
	rest      string // method and path; the request is the body of a POST
	reason    errcode.Reason
	field     string // that BadRequest must name; empty where no field is at fault
}

func badRequests() []badRequest {
	produce, read, topic := moldauv1connect.ProduceServiceProduceProcedure, moldauv1connect.ReadServiceReadProcedure, moldauv1connect.TopicServiceCreateTopicProcedure
	one := []*pb.Record{{Value: []byte("x")}}
	p := func(n int32) *int32 { return &n }
	cases := []badRequest{
		{"produce to an unknown topic", produce, &pb.ProduceRequest{Topic: "nowhere", Records: one}, "POST /v1/topics/nowhere/records", errcode.UnknownTopic, "topic"},
		{"produce no records", produce, &pb.ProduceRequest{Topic: "good"}, "POST /v1/topics/good/records", errcode.InvalidArgument, "records"},
		{"produce records and a batch", produce, &pb.ProduceRequest{Topic: "good", Partition: p(0), Records: one, RecordBatch: []byte{1}}, "POST /v1/topics/good/records", errcode.InvalidArgument, "record_batch"},
		{"produce a batch without a partition", produce, &pb.ProduceRequest{Topic: "good", RecordBatch: goodBatch()}, "POST /v1/topics/good/records", errcode.InvalidArgument, "partition"},
		{"produce with a sequence but no partition", produce, &pb.ProduceRequest{Topic: "good", Records: one, Producer: &pb.ProducerSequence{ProducerId: 1}}, "POST /v1/topics/good/records", errcode.InvalidArgument, "partition"},
		{"produce at an expected offset but no partition", produce, &pb.ProduceRequest{Topic: "good", Records: one, ExpectedOffset: proto.Int64(1)}, "POST /v1/topics/good/records", errcode.InvalidArgument, "partition"},
		{"produce with unknown acks", produce, &pb.ProduceRequest{Topic: "good", Records: one, Acks: 77}, "POST /v1/topics/good/records", errcode.InvalidAcks, "acks"},
		{"produce with an unknown codec", produce, &pb.ProduceRequest{Topic: "good", Records: one, Compression: 77}, "POST /v1/topics/good/records", errcode.UnsupportedCompression, "compression"},
		{"read an unknown topic", read, readAll("nowhere"), "POST /v1/read", errcode.UnknownTopic, "topics.topic"},
		{"read nothing", read, &pb.ReadRequest{}, "POST /v1/read", errcode.InvalidArgument, "topics"},
		{"read an unknown partition", read, &pb.ReadRequest{Topics: []*pb.ReadTopic{{Topic: "good", Partitions: []*pb.ReadPartition{{Partition: 99}}}}}, "POST /v1/read", errcode.UnknownPartition, "topics.partitions"},
		{"read beyond the end", read, &pb.ReadRequest{Topics: []*pb.ReadTopic{{Topic: "good", Position: &pb.Position{At: &pb.Position_Offset{Offset: 1 << 60}}}}}, "POST /v1/read", errcode.OffsetOutOfRange, ""},
		{"create a topic with no partition", topic, &pb.CreateTopicRequest{Name: "t", PartitionCount: -1}, "POST /v1/topics", errcode.InvalidPartitions, "partition_count"},
		{"create a topic with too many partitions", topic, &pb.CreateTopicRequest{Name: "t", PartitionCount: 1 << 30}, "POST /v1/topics", errcode.InvalidPartitions, "partition_count"},
		{"create a topic with too many replicas", topic, &pb.CreateTopicRequest{Name: "t", PartitionCount: 1, ReplicationFactor: 100}, "POST /v1/topics", errcode.InvalidReplicationFactor, "replication_factor"},
		{"create a topic with an unknown config", topic, &pb.CreateTopicRequest{Name: "t", PartitionCount: 1, Configs: map[string]string{"retention.sm": "1"}}, "POST /v1/topics", errcode.InvalidConfig, "configs.retention.sm"},
		{"create a topic with a config out of bounds", topic, &pb.CreateTopicRequest{Name: "t", PartitionCount: 1, Configs: map[string]string{"retention.ms": "-9"}}, "POST /v1/topics", errcode.InvalidConfig, "configs.retention.ms"},
		{"create a topic twice", topic, &pb.CreateTopicRequest{Name: "good", PartitionCount: 1}, "POST /v1/topics", errcode.TopicAlreadyExists, "name"},
	}
	for _, name := range []string{"", ".", "..", "a/b", "../../etc/passwd", "ä", "a b", "a\x00b", strings.Repeat("x", 250), "%2e%2e"} {
		cases = append(cases, badRequest{fmt.Sprintf("create a topic named %.12q", name), topic,
			&pb.CreateTopicRequest{Name: name, PartitionCount: 1}, "POST /v1/topics", errcode.InvalidTopicName, "name"})
	}
	return cases
}

// refusal is what a door said.
type refusal struct {
	reason, field, hint string
}

func refusalOf(details []proto.Message) refusal {
	var r refusal
	for _, d := range details {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.Domain == errcode.Domain {
				r.reason = d.Reason
			}
		case *errdetails.BadRequest:
			if v := d.FieldViolations; len(v) > 0 {
				r.field = v[0].Field
			}
		case *errdetails.LocalizedMessage:
			r.hint = d.Message
		}
	}
	return r
}

// TestEveryDoorRefusesBadRequestsAlike sends each bad request through each
// door: the reason, the field and a hint must come back, and the process must
// be as it was.
func TestEveryDoorRefusesBadRequestsAlike(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "good", 2, nil)
	doors := []struct {
		name string
		send func(t *testing.T, c *testcluster.Cluster, bad badRequest) refusal
	}{
		{"grpc", refusedByGRPC}, {"connect-json", refusedByConnect}, {"grpc-web", refusedByGRPCWeb}, {"rest", refusedByREST},
	}
	for _, bad := range badRequests() {
		for _, d := range doors {
			t.Run(bad.name+"/"+d.name, func(t *testing.T) {
				got := d.send(t, c, bad)
				if got.reason != string(bad.reason) || got.field != bad.field {
					t.Errorf("refused for %q in field %q, want %q in field %q", got.reason, got.field, bad.reason, bad.field)
				}
				if got.hint == "" {
					t.Error("the refusal has no hint")
				}
			})
		}
	}
	requireUnharmed(t, c)
}

func requireUnharmed(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	if !c.Running() {
		t.Fatal("the process has ended")
	}
	if strings.Contains(c.Log(), "panic") {
		t.Error("a handler panicked; see the log")
	}
	if peak := c.PeakBytes(t); peak > memoryBound {
		t.Errorf("the process held %d MiB at its peak, the bound is %d", peak>>20, memoryBound>>20)
	}
	resp, err := c.Produce(t).Produce(testcluster.Context(t), &pb.ProduceRequest{Topic: "good", Records: []*pb.Record{{Value: []byte("still here")}}})
	requireAppended(t, resp, err)
}

func refusedByGRPC(t *testing.T, c *testcluster.Cluster, bad badRequest) refusal {
	var err error
	ctx := testcluster.Context(t)
	switch req := bad.request.(type) {
	case *pb.ProduceRequest:
		var resp *pb.ProduceResponse
		resp, err = c.Produce(t).Produce(ctx, req)
		if err == nil {
			t.Fatalf("accepted: %v", resp)
		}
	case *pb.ReadRequest:
		stream, openErr := c.Read(t).Read(ctx, req)
		for err = openErr; err == nil; {
			_, err = stream.Recv()
		}
	case *pb.CreateTopicRequest:
		_, err = c.Topics(t).CreateTopic(ctx, req)
	default:
		t.Fatalf("no gRPC call for %T", req)
	}
	return refusalOf(statusDetails(t, status.Convert(err).Proto()))
}

func statusDetails(t *testing.T, st *rpcstatus.Status) []proto.Message {
	t.Helper()
	if codes.Code(st.GetCode()) == codes.OK {
		t.Fatal("accepted")
	}
	var out []proto.Message
	for _, d := range st.GetDetails() {
		m, err := d.UnmarshalNew()
		if err != nil {
			t.Fatalf("detail %s: %v", d.TypeUrl, err)
		}
		out = append(out, m)
	}
	return out
}

func refusedByConnect(t *testing.T, c *testcluster.Cluster, bad badRequest) refusal {
	var err error
	if _, stream := bad.request.(*pb.ReadRequest); stream {
		err = connectStream(t, c.HTTP(), bad.procedure, bad.request, func([]byte) error { return nil })
	} else {
		err = connectUnary(t, c.HTTP(), bad.procedure, bad.request, new(rpcstatus.Status))
	}
	return refusalOf(connectDetails(t, err))
}

func connectDetails(t *testing.T, err error) []proto.Message {
	t.Helper()
	we := asWireError(t, err)
	var out []proto.Message
	for _, raw := range we.details {
		var d struct{ Type, Value string }
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatalf("detail %s: %v", raw, err)
		}
		value, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(d.Value, "="))
		if err != nil {
			t.Fatalf("detail %s: %v", raw, err)
		}
		m := newDetail(d.Type)
		if m == nil {
			continue
		}
		if err := proto.Unmarshal(value, m); err != nil {
			t.Fatalf("detail %s: %v", raw, err)
		}
		out = append(out, m)
	}
	return out
}

func newDetail(name string) proto.Message {
	switch name {
	case "google.rpc.ErrorInfo":
		return new(errdetails.ErrorInfo)
	case "google.rpc.BadRequest":
		return new(errdetails.BadRequest)
	case "google.rpc.LocalizedMessage":
		return new(errdetails.LocalizedMessage)
	}
	return nil
}

func asWireError(t *testing.T, err error) *wireError {
	t.Helper()
	we, ok := err.(*wireError)
	if !ok {
		t.Fatalf("not refused: %v", err)
	}
	return we
}

func refusedByGRPCWeb(t *testing.T, c *testcluster.Cluster, bad badRequest) refusal {
	err := grpcWeb(t, c.HTTP(), bad.procedure, bad.request, func([]byte) error { return nil })
	st := new(rpcstatus.Status)
	if err := proto.Unmarshal(asWireError(t, err).grpcDetail, st); err != nil {
		t.Fatal(err)
	}
	return refusalOf(statusDetails(t, st))
}

func refusedByREST(t *testing.T, c *testcluster.Cluster, bad badRequest) refusal {
	method, path, _ := strings.Cut(bad.rest, " ")
	resp, answer := send(t, method, c.HTTP()+path, "application/json", toJSON(t, bad.request))
	faces, ok := facesOf(bad.reason)
	if !ok || resp.StatusCode != faces.HTTP {
		t.Errorf("HTTP %d, want %d: %s", resp.StatusCode, faces.HTTP, answer)
	}
	return restRefusal(t, answer)
}

func facesOf(reason errcode.Reason) (errcode.Faces, bool) {
	table := errcode.Table()
	i := slices.IndexFunc(table, func(f errcode.Faces) bool { return f.Reason == reason })
	if i < 0 {
		return errcode.Faces{}, false
	}
	return table[i], true
}

// restRefusal reads an error of REST, bare or, on a stream, under "error".
func restRefusal(t *testing.T, body []byte) refusal {
	t.Helper()
	type face struct{ Reason, Field, Hint string }
	var answer struct {
		face
		Error *face
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("answer %q: %v", body, err)
	}
	if answer.Error != nil {
		answer.face = *answer.Error
	}
	return refusal{answer.Reason, answer.Field, answer.Hint}
}

func goodBatch() []byte {
	b := record.NewBuilder(record.DefaultBuilderOptions())
	b.Append(&record.Record{Timestamp: 1_431_857_100_000, Value: []byte("whole")})
	batch, err := b.Build(nil)
	if err != nil {
		panic("a batch of one record cannot be built: " + err.Error())
	}
	return batch
}

// TestDamagedBatchesAreRefused sends whole record batches with each byte of
// their header, and their length, changed: none may be stored.
func TestDamagedBatchesAreRefused(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "good", 1, keepForever)
	batch := goodBatch()
	var bad [][]byte
	for i := 8; i < len(batch); i++ { // the base offset before is the broker's to set
		for _, flip := range []byte{0x01, 0x80} {
			b := bytes.Clone(batch)
			b[i] ^= flip
			bad = append(bad, b)
		}
	}
	for i := range batch {
		bad = append(bad, batch[:i])
	}
	bad = append(bad, append(bytes.Clone(batch), 0), append(bytes.Clone(batch), batch...), bytes.Repeat([]byte{0xff}, 100))
	var partition int32
	accepted := 0
	for _, b := range bad {
		resp, err := c.Produce(t).Produce(testcluster.Context(t), &pb.ProduceRequest{Topic: "good", Partition: &partition, RecordBatch: b})
		if err == nil && resp.Results[0].Error == nil {
			accepted++
			if !mayDiffer(batch, b) {
				t.Errorf("stored %x", b)
			}
		}
	}
	events := grpcDoor{c}.read(t, "good", 1)
	if len(events) != accepted {
		t.Errorf("%d batches were acknowledged and %d records are there", accepted, len(events))
	}
	requireUnharmed(t, c)
}

// mayDiffer reports whether b differs from a good batch only in the leader
// epoch, which the checksum does not cover and the broker sets itself.
func mayDiffer(good, b []byte) bool {
	const epochBegin, epochEnd = 12, 16
	return len(b) == len(good) && bytes.Equal(b[:epochBegin], good[:epochBegin]) && bytes.Equal(b[epochEnd:], good[epochEnd:])
}

// TestHostileHTTPIsRefused sends what no client library would.
func TestHostileHTTPIsRefused(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "good", 1, nil)
	deep := strings.Repeat("[", 10_000)
	records := "/v1/topics/good/records"
	for _, tc := range []struct {
		name, method, path, contentType string
		body                            []byte
		least, most                     int // of the HTTP status
	}{
		{"no JSON", "POST", records, "application/json", []byte("{"), 400, 400},
		{"deep JSON", "POST", records, "application/json", []byte(`{"records":` + deep), 400, 400},
		{"unknown field", "POST", records, "application/json", []byte(`{"recods":[]}`), 400, 400},
		{"duplicate key", "POST", records, "application/json", []byte(`{"records":[{"value":"eA=="}],"records":[{"value":"eA=="}]}`), 400, 400},
		{"number too large", "POST", records, "application/json", []byte(`{"partition":1e400}`), 400, 400},
		{"bad base64", "POST", records, "application/json", []byte(`{"records":[{"value":"***"}]}`), 400, 400},
		{"array for object", "POST", records, "application/json", []byte(`[]`), 400, 400},
		{"oversized body", "POST", records, "application/json", oversizedJSON(), 400, 499},
		{"negative partition", "GET", "/v1/topics/good/partitions/-1/records", "", nil, 400, 404},
		{"no number", "GET", "/v1/topics/good/partitions/zero/records", "", nil, 400, 400},
		{"negative size", "GET", "/v1/topics/good/partitions/0/records?max_bytes=-1", "", nil, 400, 400},
		{"unknown parameter", "GET", "/v1/topics/good/partitions/0/records?maxbites=1", "", nil, 400, 400},
		{"beyond the end", "GET", "/v1/topics/good/partitions/0/records?position.offset=999", "", nil, 416, 416},
		{"way up", "GET", "/v1/topics/..%2f..%2fetc%2fpasswd", "", nil, 400, 404},
		{"no such path", "GET", "/v1/nothing", "", nil, 404, 404},
		{"wrong method", "DELETE", "/v1/read", "", nil, 404, 501},
		{"connect: no JSON", "POST", procedureProduce, "application/json", []byte("{"), 400, 400},
		{"connect: wrong content type", "POST", procedureProduce, "text/plain", []byte("{}"), 400, 415},
		{"connect: unknown procedure", "POST", "/moldau.v1.ProduceService/Nothing", "application/json", []byte("{}"), 404, 501},
		{"connect: oversized body", "POST", procedureProduce, "application/json", oversizedJSON(), 400, 499},
		{"connect: oversized proto", "POST", procedureProduce, "application/proto", bytes.Repeat([]byte{0xff}, oversize), 400, 499},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status := statusOf(t, c, tc.method, tc.path, tc.contentType, tc.body)
			if status < tc.least || status > tc.most {
				t.Errorf("HTTP %d, want %d to %d", status, tc.least, tc.most)
			}
		})
	}
	if stored := (grpcDoor{c}).read(t, "good", 1); len(stored) > 0 {
		t.Errorf("%d records of refused requests were stored", len(stored))
	}
	requireUnharmed(t, c)
}

const oversize = 40 << 20

func oversizedJSON() []byte {
	value := bytes.Repeat([]byte("A"), oversize)
	return slices.Concat([]byte(`{"records":[{"value":"`), value, []byte(`"}]}`))
}

// cutOff stands for a connection that the server closed while it was sent a
// body larger than it takes: the answer before may be lost with the connection.
const cutOff = 413

func statusOf(t *testing.T, c *testcluster.Cluster, method, path, contentType string, body []byte) int {
	t.Helper()
	req, err := http.NewRequestWithContext(testcluster.Context(t), method, c.HTTP()+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if len(body) >= oversize && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
		return cutOff
	}
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestNoiseOnThePortsHarmsNothing writes bytes of no protocol to both doors.
func TestNoiseOnThePortsHarmsNothing(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "good", 1, nil)
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, noise := range []string{
		strings.Repeat("\x00", 4096), strings.Repeat("\xff", 4096), "GET / HTTP/1.1\r\n" + strings.Repeat("A", 1<<20),
		preface + strings.Repeat("\xff", 100), preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + strings.Repeat("\x00\x00\x00\x0c\x00\x00\x00\x00\x00", 100),
	} {
		for _, addr := range []string{c.GRPCAddr(), c.HTTPAddr()} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatalf("dial %s: %v", addr, err)
			}
			_, _ = conn.Write([]byte(noise)) // the server may hang up at any byte
			_ = conn.Close()
		}
	}
	requireUnharmed(t, c)
}

// TestCommandLineRefusesWithHint holds the command line to its exit codes and
// to one line of cause and hint.
func TestCommandLineRefusesWithHint(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "good", 1, nil)
	const failed, usage, notFound = 1, 2, 3
	for _, tc := range []struct {
		name string
		args []string
		code int
	}{
		{"unknown verb", []string{"prduce"}, usage},
		{"unknown flag", []string{"consume", "good", "--form", "start"}, usage},
		{"no topic", []string{"produce"}, usage},
		{"bad place", []string{"consume", "good", "--from", "yesterday"}, usage},
		{"unknown topic to read", []string{"consume", "nowhere", "--until-end"}, notFound},
		{"unknown topic to describe", []string{"topic", "describe", "nowhere"}, notFound},
		{"bad topic name", []string{"topic", "create", "a/b"}, failed},
		{"bad config", []string{"topic", "create", "t", "--config", "retention.sm=1"}, failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := c.Command(t, nil, tc.args...)
			if r.Code != tc.code {
				t.Errorf("exit code %d, want %d", r.Code, tc.code)
			}
			if text := strings.TrimSpace(r.Stderr); text == "" || strings.Count(text, "\n") > 1 || strings.Contains(text, "goroutine") {
				t.Errorf("stderr should be a line of cause and hint, is %q", r.Stderr)
			}
			if len(r.Stdout) > 0 {
				t.Errorf("stdout should be empty, is %q", r.Stdout)
			}
		})
	}
	requireUnharmed(t, c)
}
