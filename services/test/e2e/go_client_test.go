package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"moldau.dev/gateway/gatewayclient"
	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// TestTheGoClientReadsInAGroupThroughTheLossOfItsGateway: two consumers share
// six partitions; the gateway that serves them is killed, and then one of the
// consumers goes without a word. Every record is dealt with.
func TestTheGoClientReadsInAGroupThroughTheLossOfItsGateway(t *testing.T) {
	const each = 50
	c := testcluster.StartShape(t, testcluster.Shape{Metadata: 1, StorageNodes: 1, Coordinators: 1, Gateways: 2})
	quickGroups(t, c)
	c.CreateTopic(t, "shared", sharedPartitions, keepForever)
	client, err := gatewayclient.Dial(strings.Join(c.GRPCAddrs(), ","), gatewayclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // nothing can be done
	produced := 0
	produce := func() {
		for p := range int32(sharedPartitions) {
			req := &pb.ProduceRequest{Topic: "shared", Partition: &p}
			for i := range each {
				req.Records = append(req.Records, &pb.Record{Value: fmt.Appendf(nil, "%d", produced+i)})
			}
			resp, err := client.Records().Produce(testcluster.Context(t), req)
			for err != nil && testcluster.Context(t).Err() == nil { // its gateway is gone; a record that is there twice is one
				resp, err = client.Records().Produce(testcluster.Context(t), req)
			}
			requireAppended(t, resp, err)
		}
		produced += each
	}

	var mu sync.Mutex
	dealt, by, grew := map[string]int{}, map[string]int{}, make(chan struct{}, 1)
	read := func(name string) (stop func()) {
		ctx, cancel := context.WithCancel(testcluster.Context(t))
		done := make(chan struct{})
		member := client.NewConsumer(&pb.ConsumeRequest{GroupId: "readers", Topics: []string{"shared"}, ClientId: name}, gatewayclient.ConsumerOptions{})
		go func() {
			defer close(done)
			for m, err := range member.Messages(ctx) {
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("%s: %v", name, err)
					}
					return
				}
				mu.Lock()
				dealt[fmt.Sprintf("%d-%s", m.Partition, m.GetValue())]++
				by[name]++
				mu.Unlock()
				select {
				case grew <- struct{}{}:
				default:
				}
			}
		}()
		t.Cleanup(func() { cancel(); <-done })
		return func() { cancel(); <-done }
	}
	until := func(what string, is func() bool) {
		t.Helper()
		for {
			mu.Lock()
			there := is()
			mu.Unlock()
			if there {
				return
			}
			select {
			case <-grew:
			case <-testcluster.Context(t).Done():
				t.Fatalf("%s: never; %d of %d, %v", what, len(dealt), produced*sharedPartitions, by)
			}
		}
	}
	all := func() bool { return len(dealt) == produced*sharedPartitions }

	read("one")
	produce()
	until("one reads all", all)
	stop := read("two")
	for two := 0; two == 0; { // until it has its share
		produce()
		until("both read", all)
		mu.Lock()
		two = by["two"]
		mu.Unlock()
	}
	first := testcluster.Member{Role: "gateway", ID: 1}
	c.Member(t, first).Kill()
	produce()
	until("after a gateway was killed", all)
	c.StartMember(t, first)
	stop()
	produce()
	until("after a consumer has gone", all)
}
