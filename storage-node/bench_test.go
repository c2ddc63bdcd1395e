package storagenode

import (
	"fmt"
	"testing"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// sized is a batch of about n bytes in records of 1 KiB.
func sized(b *testing.B, n int) []byte {
	b.Helper()
	builder, value := record.NewBuilder(record.DefaultBuilderOptions()), make([]byte, 1000)
	for builder.Size() < n-1024 {
		builder.Append(&record.Record{Timestamp: noon.UnixMilli(), Value: value})
	}
	out, err := builder.Build(nil)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// benchCluster is a node on the real disk.
func benchCluster(b *testing.B) *cluster {
	c := newCluster(b, vfs.OS{})
	dir := b.TempDir()
	c.edit = func(cfg *Config) { cfg.DataDir = dir }
	return c
}

// keep bounds what a benchmark leaves on the disk.
const keep = 512 << 20

func BenchmarkAppend(b *testing.B) {
	for _, durability := range []string{"relaxed", "durable"} {
		for _, size := range []int{16 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", durability, size>>10), func(b *testing.B) {
				c := benchCluster(b)
				id := pid(c.meta.create("orders", 1, map[string]string{"moldau.durability": durability}), 0)
				s, batch := c.start(), sized(b, size)
				req := &storageclient.AppendRequest{Partitions: []storageclient.AppendPartition{{PartitionID: id, LeaderEpoch: -1, Batch: batch}}}
				b.SetBytes(int64(len(batch)))
				b.ReportAllocs()
				written := 0
				for b.Loop() {
					if resp, err := s.Append(b.Context(), req); err != nil || resp.Results[0].Err != nil {
						b.Fatal(err, resp.Results[0].Err)
					}
					if written += len(batch); written > keep {
						b.StopTimer()
						written = 0
						deleteAll(b, s, id)
						b.StartTimer()
					}
				}
			})
		}
	}
}

// BenchmarkAppendParallel has 16 producers on 16 partitions: what group commit
// is for.
func BenchmarkAppendParallel(b *testing.B) {
	c := benchCluster(b)
	topic := c.meta.create("orders", 16, nil)
	s := c.start()
	b.SetBytes(16 << 10)
	b.SetParallelism(8)
	next := make(chan int32, 1024)
	for i := range int32(1024) {
		next <- i % 16
	}
	b.RunParallel(func(pb *testing.PB) {
		batch, id := sized(b, 16<<10), pid(topic, <-next)
		for pb.Next() {
			if r := appendTo(b, s, id, batch, storageclient.AcksAll); r.Err != nil {
				b.Error(r.Err)
				return
			}
		}
	})
}

func deleteAll(b *testing.B, s *Service, id storageclient.PartitionID) {
	b.Helper()
	resp, err := s.DeleteRecords(b.Context(), &storageclient.DeleteRecordsRequest{Partitions: []storageclient.DeleteRecordsPartition{{PartitionID: id, BeforeOffset: -1}}})
	if err != nil || resp.Results[0].Err != nil {
		b.Fatal(err, resp.Results[0].Err)
	}
}

func BenchmarkFetch(b *testing.B) {
	c := benchCluster(b)
	id := pid(c.meta.create("orders", 1, map[string]string{"moldau.durability": "relaxed"}), 0)
	s, batch := c.start(), sized(b, 1<<20)
	var starts []int64
	for range 64 {
		starts = append(starts, mustAppend(b, s, id, batch))
	}
	req := &storageclient.FetchRequest{MinBytes: 1, MaxBytes: 1 << 20, Partitions: []storageclient.FetchPartition{{PartitionID: id, LeaderEpoch: -1, MaxBytes: 1 << 20}}}
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		req.Partitions[0].Offset = starts[i%len(starts)]
		resp, err := s.Fetch(b.Context(), req)
		if err != nil || len(resp.Results[0].Batches) != len(batch) {
			b.Fatal(err, len(resp.Results[0].Batches))
		}
		resp.Release()
	}
}

// BenchmarkFirstAppend appends the first batch to one partition after the
// other, each of which has to be made for it.
func BenchmarkFirstAppend(b *testing.B) {
	for _, durability := range []string{"relaxed", "durable"} {
		b.Run(durability, func(b *testing.B) {
			c := benchCluster(b)
			const partitions = 10_000
			configs := map[string]string{"moldau.durability": durability}
			topic := c.meta.create("orders", partitions, configs)
			s, batch := c.start(), sized(b, 2<<10)
			b.ReportAllocs()
			for i := int32(0); b.Loop(); i++ {
				if i == partitions {
					b.StopTimer()
					topic, i = c.meta.create(fmt.Sprintf("orders-%d", b.N), partitions, configs), 0
					b.StartTimer()
				}
				mustAppend(b, s, pid(topic, i), batch)
			}
		})
	}
}
