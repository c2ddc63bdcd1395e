package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2/connecthttp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

// series returns the labels and values of a metric, as name=value,… of the
// labels in their order.
func (r *rig) series(name string) map[string]float64 {
	r.t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			out[labels(m)] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func labels(m *dto.Metric) string {
	var out []string
	for _, l := range m.GetLabel() {
		out = append(out, l.GetName()+"="+l.GetValue())
	}
	return strings.Join(out, ",")
}

// TestEveryProtocolCountsItsCalls: one call that ends well, one refused by the
// API and one that cannot even be read, by each protocol.
func TestEveryProtocolCountsItsCalls(t *testing.T) {
	r := newRig(t)
	calls := func(a api) {
		t.Helper()
		if _, err := a.GetCluster(t.Context(), &moldauv1.GetClusterRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.GetTopic(t.Context(), &moldauv1.GetTopicRequest{Name: "nope"}); reasonOf(err) != errcode.UnknownTopic {
			t.Fatal(err)
		}
	}
	calls(grpcAPI{r.grpc})
	calls(r.connect())
	calls(r.connect(connecthttp.WithGRPCWeb()))
	for _, path := range []string{"/v1/cluster", "/v1/topics/nope", "/v1/topics?nope=1", "/v1/nothing/here"} {
		r.rest("GET", path, "")
	}
	if code, body := r.connectRaw("{"); code != http.StatusBadRequest {
		t.Fatalf("half a request: %d %s", code, body)
	}
	const getCluster, getTopic = "rpc=moldau.v1.ClusterService/GetCluster", "rpc=moldau.v1.TopicService/GetTopic"
	want := map[string]float64{
		"protocol=connect,reason=INVALID_ARGUMENT,rpc=moldau.v1.TopicService/CreateTopic": 1,
		"protocol=rest,reason=INVALID_ARGUMENT,rpc=moldau.v1.TopicService/ListTopics":     1,
		"protocol=rest,reason=UNIMPLEMENTED,rpc=none":                                     1,
	}
	for _, protocol := range []string{"grpc", "connect", "grpcweb", "rest"} {
		want["protocol="+protocol+",reason=OK,"+getCluster] = 1
		want["protocol="+protocol+",reason=UNKNOWN_TOPIC,"+getTopic] = 1
	}
	got := r.series("moldau_rpc_ended_total")
	for labels, n := range want {
		if got[labels] != n {
			t.Errorf("%s: %v, want %v", labels, got[labels], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("counted %v", got)
	}
	if timed := r.series("moldau_rpc_seconds"); timed["protocol=rest,"+getTopic] != 1 || timed["protocol=connect,"+getTopic] != 1 {
		t.Errorf("timed %v", timed)
	}
}

// TestCallersCannotMakeLabels: whatever names and paths callers invent, the
// metrics have no more series than before.
func TestCallersCannotMakeLabels(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	hostile := func(i int) {
		name := fmt.Sprintf("invented%d", i)
		_, _ = (grpcAPI{r.grpc}).Produce(t.Context(), &moldauv1.ProduceRequest{Topic: name, Records: one("v")})
		_, _ = (grpcAPI{r.grpc}).Fetch(t.Context(), &moldauv1.FetchRequest{Topic: name})
		_ = r.grpc.Invoke(t.Context(), "/moldau.v1.TopicService/"+name, &moldauv1.GetTopicRequest{}, &moldauv1.GetTopicResponse{})
		_ = r.grpc.Invoke(t.Context(), "/"+name+"/Get", &moldauv1.GetTopicRequest{}, &moldauv1.GetTopicResponse{})
		r.rest("GET", "/v1/"+name, "")
		r.rest("GET", "/v1/topics/"+name, "")
		for _, path := range []string{"/moldau.v1.TopicService/" + name, "/" + name + "/Get"} {
			resp, err := http.Post(r.url(path), "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
	}
	hostile(0)
	before := r.allSeries()
	for i := range 50 {
		hostile(i)
	}
	if after := r.allSeries(); len(after) != len(before) {
		t.Errorf("new series: %v", slices.DeleteFunc(after, func(s string) bool { return slices.Contains(before, s) }))
	}
}

func (r *rig) allSeries() (out []string) {
	r.t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out = append(out, f.GetName()+"{"+labels(m)+"}")
		}
	}
	return out
}

// TestOpenStreamsReturnToZero: rule G7, for each protocol and each way in which
// a stream can end.
func TestOpenStreamsReturnToZero(t *testing.T) {
	r := newRig(t)
	r.topic("t", 1)
	r.produce("t", 0, "v")
	ctx, cancel := context.WithCancel(t.Context())
	r.openRead(ctx, grpcAPI{r.grpc})
	r.openRead(ctx, r.connect())
	r.openRead(ctx, r.connect(connecthttp.WithGRPCWeb()))
	r.openRestRead(ctx)
	r.openProduce(ctx)
	ends := r.openProduce(ctx)
	if open := r.series("moldau_gateway_open_streams"); open["kind=read"] != 4 || open["kind=produce"] != 2 {
		t.Errorf("open are %v, want 4 reads and 2 produces", open)
	}
	r.endProduce(ends)
	refused, err := grpcAPI{r.grpc}.Read(ctx, &moldauv1.ReadRequest{})
	if err == nil {
		_, err = refused()
	}
	if !errcode.Is(err, errcode.InvalidArgument) {
		t.Error(err)
	}
	cancel()
	if err := r.service.Stop(t.Context()); err != nil { // waits for handlers
		t.Fatal(err)
	}
	for kind, n := range r.series("moldau_gateway_open_streams") {
		if n != 0 {
			t.Errorf("%v streams of %s are open", n, kind)
		}
	}
}

func (r *rig) openRead(ctx context.Context, a api) {
	r.t.Helper()
	recv, err := a.Read(ctx, &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "t"}}})
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := recv(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) openRestRead(ctx context.Context) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", r.url("/v1/read"), strings.NewReader(`{"topics":[{"topic":"t"}]}`))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = resp.Body.Close() })
}

func (r *rig) openProduce(ctx context.Context) grpc.BidiStreamingClient[moldauv1.ProduceStreamRequest, moldauv1.ProduceStreamResponse] {
	r.t.Helper()
	stream, err := moldauv1.NewProduceServiceClient(r.grpc).ProduceStream(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := stream.Send(&moldauv1.ProduceStreamRequest{Request: &moldauv1.ProduceRequest{Topic: "t", Records: one("v")}}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		r.t.Fatal(err)
	}
	return stream
}

func (r *rig) endProduce(stream grpc.BidiStreamingClient[moldauv1.ProduceStreamRequest, moldauv1.ProduceStreamResponse]) {
	r.t.Helper()
	if err := stream.CloseSend(); err != nil {
		r.t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		r.t.Fatal(err)
	}
}
