package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewayclient"
	"moldau.dev/gateway/gatewaytest"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/record"
	"moldau.dev/services/transport"
	storagenode "moldau.dev/storage-node"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// controller is the metadata that a storage node needs beside a gateway's.
type controller struct{ *gatewaytest.Metadata }

func (c controller) RegisterNode(context.Context, *metadatav1.RegisterNodeRequest) (*metadatav1.RegisterNodeResponse, error) {
	v := c.View()
	return &metadatav1.RegisterNodeResponse{NodeEpoch: 1, Revision: v.Revision, ClusterId: v.ClusterID}, nil
}

func (c controller) Heartbeat(context.Context, *metadatav1.HeartbeatRequest) (*metadatav1.HeartbeatResponse, error) {
	return &metadatav1.HeartbeatResponse{Revision: c.View().Revision}, nil
}

// platform is a gateway with a storage node on the real disk, in one process
// or with gRPC between them.
type platform struct {
	meta    *gatewaytest.Metadata
	storage storageclient.Storage
	client  *gatewayclient.Client
}

func newPlatform(b *testing.B, split bool) *platform {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	p := &platform{meta: gatewaytest.NewMetadata()}
	cfg := storagenode.DefaultConfig()
	cfg.NodeID, cfg.DataDir = 1, b.TempDir()
	node, err := storagenode.NewService(cfg, storagenode.Deps{Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Metadata: controller{p.meta}, FS: vfs.OS{}})
	must(err)
	must(node.Start(b.Context()))
	b.Cleanup(func() { must(node.Stop(context.Background())) })
	p.storage = node.Storage()
	var door storageclient.Storage = p.storage
	if split {
		server := transport.NewServer(transport.Options{Log: slog.New(slog.DiscardHandler), MaxRecvBytes: 64 << 20})
		node.Register(server)
		lis, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
		must(err)
		go server.Serve(lis) //nolint:errcheck // it ends with Stop
		b.Cleanup(server.Stop)
		remote, err := storageclient.Dial(lis.Addr().String(), transport.DialOptions{})
		must(err)
		b.Cleanup(func() { must(remote.Close()) })
		door = remote
	}
	gcfg := gateway.DefaultConfig()
	gcfg.GRPCListen, gcfg.HTTPListen, gcfg.KafkaListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	g, err := gateway.NewService(gcfg, gateway.Deps{Metadata: p.meta, Nodes: gatewaytest.NewNodes(door), Version: "bench"})
	must(err)
	must(g.Start(b.Context()))
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		must(g.Stop(ctx))
	})
	p.client, err = gatewayclient.Dial(g.GRPCAddr(), gatewayclient.Options{})
	must(err)
	b.Cleanup(func() { must(p.client.Close()) })
	return p
}

func (p *platform) topic(b *testing.B, name, durability string, partitions int32) {
	b.Helper()
	_, err := p.client.Topics().CreateTopic(b.Context(), &moldauv1.CreateTopicRequest{
		Name: name, PartitionCount: partitions,
		Configs: map[string]string{
			"moldau.durability": durability, "max.message.bytes": fmt.Sprint(2 << 20),
			"segment.bytes": fmt.Sprint(128 << 20), "retention.bytes": "1",
		},
	})
	if err != nil {
		b.Fatal(err)
	}
}

// trim bounds what a benchmark leaves on the disk.
func (p *platform) trim(b *testing.B, name string, partitions int32) {
	b.StopTimer()
	defer b.StartTimer()
	req := &moldauv1.TrimTopicRequest{Name: name}
	for i := range partitions {
		req.Partitions = append(req.Partitions, &moldauv1.TrimPartition{Partition: i, BeforeOffset: -1})
	}
	if _, err := p.client.Topics().TrimTopic(b.Context(), req); err != nil {
		b.Fatal(err)
	}
}

// filled is a batch of about size bytes.
func filled(b *testing.B, size int) []byte {
	b.Helper()
	builder := record.NewBuilder(record.DefaultBuilderOptions())
	for builder.Size() < size-1024 {
		builder.Append(&record.Record{Timestamp: time.Now().UnixMilli(), Value: make([]byte, min(1000, size/16))})
	}
	batch, err := builder.Build(nil)
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

// cpu is what the process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const (
	benchKeep  = 256 << 20 // bytes on the disk
	benchTopic = "bench"
)

// BenchmarkProduceStream sends ready-made batches over one stream to one
// partition, several in flight: client, gateway, storage node and disk.
func BenchmarkProduceStream(b *testing.B) {
	for _, split := range []bool{false, true} {
		for _, durability := range []string{"relaxed", "durable"} {
			for _, size := range []int{16 << 10, 1 << 20} {
				b.Run(fmt.Sprintf("split=%v/%s/%dKiB", split, durability, size>>10), func(b *testing.B) {
					p := newPlatform(b, split)
					p.topic(b, benchTopic, durability, 1)
					stream, err := p.client.Records().ProduceStream(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					batch, partition := filled(b, size), int32(0)
					req := &moldauv1.ProduceStreamRequest{Request: &moldauv1.ProduceRequest{Topic: benchTopic, Partition: &partition, RecordBatch: batch}}
					receive := func() {
						resp, err := stream.Recv()
						if err != nil || len(resp.GetResponse().GetResults()) != 1 || resp.GetResponse().GetResults()[0].GetError() != nil {
							b.Fatal(resp, err)
						}
					}
					window := max(4, min(32, 4<<20/size/8))
					flying, kept := 0, 0
					b.SetBytes(int64(len(batch)))
					b.ReportAllocs()
					began := cpu(b)
					for b.Loop() {
						if flying == window {
							receive()
							flying--
						}
						if err := stream.Send(req); err != nil {
							b.Fatal(err)
						}
						flying++
						if kept += len(batch); kept > benchKeep {
							for ; flying > 0; flying-- {
								receive()
							}
							kept = 0
							p.trim(b, benchTopic, 1)
						}
					}
					for ; flying > 0; flying-- {
						receive()
					}
					b.ReportMetric((cpu(b)-began).Seconds()/(float64(b.N)*float64(len(batch))/1e9), "cpu-s/GB")
				})
			}
		}
	}
}

// BenchmarkProducer has a program produce records of 1 KiB as programs do.
func BenchmarkProducer(b *testing.B) {
	for _, split := range []bool{false, true} {
		for _, durability := range []string{"relaxed", "durable"} {
			b.Run(fmt.Sprintf("split=%v/%s", split, durability), func(b *testing.B) {
				p := newPlatform(b, split)
				p.topic(b, benchTopic, durability, 1)
				producer := p.client.NewProducer(gatewayclient.ProducerOptions{})
				rec, partition, kept := &moldauv1.Record{Value: make([]byte, 1000)}, int32(0), 0
				b.SetBytes(1000)
				b.ReportAllocs()
				began := cpu(b)
				for b.Loop() {
					err := producer.Produce(b.Context(), benchTopic, &partition, rec, func(_ gatewayclient.Receipt, err error) {
						if err != nil {
							b.Error(err)
						}
					})
					if err != nil {
						b.Fatal(err)
					}
					if kept += 1000; kept > benchKeep {
						if err := producer.Flush(b.Context()); err != nil {
							b.Fatal(err)
						}
						kept = 0
						p.trim(b, benchTopic, 1)
					}
				}
				if err := producer.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric((cpu(b)-began).Seconds()/(float64(b.N)*1000/1e9), "cpu-s/GB")
			})
		}
	}
}

// BenchmarkProduceCalls has many callers produce one record a call: what the
// gateway gathers into batches.
func BenchmarkProduceCalls(b *testing.B) {
	for _, durability := range []string{"relaxed", "durable"} {
		b.Run(durability, func(b *testing.B) {
			p := newPlatform(b, false)
			p.topic(b, benchTopic, durability, 1)
			partition := int32(0)
			b.SetParallelism(32)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				req := &moldauv1.ProduceRequest{Topic: benchTopic, Partition: &partition, Records: []*moldauv1.Record{{Value: make([]byte, 100)}}}
				for pb.Next() {
					if resp, err := p.client.Records().Produce(b.Context(), req); err != nil || resp.GetResults()[0].GetError() != nil {
						b.Error(resp, err)
						return
					}
				}
			})
		})
	}
}
