package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"moldau.dev/gateway/rest"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

func asConnect(err error) (*connect.Error, bool) { return errors.AsType[*connect.Error](err) }

func at(offset int64) *moldauv1.Position {
	return &moldauv1.Position{At: &moldauv1.Position_Offset{Offset: offset}}
}

// TestEveryRPCThroughEveryProtocol walks one journey through each door: the
// same code answers, so the same things must be seen.
func TestEveryRPCThroughEveryProtocol(t *testing.T) {
	for name, open := range map[string]func(*rig) api{
		"grpc":              func(r *rig) api { return grpcAPI{r.grpc} },
		"connect json":      func(r *rig) api { return r.connect(connecthttp.WithProtoJSON()) },
		"connect proto":     func(r *rig) api { return r.connect(connecthttp.WithHTTPGet()) },
		"grpc-web":          func(r *rig) api { return r.connect(connecthttp.WithGRPCWeb()) },
		"grpc on http port": func(r *rig) api { return grpcAPI{dial(t, r.service.HTTPAddr())} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			journey(t, r, open(r))
		})
	}
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, insecureCreds())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func journey(t *testing.T, r *rig, a api) { //nolint:gocyclo // a story, told in order
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	created, err := a.CreateTopic(ctx, &moldauv1.CreateTopicRequest{Name: "orders", PartitionCount: 3, Configs: map[string]string{"retention.ms": "1000"}})
	must(err)
	if got := created.GetTopic(); got.GetPartitionCount() != 3 || len(got.GetPartitions()) != 3 || created.GetOrigin().GetClusterId() != "test-cluster" {
		t.Fatalf("created %v", created)
	}
	if _, err := a.CreateTopic(ctx, &moldauv1.CreateTopicRequest{Name: "orders"}); reasonOf(err) != errcode.TopicAlreadyExists {
		t.Fatalf("created twice: %v", err)
	}
	got, err := a.GetTopic(ctx, &moldauv1.GetTopicRequest{Name: "orders", MinRevision: created.GetOrigin().GetRevision()})
	must(err)
	if !proto.Equal(got.GetTopic(), created.GetTopic()) {
		t.Fatalf("got %v, created %v", got.GetTopic(), created.GetTopic())
	}
	updated, err := a.UpdateTopic(ctx, &moldauv1.UpdateTopicRequest{
		Name: "orders", Configs: map[string]string{"segment.ms": "5000"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"configs.segment.ms", "configs.retention.ms"}},
	})
	must(err)
	overridden := map[string]string{}
	for _, c := range updated.GetTopic().GetConfigs() {
		if c.GetSource() == moldauv1.ConfigSource_CONFIG_SOURCE_TOPIC {
			overridden[c.GetName()] = c.GetValue()
		}
	}
	if len(overridden) != 1 || overridden["segment.ms"] != "5000" {
		t.Fatalf("overrides %v", overridden)
	}
	grown, err := a.AddPartitions(ctx, &moldauv1.AddPartitionsRequest{Name: "orders", PartitionCount: 4})
	must(err)
	if grown.GetTopic().GetPartitionCount() != 4 {
		t.Fatalf("grown to %v", grown)
	}

	two := int32(2)
	sent := []*moldauv1.Record{
		{Key: []byte("k"), Value: []byte("v0"), Headers: []*moldauv1.Header{{Key: "h", Value: []byte{1}}, {Key: "null"}}, Timestamp: timestamppb.New(time.UnixMilli(1_700_000_000_000))},
		{Value: []byte{}, Timestamp: timestamppb.New(time.UnixMilli(1_700_000_000_001))},
		{Key: []byte{}, Timestamp: timestamppb.New(time.UnixMilli(1_700_000_000_002))},
	}
	produced, err := a.Produce(ctx, &moldauv1.ProduceRequest{Topic: "orders", Partition: &two, Records: sent})
	must(err)
	if res := produced.GetResults(); len(res) != 1 || res[0].GetBaseOffset() != 0 || res[0].GetRecordCount() != 3 || res[0].GetError() != nil || produced.GetOrigin() == nil {
		t.Fatalf("produced %v", produced)
	}
	fetched, err := a.Fetch(ctx, &moldauv1.FetchRequest{Topic: "orders", Partition: 2, Position: at(0), MaxWait: durationpb.New(time.Second)})
	must(err)
	if len(fetched.GetRecords()) != 3 || fetched.GetNextOffset() != 3 || fetched.GetHighWatermark() != 3 {
		t.Fatalf("fetched %v", fetched)
	}
	for i, rec := range fetched.GetRecords() {
		want := proto.CloneOf(sent[i])
		want.Offset = int64(i)
		if !proto.Equal(rec, want) {
			t.Errorf("record %d is %v, sent was %v", i, rec, want)
		}
	}
	raw, err := a.Fetch(ctx, &moldauv1.FetchRequest{Topic: "orders", Partition: 2, Position: at(1), AsBatches: true})
	must(err)
	again, err := a.Produce(ctx, &moldauv1.ProduceRequest{Topic: "orders", Partition: new(int32), RecordBatch: raw.GetRecordBatches()})
	must(err)
	if res := again.GetResults(); len(res) != 1 || res[0].GetRecordCount() != 3 || res[0].GetError() != nil {
		t.Fatalf("passed a batch through: %v", again)
	}

	listed, err := a.ListOffsets(ctx, &moldauv1.ListOffsetsRequest{Topic: "orders", Position: &moldauv1.Position{At: &moldauv1.Position_End{End: true}}})
	must(err)
	if len(listed.GetOffsets()) != 4 || listed.GetOffsets()[2].GetOffset() != 3 {
		t.Fatalf("ends %v", listed)
	}
	byTime, err := a.ListOffsets(ctx, &moldauv1.ListOffsetsRequest{
		Topic: "orders", Partitions: []int32{2}, Position: &moldauv1.Position{At: &moldauv1.Position_Time{Time: timestamppb.New(time.UnixMilli(1_700_000_000_001))}},
	})
	must(err)
	if got := byTime.GetOffsets()[0]; got.GetOffset() != 1 || got.GetTimestamp().AsTime().UnixMilli() != 1_700_000_000_001 {
		t.Fatalf("by time %v", byTime)
	}

	recv, err := a.Read(ctx, &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "orders"}}, UntilEnd: true})
	must(err)
	records, started := 0, false
	for {
		f, err := recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err)
		started = started || f.GetStarted() != nil
		records += len(f.GetRecords().GetRecords())
	}
	if !started || records != 6 {
		t.Fatalf("read %d records, started %t", records, started)
	}

	preview, err := a.TrimTopic(ctx, &moldauv1.TrimTopicRequest{Name: "orders", ValidateOnly: true, Partitions: []*moldauv1.TrimPartition{{Partition: 2, BeforeOffset: -1}}})
	must(err)
	trimmed, err := a.TrimTopic(ctx, &moldauv1.TrimTopicRequest{Name: "orders", Partitions: []*moldauv1.TrimPartition{{Partition: 2, BeforeOffset: 2}}})
	must(err)
	if preview.GetPartitions()[0].GetEarliestOffset() != 3 || trimmed.GetPartitions()[0].GetEarliestOffset() != 2 {
		t.Fatalf("preview %v, trimmed %v", preview, trimmed)
	}
	if _, err := a.Fetch(ctx, &moldauv1.FetchRequest{Topic: "orders", Partition: 2, Position: at(0)}); reasonOf(err) != errcode.OffsetOutOfRange {
		t.Fatalf("fetched what was trimmed: %v", err)
	}

	first, err := a.InitProducer(ctx, &moldauv1.InitProducerRequest{})
	must(err)
	second, err := a.InitProducer(ctx, &moldauv1.InitProducerRequest{})
	must(err)
	if first.GetProducerId() == second.GetProducerId() {
		t.Fatal("one producer id was handed out twice")
	}
	cluster, err := a.GetCluster(ctx, &moldauv1.GetClusterRequest{})
	must(err)
	if cluster.GetTopicCount() != 1 || cluster.GetPartitionCount() != 4 || cluster.GetNodes()[0].GetLeaderCount() != 4 || cluster.GetVersion() != "test" {
		t.Fatalf("cluster %v", cluster)
	}
	for _, name := range []string{"a", "b", "c"} {
		r.topic(name, 1)
	}
	var names []string
	for token := ""; ; {
		page, err := a.ListTopics(ctx, &moldauv1.ListTopicsRequest{PageSize: 3, PageToken: token})
		must(err)
		for _, topic := range page.GetTopics() {
			names = append(names, topic.GetName())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if strings.Join(names, " ") != "a b c orders" {
		t.Fatalf("listed %v", names)
	}
	deleted, err := a.DeleteTopic(ctx, &moldauv1.DeleteTopicRequest{Name: "orders", TopicId: created.GetTopic().GetTopicId()})
	must(err)
	if deleted.GetTopicId() != created.GetTopic().GetTopicId() {
		t.Fatalf("deleted %v", deleted)
	}
	if _, err := a.GetTopic(ctx, &moldauv1.GetTopicRequest{Name: "orders"}); reasonOf(err) != errcode.UnknownTopic {
		t.Fatalf("after the deletion: %v", err)
	}
}

func TestRESTServesWhatTheContractSays(t *testing.T) {
	r := newRig(t)
	steps := []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"POST", "/v1/topics", `{"name":"t","partitionCount":2}`, 200, `"partitionCount":2`},
		{"GET", "/v1/topics/t", "", 200, `"name":"t"`},
		{"GET", "/v1/topics?pageSize=10", "", 200, `"name":"t"`},
		{"PATCH", "/v1/topics/t", `{"configs":{"segment.ms":"7"}}`, 200, `CONFIG_SOURCE_TOPIC`},
		{"POST", "/v1/topics/t:addPartitions", `{"partitionCount":3}`, 200, `"partitionCount":3`},
		{"POST", "/v1/topics/t/records", `{"partition":1,"records":[{"key":"aw==","value":"dg==","headers":[{"key":"h","value":""}],"timestamp":"2026-01-02T03:04:05.006Z"}]}`, 200, `"baseOffset":"0"`},
		{"GET", "/v1/topics/t/partitions/1/records?position.start=true&maxWait=1s", "", 200, `"timestamp":"2026-01-02T03:04:05.006Z"`},
		{"GET", "/v1/topics/t/partitions/1/records?position.start=true", "", 200, `{"key":"h","value":""}`},
		{"POST", "/v1/topics/t:listOffsets", `{"position":{"end":true}}`, 200, `"offset":"1"`},
		{"POST", "/v1/topics/t:trim", `{"partitions":[{"partition":1,"beforeOffset":"1"}]}`, 200, `"earliestOffset":"1"`},
		{"POST", "/v1/producers", `{}`, 200, `"producerId"`},
		{"POST", "/v1/producers", ``, 200, `"producerId"`},
		{"GET", "/v1/cluster", "", 200, `"clusterId":"test-cluster"`},
		{"DELETE", "/v1/topics/t", "", 200, `"topicId"`},
		{"GET", "/v1/topics/t", "", 404, `"reason":"UNKNOWN_TOPIC"`},
		{"GET", "/openapi.json", "", 200, `"swagger"`},
	}
	for _, s := range steps {
		code, answer := r.rest(s.method, s.path, s.body)
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		if code != s.status || !strings.Contains(string(text), s.contains) {
			t.Errorf("%s %s: %d %s, want %d with %s", s.method, s.path, code, text, s.status, s.contains)
		}
	}
}

func TestRESTTailsLineByLine(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url("/v1/read"), strings.NewReader(`{"topics":[{"topic":"t"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("content type %q", got)
	}
	lines := bufio.NewScanner(resp.Body)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("no line with %s: %v", want, lines.Err())
	}
	next(`"started"`)
	for range 3 { // each line comes while the stream is open
		r.rest("POST", "/v1/topics/t/records", `{"records":[{"value":"dg=="}]}`)
		next(`"value":"dg=="`)
	}
}

func TestHealthReflectionAndProbes(t *testing.T) {
	r := newRig(t)
	for name, conn := range map[string]*grpc.ClientConn{"grpc": r.grpc, "http": dial(t, r.service.HTTPAddr())} {
		h, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "moldau.v1.ReadService"})
		if err != nil || h.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%s: health %v, %v", name, h, err)
		}
		stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		list, err := stream.Recv()
		if err != nil || !strings.Contains(list.String(), "moldau.v1.ProduceService") {
			t.Errorf("%s: reflection %v, %v", name, list, err)
		}
	}
	if err := r.service.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]*grpc.ClientConn{"grpc": r.grpc, "http": dial(t, r.service.HTTPAddr())} {
		h, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil || h.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("%s: health while draining %v, %v", name, h, err)
		}
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503} {
		resp, err := http.Get(r.url(path))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestBrowsersMayCallFromAllowedOriginsOnly(t *testing.T) {
	r := newRig(t)
	for origin, want := range map[string]string{"http://localhost:5173": "http://localhost:5173", "https://evil.example": ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, r.url("/moldau.v1.ReadService/Read"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		req.Header.Set("Access-Control-Request-Headers", "connect-protocol-version,content-type")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: allowed %q, want %q", origin, got, want)
		}
	}
}

// TestRecordsAreNotCompressed: gzip costs a reader more than it wins.
func TestRecordsAreNotCompressed(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.rest("POST", "/v1/topics/t/records", `{"records":[{"value":"`+strings.Repeat("AAAA", 5000)+`"}]}`)
	for path, want := range map[string]string{"ReadService/Fetch": "", "TopicService/GetTopic": "gzip"} {
		body := `{"topic":"t","position":{"start":true}}`
		if want != "" {
			body = `{"name":"t"}`
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url("/moldau.v1."+path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Content-Encoding"); got != want || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, encoding %q, want %q", path, resp.StatusCode, got, want)
		}
	}
}

func TestOpenAPIIsTheGeneratedOne(t *testing.T) {
	want, err := os.ReadFile("../proto/gen/openapi/moldau.swagger.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(rest.OpenAPI) {
		t.Error("gateway/rest/openapi.json is not the generated file: copy proto/gen/openapi/moldau.swagger.json over it")
	}
}
