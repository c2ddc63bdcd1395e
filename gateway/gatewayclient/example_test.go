package gatewayclient_test

import (
	"context"
	"fmt"
	"log"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewayclient"
	"moldau.dev/gateway/gatewaytest"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
)

// local starts a gateway over a cluster in memory, in place of `moldau up`.
func local() (addr string, stop func()) {
	cfg := gateway.DefaultConfig()
	cfg.GRPCListen, cfg.HTTPListen, cfg.KafkaListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	storage := gatewaytest.NewStorage(clock.Real())
	s, err := gateway.NewService(cfg, gateway.Deps{Metadata: gatewaytest.NewMetadata(), Nodes: gatewaytest.NewNodes(storage)})
	if err == nil {
		err = s.Start(context.Background())
	}
	if err != nil {
		log.Fatal(err)
	}
	return s.GRPCAddr(), func() { _ = s.Stop(context.Background()) }
}

// Create a topic, produce to it, read it to its end.
func Example() {
	addr, stop := local() // localhost:9090 with `moldau up`
	defer stop()
	ctx := context.Background()
	client, err := gatewayclient.Dial(addr, gatewayclient.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	if _, err := client.Topics().CreateTopic(ctx, &moldauv1.CreateTopicRequest{Name: "greetings", PartitionCount: 1}); err != nil {
		log.Fatal(err)
	}

	producer := client.NewProducer(gatewayclient.ProducerOptions{})
	for _, word := range []string{"dobrý den", "ahoj"} {
		err := producer.Produce(ctx, "greetings", nil, &moldauv1.Record{Value: []byte(word)}, func(at gatewayclient.Receipt, err error) {
			if err != nil {
				log.Print(err) // told once, after all tries
			}
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := producer.Close(ctx); err != nil { // waits for every answer
		log.Fatal(err)
	}

	for m, err := range client.Read(ctx, &moldauv1.ReadRequest{Topics: []*moldauv1.ReadTopic{{Topic: "greetings"}}, UntilEnd: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Topic, m.Partition, m.GetOffset(), string(m.GetValue()))
	}
	// Output:
	// greetings 0 0 dobrý den
	// greetings 0 1 ahoj
}

// Wait for each record where the answer is needed before going on.
func ExampleProducer_ProduceSync() {
	addr, stop := local()
	defer stop()
	ctx := context.Background()
	client, err := gatewayclient.Dial(addr, gatewayclient.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Topics().CreateTopic(ctx, &moldauv1.CreateTopicRequest{Name: "orders", PartitionCount: 4}); err != nil {
		log.Fatal(err)
	}
	producer := client.NewProducer(gatewayclient.ProducerOptions{})
	defer producer.Close(ctx)
	at, err := producer.ProduceSync(ctx, "orders", nil, &moldauv1.Record{Key: []byte("customer-7"), Value: []byte("{}")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(at.Topic, at.Offset)
	// Output: orders 0
}

// Append only if nobody else has: compare-and-append by offset.
func ExampleClient_Records() {
	addr, stop := local()
	defer stop()
	ctx := context.Background()
	client, err := gatewayclient.Dial(addr, gatewayclient.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Topics().CreateTopic(ctx, &moldauv1.CreateTopicRequest{Name: "ledger", PartitionCount: 1}); err != nil {
		log.Fatal(err)
	}
	var partition int32
	var end int64
	for range 2 { // the second finds the end moved
		resp, err := client.Records().Produce(ctx, &moldauv1.ProduceRequest{
			Topic: "ledger", Partition: &partition, ExpectedOffset: &end, Records: []*moldauv1.Record{{Value: []byte("entry")}},
		})
		if err != nil {
			log.Fatal(err)
		}
		if refused := resp.GetResults()[0].GetError(); refused != nil {
			fmt.Println(refused.GetReason(), refused.GetMetadata()["end_offset"])
			continue
		}
		fmt.Println("appended at", resp.GetResults()[0].GetBaseOffset())
	}
	// Output:
	// appended at 0
	// OFFSET_MISMATCH 1
}

// Read in a group: what the loop has dealt with is committed by itself.
func ExampleClient_NewConsumer() {
	read := func(ctx context.Context, client *gatewayclient.Client) error {
		member := client.NewConsumer(&moldauv1.ConsumeRequest{GroupId: "readers", Topics: []string{"greetings"}}, gatewayclient.ConsumerOptions{})
		for m, err := range member.Messages(ctx) {
			if err != nil {
				return err
			}
			fmt.Println(m.Topic, m.Partition, m.GetOffset(), string(m.GetValue()))
		}
		return member.Leave(context.WithoutCancel(ctx))
	}
	_ = read
}
