//go:build consul

// Package takeover loses metadata processes and Consul under a running cluster:
// real processes, a real Consul, and clients that go on.
package takeover

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/consultest"
	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

const (
	instances = 3
	topic     = "river"
)

// rig is a cluster with several metadata processes, and a producer at work.
type rig struct {
	*testcluster.Cluster
	consul *consultest.Agent
	pings  map[testcluster.Member]metadatav1.MetadataServiceClient
	sent   atomic.Int64 // acknowledged records
	topics int
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{consul: consultest.StartServers(t, 1)[0], pings: map[testcluster.Member]metadatav1.MetadataServiceClient{}}
	r.Cluster = testcluster.StartShape(t, testcluster.Shape{Metadata: instances, StorageNodes: 1, Gateways: 1}, testcluster.WithEnv(
		"MOLDAU_METADATA_STORE=consul", "MOLDAU_CONSUL_ADDRESS="+r.consul.Addr(), "MOLDAU_METADATA_TARGET=moldau:///metadata"))
	for id := range instances {
		m := member(id + 1)
		r.pings[m] = r.Metadata(t, m)
	}
	r.CreateTopic(t, topic, 1, nil)
	r.keepProducing(t)
	return r
}

func member(id int) testcluster.Member { return testcluster.Member{Role: "metadata", ID: id} }

// keepProducing sends one record after the other until the test ends. None may
// fail.
func (r *rig) keepProducing(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	client := r.Produce(t)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			value := fmt.Append(nil, r.sent.Load())
			_, err := client.Produce(ctx, &pb.ProduceRequest{Topic: topic, Records: []*pb.Record{{Value: value}}})
			if err != nil && ctx.Err() == nil {
				t.Errorf("record %s was not acknowledged: %v", value, err)
				return
			}
			if err == nil {
				r.sent.Add(1)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// flows waits until records went through after now.
func (r *rig) flows(t *testing.T) {
	t.Helper()
	ctx := testcluster.Context(t)
	for enough := r.sent.Load() + 20; r.sent.Load() < enough && !t.Failed(); {
		if ctx.Err() != nil {
			t.Fatal("producing has stopped")
		}
	}
}

// readsAll reads the topic from its start and requires what was acknowledged.
func (r *rig) readsAll(t *testing.T) {
	t.Helper()
	want := r.sent.Load()
	got := r.Command(t, nil, "consume", topic, "--from", "start", "--until-end", "--format", "%v\\n")
	if got.Code != 0 {
		t.Fatalf("consume: %s", got.Stderr)
	}
	var lines int64
	for _, b := range got.Stdout {
		if b == '\n' {
			lines++
		}
	}
	if lines < want {
		t.Errorf("read %d records of %d that were acknowledged", lines, want)
	}
}

// active returns the process that leads, of those that answer.
func (r *rig) active(t *testing.T) testcluster.Member {
	t.Helper()
	return testcluster.ActiveMetadata(t, r.pings)
}

// decide makes a change that a controller must decide, as soon as one does.
func (r *rig) decide(t *testing.T) {
	t.Helper()
	r.topics++
	name := fmt.Sprintf("decided-%d", r.topics)
	for testcluster.Context(t).Err() == nil {
		_, err := r.Topics(t).CreateTopic(t.Context(), &pb.CreateTopicRequest{Name: name, PartitionCount: 1})
		if err == nil || status.Code(err) == codes.AlreadyExists { // by an attempt whose answer was lost
			return
		}
	}
	t.Fatal("nothing is decided")
}

// lose does something to the controller and returns who it was, once another
// has taken over and decided.
func (r *rig) lose(t *testing.T, how string, do func(*testcluster.Process)) testcluster.Member {
	t.Helper()
	r.decide(t)
	old := r.active(t)
	began := time.Now()
	do(r.Member(t, old))
	next := old
	for next == old {
		next = r.active(t)
	}
	took := time.Since(began)
	r.decide(t)
	t.Logf("%s %s: %s led after %s, a change was decided after %s", how, old.Name(), next.Name(), took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	r.flows(t)
	return old
}

func pause(t *testing.T) func(*testcluster.Process) {
	return func(p *testcluster.Process) { p.Signal(t, syscall.SIGSTOP) }
}
