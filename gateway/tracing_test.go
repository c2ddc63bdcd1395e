package gateway_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewaytest"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/services/telemetry"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

// The names of spans.
const (
	produceRPC = "moldau.v1.ProduceService/Produce"
	fetchRPC   = "moldau.v1.ReadService/Fetch"
	appendRPC  = "moldau.internal.storage.v1.StorageService/Append"
	pollRPC    = "moldau.internal.storage.v1.StorageService/Fetch"
)

// callersTrace is what a caller sends: its trace, its span, sampled or not.
func callersTrace(flags string) string {
	return "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags
}

// tracedRig traces all it does. Spans end a little after their call is answered;
// all have once the function that tracedRig returns has.
func tracedRig(t *testing.T, remote bool) (r *rig, kept *tracetest.InMemoryExporter, ended func()) {
	t.Helper()
	kept = tracetest.NewInMemoryExporter()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	r = newRig(t, func(_ *gateway.Config, d *gateway.Deps) { d.Tracing = tp })
	node, stopNode := storageclient.Traced(r.storage, tp, 1), func() {}
	if remote {
		node, stopNode = remoteNode(t, r.storage, tp)
	}
	r.nodes.Set(1, node)
	return r, kept, func() {
		if err := r.service.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		stopNode()
	}
}

// remoteNode puts a network between the gateway and a node.
func remoteNode(t *testing.T, s *gatewaytest.Storage, tp trace.TracerProvider) (node storageclient.Storage, stop func()) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := transport.NewServer(transport.Options{Tracing: tp})
	storageclient.Serve(server, s)
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(lis) }) // ends with Stop
	far, err := storageclient.Dial(lis.Addr().String(), transport.DialOptions{Tracing: tp})
	if err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = far.Close() // may be called again
		server.Stop()
		served.Wait()
	}
	t.Cleanup(stop)
	return far, stop
}

// tracedCall produces one record and reads it again by one protocol, as a
// caller with that traceparent.
type tracedCall func(t *testing.T, r *rig, traceparent string)

func tracedCalls() map[string]tracedCall {
	byConnect := func(opts ...connecthttp.Option) tracedCall {
		return func(t *testing.T, r *rig, traceparent string) {
			ctx, info := connect.NewClientContext(t.Context())
			info.RequestHeader().Set("traceparent", traceparent)
			produceAndFetch(ctx, t, r.connect(opts...))
		}
	}
	return map[string]tracedCall{
		"grpc": func(t *testing.T, r *rig, traceparent string) {
			produceAndFetch(metadata.AppendToOutgoingContext(t.Context(), "traceparent", traceparent), t, grpcAPI{r.grpc})
		},
		"connect":  byConnect(connecthttp.WithProtoJSON()),
		"grpc-web": byConnect(connecthttp.WithGRPCWeb()),
		"rest": func(t *testing.T, r *rig, traceparent string) {
			r.traced(traceparent, "POST", "/v1/topics/t/records", `{"records":[{"value":"`+base64.StdEncoding.EncodeToString([]byte("v"))+`"}]}`)
			r.traced(traceparent, "GET", "/v1/topics/t/partitions/0/records", "")
		},
	}
}

func produceAndFetch(ctx context.Context, t *testing.T, a api) {
	t.Helper()
	resp, err := a.Produce(ctx, &moldauv1.ProduceRequest{Topic: "t", Records: one("v")})
	if err != nil || resp.GetResults()[0].GetError() != nil {
		t.Fatalf("produce: %v %v", resp, err)
	}
	if _, err := a.Fetch(ctx, &moldauv1.FetchRequest{Topic: "t", Position: at(0)}); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) traced(traceparent, method, path, body string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url(path), bytes.NewBufferString(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Traceparent", traceparent)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// headersOf returns the headers of the first record of t-0, as they are stored.
func (r *rig) headersOf() map[string]string {
	r.t.Helper()
	resp, err := r.storage.Fetch(r.t.Context(), &storageclient.FetchRequest{
		Partitions: []storageclient.FetchPartition{{PartitionID: r.partition("t", 0), LeaderEpoch: -1, MaxBytes: 1 << 20}}, MinBytes: 1, MaxBytes: 1 << 20,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Release()
	out := map[string]string{}
	err = record.ForEach(resp.Results[0].Batches, record.DefaultLimits(), func(rec *record.Record) error {
		if rec.Offset == 0 {
			for _, h := range rec.Headers {
				out[h.Key] = string(h.Value)
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func spanNamed(t *testing.T, spans tracetest.SpanStubs, name string) tracetest.SpanStub {
	t.Helper()
	i := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("no span %s in %s", name, names(spans))
	}
	return spans[i]
}

func names(spans tracetest.SpanStubs) (out []string) {
	for _, s := range spans {
		out = append(out, s.Name)
	}
	return out
}

// TestATraceRunsFromTheCallerToTheDiskAndIntoTheRecord: whatever protocol a
// call comes by, and whether the node is in this process or another, its trace
// has the same story, and the record names it.
func TestATraceRunsFromTheCallerToTheDiskAndIntoTheRecord(t *testing.T) {
	for name, call := range tracedCalls() {
		for _, remote := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s remote=%v", name, remote), func(t *testing.T) {
				r, kept, ended := tracedRig(t, remote)
				r.topic("t", 1)
				call(t, r, callersTrace("01"))
				ended()
				spans := kept.GetSpans()
				for _, s := range spans {
					if id := s.SpanContext.TraceID().String(); id != "0af7651916cd43dd8448eb211c80319c" {
						t.Errorf("span %s is in trace %s", s.Name, id)
					}
				}
				produce, fetch := spanNamed(t, spans, produceRPC), spanNamed(t, spans, fetchRPC)
				for _, s := range []tracetest.SpanStub{produce, fetch} {
					if s.Parent.SpanID().String() != "b7ad6b7169203331" || s.SpanKind != trace.SpanKindServer {
						t.Errorf("%s is a %s below %s", s.Name, s.SpanKind, s.Parent.SpanID())
					}
				}
				appended := spanNamed(t, spans, "append")
				below(t, spans, appended, produce)
				below(t, spans, innermost(t, spans, appendRPC, remote), appended)
				below(t, spans, innermost(t, spans, pollRPC, remote), fetch)

				want := fmt.Sprintf("00-%s-%s-01", produce.SpanContext.TraceID(), produce.SpanContext.SpanID())
				if got := r.headersOf()[telemetry.TraceparentKey]; got != want {
					t.Errorf("the record carries %q, want %q", got, want)
				}
			})
		}
	}
}

// innermost returns the node's own span of a call: with a network in between
// the caller has one of the same name above it.
func innermost(t *testing.T, spans tracetest.SpanStubs, name string, remote bool) tracetest.SpanStub {
	t.Helper()
	kind := trace.SpanKindInternal
	if remote {
		kind = trace.SpanKindServer
	}
	i := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.Name == name && s.SpanKind == kind })
	if i < 0 {
		t.Fatalf("no span %s of kind %s in %s", name, kind, names(spans))
	}
	return spans[i]
}

// below requires that child descends from parent, with only calls over the
// network in between.
func below(t *testing.T, spans tracetest.SpanStubs, child, parent tracetest.SpanStub) {
	t.Helper()
	for up := child.Parent.SpanID(); ; {
		if up == parent.SpanContext.SpanID() {
			return
		}
		i := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.SpanContext.SpanID() == up })
		if i < 0 || spans[i].SpanKind != trace.SpanKindClient {
			t.Errorf("%s is not below %s", child.Name, parent.Name)
			return
		}
		up = spans[i].Parent.SpanID()
	}
}

// TestRecordsCarryOnlyTracesThatSomeoneKeeps: without a sampled trace, and
// where the process does not trace, records are stored as they were sent.
func TestRecordsCarryOnlyTracesThatSomeoneKeeps(t *testing.T) {
	for name, call := range tracedCalls() {
		t.Run(name, func(t *testing.T) {
			r, kept, ended := tracedRig(t, false)
			r.topic("t", 1)
			call(t, r, callersTrace("00"))
			h := r.headersOf()
			ended()
			if len(h) != 0 || len(kept.GetSpans()) != 0 {
				t.Errorf("a trace that is not sampled left %v and spans %v", h, names(kept.GetSpans()))
			}
			off := newRig(t)
			off.topic("t", 1)
			call(t, off, callersTrace("01"))
			if h := off.headersOf(); len(h) != 0 {
				t.Errorf("a gateway that does not trace left %v", h)
			}
		})
	}
}

func TestARecordsOwnTraceStays(t *testing.T) {
	r, _, _ := tracedRig(t, false)
	r.topic("t", 1)
	own := []*moldauv1.Header{{Key: "traceparent", Value: []byte("mine")}, {Key: "k", Value: []byte("v")}}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", callersTrace("01"))
	if _, err := (grpcAPI{r.grpc}).Produce(ctx, &moldauv1.ProduceRequest{Topic: "t", Records: []*moldauv1.Record{{Headers: own}}}); err != nil {
		t.Fatal(err)
	}
	if h := r.headersOf(); h["traceparent"] != "mine" || h["k"] != "v" || len(h) != 2 {
		t.Errorf("headers %v", h)
	}
}

// TestATraceIsNoReasonToRefuseARecord: what fits without the header is taken.
func TestATraceIsNoReasonToRefuseARecord(t *testing.T) {
	const maxBatch = 2000
	for name, req := range map[string]*moldauv1.ProduceRequest{
		"one record":     {Records: one(strings.Repeat("v", maxBatch-100))},
		"of one batch":   {Records: slices.Repeat(one(strings.Repeat("v", 100)), 14), Producer: &moldauv1.ProducerSequence{ProducerId: 7}},
		"of two batches": {Records: slices.Repeat(one(strings.Repeat("v", 100)), 30)},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := tracedRig(t, false)
			if _, err := (grpcAPI{r.grpc}).CreateTopic(t.Context(), &moldauv1.CreateTopicRequest{
				Name: "t", PartitionCount: 1, Configs: map[string]string{"max.message.bytes": fmt.Sprint(maxBatch)},
			}); err != nil {
				t.Fatal(err)
			}
			r.storage.Judge = func(batch []byte) error {
				if len(batch) > maxBatch {
					return fmt.Errorf("a batch of %d bytes", len(batch))
				}
				return nil
			}
			req.Topic, req.Partition = "t", new(int32)
			ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", callersTrace("01"))
			resp, err := (grpcAPI{r.grpc}).Produce(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			for _, res := range resp.GetResults() {
				if res.GetError() != nil {
					t.Error(res.GetError())
				}
			}
		})
	}
}

// TestBaggageStaysOutOfRecords: it would be stored once for each record of a
// call.
func TestBaggageStaysOutOfRecords(t *testing.T) {
	r, _, _ := tracedRig(t, false)
	r.topic("t", 1)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", callersTrace("01"),
		"baggage", "k="+strings.Repeat("v", 4000), "tracestate", "x="+strings.Repeat("v", 200))
	if _, err := (grpcAPI{r.grpc}).Produce(ctx, &moldauv1.ProduceRequest{Topic: "t", Records: one("v")}); err != nil {
		t.Fatal(err)
	}
	if h := r.headersOf(); len(h) != 1 || len(h["traceparent"]) != 55 {
		t.Errorf("headers %v", h)
	}
}
