package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"moldau.dev/gateway"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

func insecureCreds() grpc.DialOption {
	return grpc.WithTransportCredentials(insecure.NewCredentials())
}

func one(v string) []*moldauv1.Record { return []*moldauv1.Record{{Value: []byte(v)}} }

// badCalls are requests that must be refused, with reason and field.
var badCalls = []struct {
	name   string
	call   func(context.Context, api) error
	reason errcode.Reason
	field  string
}{
	{"create without name", create(&moldauv1.CreateTopicRequest{}), errcode.InvalidTopicName, "name"},
	{"create ..", create(&moldauv1.CreateTopicRequest{Name: ".."}), errcode.InvalidTopicName, "name"},
	{"create a path", create(&moldauv1.CreateTopicRequest{Name: "a/../b"}), errcode.InvalidTopicName, "name"},
	{"create a look-alike", create(&moldauv1.CreateTopicRequest{Name: "оrders"}), errcode.InvalidTopicName, "name"},
	{"create 250 letters", create(&moldauv1.CreateTopicRequest{Name: strings.Repeat("a", 250)}), errcode.InvalidTopicName, "name"},
	{"create the platform's", create(&moldauv1.CreateTopicRequest{Name: "__consumer_offsets"}), errcode.PolicyViolation, "name"},
	{"create -1 partitions", create(&moldauv1.CreateTopicRequest{Name: "x", PartitionCount: -1}), errcode.InvalidPartitions, "partition_count"},
	{"create 10^6 partitions", create(&moldauv1.CreateTopicRequest{Name: "x", PartitionCount: 1_000_000}), errcode.InvalidPartitions, "partition_count"},
	{"create -1 replicas", create(&moldauv1.CreateTopicRequest{Name: "x", ReplicationFactor: -1}), errcode.InvalidReplicationFactor, "replication_factor"},

	{"get without name", get(&moldauv1.GetTopicRequest{}), errcode.InvalidArgument, "name"},
	{"get unknown", get(&moldauv1.GetTopicRequest{Name: "nope"}), errcode.UnknownTopic, "name"},
	{"get at -1", get(&moldauv1.GetTopicRequest{Name: "t", MinRevision: -1}), errcode.InvalidArgument, "min_revision"},
	{"list -1", list(&moldauv1.ListTopicsRequest{PageSize: -1}), errcode.InvalidArgument, "page_size"},
	{"list 1001", list(&moldauv1.ListTopicsRequest{PageSize: 1001}), errcode.InvalidArgument, "page_size"},
	{"list a forged page", list(&moldauv1.ListTopicsRequest{PageToken: "?"}), errcode.InvalidArgument, "page_token"},
	{"list a foreign page", list(&moldauv1.ListTopicsRequest{PageToken: "dC9h"}), errcode.InvalidArgument, "page_token"},
	{"update nothing", update(&moldauv1.UpdateTopicRequest{Name: "t"}), errcode.InvalidArgument, "configs"},
	{"update a strange path", update(&moldauv1.UpdateTopicRequest{Name: "t", UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"name"}}}), errcode.InvalidArgument, "update_mask"},
	{"update an old version", update(&moldauv1.UpdateTopicRequest{Name: "t", Version: 77, Configs: map[string]string{"segment.ms": "1"}}), errcode.StaleRevision, ""},

	{"produce nowhere", produce(&moldauv1.ProduceRequest{Records: one("v")}), errcode.InvalidArgument, "topic"},
	{"produce unknown", produce(&moldauv1.ProduceRequest{Topic: "nope", Records: one("v")}), errcode.UnknownTopic, "topic"},
	{"produce to partition -1", produce(&moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(-1)), Records: one("v")}), errcode.UnknownPartition, "partition"},
	{"produce to partition 2", produce(&moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(2)), Records: one("v")}), errcode.UnknownPartition, "partition"},
	{"produce nothing", produce(&moldauv1.ProduceRequest{Topic: "t"}), errcode.InvalidArgument, "records"},
	{"produce 100,001", produce(&moldauv1.ProduceRequest{Topic: "t", Records: slices.Repeat(one(""), 100_001)}), errcode.InvalidArgument, "records"},
	{"produce a huge record", produce(&moldauv1.ProduceRequest{Topic: "t", Records: one(strings.Repeat("v", 2<<20))}), errcode.RecordTooLarge, "records[0]"},
	{"produce with acks 9", produce(&moldauv1.ProduceRequest{Topic: "t", Records: one("v"), Acks: 9}), errcode.InvalidAcks, "acks"},
	{"produce with codec 9", produce(&moldauv1.ProduceRequest{Topic: "t", Records: one("v"), Compression: 9}), errcode.UnsupportedCompression, "compression"},
	{"produce before 1970", produce(&moldauv1.ProduceRequest{Topic: "t", Records: []*moldauv1.Record{{Timestamp: &timestamppb.Timestamp{Seconds: -5}}}}), errcode.InvalidTimestamp, "records[0].timestamp"},
	{"produce a long header", produce(&moldauv1.ProduceRequest{Topic: "t", Records: []*moldauv1.Record{{Headers: []*moldauv1.Header{{Key: strings.Repeat("h", 40_000)}}}}}), errcode.InvalidArgument, "records[0].headers[0].key"},
	{"produce a sequence anywhere", produce(&moldauv1.ProduceRequest{Topic: "t", Records: one("v"), Producer: &moldauv1.ProducerSequence{}}), errcode.InvalidArgument, "partition"},
	{"produce a sequence of -1", produce(&moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(0)), Records: one("v"), Producer: &moldauv1.ProducerSequence{Sequence: -1}}), errcode.InvalidArgument, "producer.sequence"},
	{"produce in epoch 32,768", produce(&moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(0)), Records: one("v"), Producer: &moldauv1.ProducerSequence{ProducerEpoch: 32768}}), errcode.InvalidArgument, "producer.producer_epoch"},
	{"produce at -1", produce(&moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(0)), Records: one("v"), ExpectedOffset: ptr(int64(-1))}), errcode.InvalidArgument, "expected_offset"},
	{"produce half a batch", produce(&moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(0)), RecordBatch: []byte("half")}), errcode.CorruptRecord, "record_batch"},
	{"produce no batch", produce(&moldauv1.ProduceRequest{Topic: "t", Partition: ptr(int32(0)), RecordBatch: make([]byte, 100)}), errcode.InvalidRecord, "record_batch"},
	{"produce to the platform's", produce(&moldauv1.ProduceRequest{Topic: "__consumer_offsets", Records: one("v")}), errcode.UnknownTopic, "topic"},

	{"fetch unknown", fetch(&moldauv1.FetchRequest{Topic: "nope"}), errcode.UnknownTopic, "topic"},
	{"fetch partition -1", fetch(&moldauv1.FetchRequest{Topic: "t", Partition: -1}), errcode.UnknownPartition, "partition"},
	{"fetch at -1", fetch(&moldauv1.FetchRequest{Topic: "t", Position: at(-1)}), errcode.InvalidArgument, "position.offset"},
	{"fetch beyond the end", fetch(&moldauv1.FetchRequest{Topic: "t", Position: at(1 << 62)}), errcode.OffsetOutOfRange, ""},
	{"fetch -1 bytes", fetch(&moldauv1.FetchRequest{Topic: "t", MaxBytes: -1}), errcode.InvalidArgument, "max_bytes"},
	{"fetch 2 GiB", fetch(&moldauv1.FetchRequest{Topic: "t", MinBytes: 1<<31 - 1}), errcode.InvalidArgument, "min_bytes"},
	{"fetch for an hour", fetch(&moldauv1.FetchRequest{Topic: "t", MaxWait: durationpb.New(time.Hour)}), errcode.InvalidArgument, "max_wait"},
	{"fetch -1 records", fetch(&moldauv1.FetchRequest{Topic: "t", MaxRecords: -1}), errcode.InvalidArgument, "max_records"},
	{"fetch -1 before the end", fetch(&moldauv1.FetchRequest{Topic: "t", Position: &moldauv1.Position{At: &moldauv1.Position_BeforeEnd{BeforeEnd: -1}}}), errcode.InvalidArgument, "position.before_end"},
	{"fetch from no start", fetch(&moldauv1.FetchRequest{Topic: "t", Position: &moldauv1.Position{At: &moldauv1.Position_Start{}}}), errcode.InvalidArgument, "position.start"},

	{"list offsets of 10^5 partitions", offsets(&moldauv1.ListOffsetsRequest{Topic: "t", Partitions: make([]int32, 100_000)}), errcode.InvalidArgument, "partitions"},
	{"list offsets of one twice", offsets(&moldauv1.ListOffsetsRequest{Topic: "t", Partitions: []int32{1, 1}}), errcode.InvalidArgument, "partitions"},
	{"trim nothing", trim(&moldauv1.TrimTopicRequest{Name: "t"}), errcode.InvalidArgument, "partitions"},
	{"trim before -2", trim(&moldauv1.TrimTopicRequest{Name: "t", Partitions: []*moldauv1.TrimPartition{{BeforeOffset: -2}}}), errcode.InvalidArgument, "partitions.before_offset"},
	{"trim beyond the end", trim(&moldauv1.TrimTopicRequest{Name: "t", Partitions: []*moldauv1.TrimPartition{{BeforeOffset: 99}}}), errcode.OffsetOutOfRange, ""},

	{"read nothing", read(&moldauv1.ReadRequest{}), errcode.InvalidArgument, "topics"},
	{"read unknown", read(&moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "nope"}}}), errcode.UnknownTopic, "topics.topic"},
	{"read one topic twice", read(&moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t"}, {Topic: "t"}}}), errcode.InvalidArgument, "topics"},
	{"read 20,000 partitions", read(&moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t", Partitions: manyPartitions(20_000)}}}), errcode.InvalidArgument, "topics"},
	{"read one partition twice", read(&moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t", Partitions: []*moldauv1.ReadPartition{{}, {}}}}}), errcode.InvalidArgument, "topics.partitions"},
	{"read partition 7", read(&moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t", Partitions: []*moldauv1.ReadPartition{{Partition: 7}}}}}), errcode.UnknownPartition, "topics.partitions"},
	{"read beyond the end", read(&moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t", Position: at(5)}}}), errcode.OffsetOutOfRange, ""},
	{"read -1 bytes", read(&moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t"}}, MaxBytes: -1}), errcode.InvalidArgument, "max_bytes"},
	{"read -1 records", read(&moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t"}}, MaxRecords: -1}), errcode.InvalidArgument, "max_records"},
}

func ptr[T any](v T) *T { return &v }

func manyPartitions(n int) (out []*moldauv1.ReadPartition) {
	for i := range n {
		out = append(out, &moldauv1.ReadPartition{Partition: int32(i)})
	}
	return out
}

func create(r *moldauv1.CreateTopicRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error { _, err := a.CreateTopic(ctx, r); return err }
}

func get(r *moldauv1.GetTopicRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error { _, err := a.GetTopic(ctx, r); return err }
}

func list(r *moldauv1.ListTopicsRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error { _, err := a.ListTopics(ctx, r); return err }
}

func update(r *moldauv1.UpdateTopicRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error { _, err := a.UpdateTopic(ctx, r); return err }
}

func produce(r *moldauv1.ProduceRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error { _, err := a.Produce(ctx, r); return err }
}

func fetch(r *moldauv1.FetchRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error { _, err := a.Fetch(ctx, r); return err }
}

func offsets(r *moldauv1.ListOffsetsRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error { _, err := a.ListOffsets(ctx, r); return err }
}

func trim(r *moldauv1.TrimTopicRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error { _, err := a.TrimTopic(ctx, r); return err }
}

func read(r *moldauv1.ReadRequest) func(context.Context, api) error {
	return func(ctx context.Context, a api) error {
		recv, err := a.Read(ctx, r)
		if err != nil {
			return err
		}
		_, err = recv()
		return err
	}
}

func TestBadRequestsAreRefusedWithReasonAndField(t *testing.T) {
	r := newRig(t)
	r.topic("t", 2)
	doors := map[string]api{"grpc": grpcAPI{r.grpc}, "connect": r.connect()}
	for _, bad := range badCalls {
		for name, a := range doors {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			err := bad.call(ctx, a)
			cancel()
			if got := reasonOf(err); got != bad.reason {
				t.Errorf("%s over %s: reason %s, want %s: %v", bad.name, name, got, bad.reason, err)
			}
			if e := errcode.Of(err); name == "grpc" && e.Field != bad.field {
				t.Errorf("%s: field %q, want %q", bad.name, e.Field, bad.field)
			}
		}
	}
}

func TestBadJSONIsRefusedWithAReason(t *testing.T) {
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxRequestBytes = 64 << 10 })
	r.topic("t", 1)
	deep := strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)
	cases := []struct {
		name, method, path, body string
		status                   int
		reason                   errcode.Reason
	}{
		{"unknown field", "POST", "/v1/topics", `{"name":"x","nope":1}`, 400, errcode.InvalidArgument},
		{"duplicate key", "POST", "/v1/topics", `{"name":"x","name":"y"}`, 400, errcode.InvalidArgument},
		{"duplicate key, two spellings", "POST", "/v1/topics", `{"name":"x","partitionCount":1,"partition_count":2}`, 400, errcode.InvalidArgument},
		{"two values", "POST", "/v1/topics", `{"name":"x"}{"name":"y"}`, 400, errcode.InvalidArgument},
		{"not JSON", "POST", "/v1/topics", `name=x`, 400, errcode.InvalidArgument},
		{"deep", "POST", "/v1/topics", deep, 400, errcode.InvalidArgument},
		{"1e400", "POST", "/v1/topics", `{"name":"x","partitionCount":1e400}`, 400, errcode.InvalidArgument},
		{"bad base64", "POST", "/v1/topics/t/records", `{"records":[{"value":"!"}]}`, 400, errcode.InvalidArgument},
		{"null record", "POST", "/v1/topics/t/records", `{"records":[null]}`, 400, errcode.InvalidArgument},
		{"oversize", "POST", "/v1/topics/t/records", `{"records":[{"value":"` + strings.Repeat("AAAA", 100_000) + `"}]}`, 413, errcode.RecordTooLarge},
		{"unknown query", "GET", "/v1/topics/t/partitions/0/records?nope=1", "", 400, errcode.InvalidArgument},
		{"partition that is no number", "GET", "/v1/topics/t/partitions/zero/records", "", 400, errcode.InvalidArgument},
		{"partition beyond int32", "GET", "/v1/topics/t/partitions/9999999999/records", "", 400, errcode.InvalidArgument},
		{"..", "GET", "/v1/topics/../cluster", "", 400, errcode.InvalidArgument},
		{"encoded ..", "GET", "/v1/topics/%2e%2e", "", 400, errcode.InvalidArgument},
		{"encoded slash", "GET", "/v1/topics/..%2fcluster", "", 400, errcode.InvalidArgument},
		{"double slash", "GET", "/v1//topics", "", 400, errcode.InvalidArgument},
		{"NUL", "GET", "/v1/topics/a%00b", "", 400, errcode.InvalidArgument},
		{"unknown path", "GET", "/v2/topics", "", 404, errcode.Unimplemented},
		{"unknown path below", "GET", "/v1/nope", "", 404, errcode.Unimplemented},
		{"wrong method", "PUT", "/v1/topics", "", 405, errcode.Unimplemented},
		{"stream of unknown topic", "POST", "/v1/read", `{"topics":[{"topic":"nope"}]}`, 404, errcode.UnknownTopic},
	}
	for _, c := range cases {
		code, answer := r.rest(c.method, c.path, c.body)
		got, _ := answer["reason"].(string)
		if code != c.status || got != string(c.reason) {
			t.Errorf("%s: %d %v, want %d %s", c.name, code, answer, c.status, c.reason)
		}
		if c.status >= 400 && answer["hint"] == "" {
			t.Errorf("%s: no hint in %v", c.name, answer)
		}
	}
	for _, body := range []string{`{"name":"x","nope":1}`, deep, `{"name":"x","name":"y"}`} {
		code, answer := r.connectRaw(body)
		if code != http.StatusBadRequest || !strings.Contains(fmt.Sprint(answer), "INVALID_ARGUMENT") {
			t.Errorf("connect: %.30s: %d %v", body, code, answer)
		}
	}
}

func (r *rig) connectRaw(body string) (int, string) {
	r.t.Helper()
	resp, err := http.Post(r.url("/moldau.v1.TopicService/CreateTopic"), "application/json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestHostileHTTPIsAnswered speaks HTTP by hand: what a client library would
// not send (B24).
func TestHostileHTTPIsAnswered(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct{ request, want string }{
		"no slash":        {"GET v1/topics HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"huge header":     {"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", "431"},
		"gzipped body":    {"POST /v1/topics HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "400"},
		"bad timeout":     {"GET /v1/cluster HTTP/1.1\r\nHost: x\r\nGrpc-Timeout: soon\r\n\r\n", "400"},
		"lying length":    {"POST /v1/topics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", "413"},
		"connect options": {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
	} {
		conn, err := net.Dial("tcp", r.service.HTTPAddr())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.WriteString(conn, c.request) }() // the server may hang up before it has all
		line := make([]byte, 12)
		if _, err := io.ReadFull(conn, line); err != nil || !strings.HasSuffix(string(line), c.want) {
			t.Errorf("%s: %q %v, want %s", name, line, err, c.want)
		}
		_ = conn.Close()
	}
	if code, _ := r.rest("GET", "/v1/cluster", ""); code != http.StatusOK {
		t.Errorf("afterwards: %d", code)
	}
}
