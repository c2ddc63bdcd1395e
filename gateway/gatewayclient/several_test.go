package gatewayclient_test

import (
	"testing"
	"time"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"

	"moldau.dev/gateway/gatewayclient"
)

// TestAListOfGatewaysOutlivesOneOfThem produces by a client that knows two
// gateways and loses one.
func TestAListOfGatewaysOutlivesOneOfThem(t *testing.T) {
	c := newCluster(t, "orders", 1)
	first, second := c.gateway(t, "127.0.0.1:0"), c.gateway(t, "127.0.0.1:0")
	defer stop(t, second, time.Second)
	client := dial(t, first.GRPCAddr()+", "+second.GRPCAddr())
	p := client.NewProducer(gatewayclient.ProducerOptions{})
	partition := int32(0)
	for i, value := range []string{"a", "b"} {
		at, err := p.ProduceSync(t.Context(), "orders", &partition, &moldauv1.Record{Value: []byte(value)})
		if err != nil || at.Offset != int64(i) {
			t.Fatalf("record %d: %+v, %v", i, at, err)
		}
		if i == 0 {
			stop(t, first, time.Second)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
