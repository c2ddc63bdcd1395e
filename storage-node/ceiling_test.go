package storagenode

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// rawLog is the least that an append can be: the checksum, one write, and one
// fdatasync where that is asked for.
type rawLog struct {
	b    *testing.B
	dir  string
	file vfs.File
	n    int
	pos  int64
}

func (r *rawLog) append(batches [][]byte, durable bool) {
	for _, batch := range batches {
		if r.file == nil || r.pos > keep {
			r.roll()
		}
		if _, err := record.Verify(batch); err != nil {
			r.b.Fatal(err)
		}
		if _, err := r.file.WriteAt(batch, r.pos); err != nil {
			r.b.Fatal(err)
		}
		r.pos += int64(len(batch))
	}
	if durable {
		if err := r.file.Sync(); err != nil {
			r.b.Fatal(err)
		}
	}
}

func (r *rawLog) roll() {
	name := func() string { return filepath.Join(r.dir, fmt.Sprintf("raw-%d", r.n)) }
	if r.file != nil {
		_ = r.file.Close()
		_ = vfs.OS{}.Remove(name())
	}
	r.n++
	file, err := vfs.OS{}.Create(name())
	if err != nil {
		r.b.Fatal(err)
	}
	r.file, r.pos = file, 0
}

// BenchmarkCeiling appends to one partition, one batch or several at a time,
// turn by turn with the least that the same bytes can cost, and reports the
// ratio: what a machine does besides, or how fast it is, falls out of it.
func BenchmarkCeiling(b *testing.B) {
	for _, durability := range []string{"relaxed", "durable"} {
		for _, size := range []int{16 << 10, 1 << 20} {
			for _, inFlight := range []int{1, 5} {
				b.Run(fmt.Sprintf("%s/%dKiB/%d", durability, size>>10, inFlight), func(b *testing.B) {
					c := benchCluster(b)
					id := pid(c.meta.create("orders", 1, map[string]string{"moldau.durability": durability, "segment.bytes": "268435456"}), 0)
					s := c.start()
					raw := &rawLog{b: b, dir: b.TempDir()}
					var batches [][]byte
					for range inFlight {
						batches = append(batches, sized(b, size))
					}
					turn := max(1, 1<<20/size)
					var ours, least time.Duration
					written := 0
					b.SetBytes(int64(len(batches[0]) * inFlight * turn))
					b.ReportAllocs()
					for b.Loop() {
						start := time.Now()
						for range turn {
							appendAtOnce(b, s, id, batches)
						}
						ours += time.Since(start)
						b.StopTimer()
						start = time.Now()
						for range turn {
							raw.append(batches, durability == "durable")
						}
						least += time.Since(start)
						if written += turn * inFlight * size; written > keep {
							written = 0
							deleteAll(b, s, id)
						}
						b.StartTimer()
					}
					bytes := float64(len(batches[0])) * float64(inFlight*turn*b.N) / 1e6
					b.ReportMetric(bytes/least.Seconds(), "raw-MB/s")
					b.ReportMetric(least.Seconds()/ours.Seconds(), "of-raw")
				})
			}
		}
	}
}

// appendAtOnce appends the batches from a goroutine each, and waits for all.
func appendAtOnce(b *testing.B, s *Service, id storageclient.PartitionID, batches [][]byte) {
	if len(batches) == 1 {
		mustAppend(b, s, id, batches[0])
		return
	}
	done := make(chan error, len(batches))
	for _, batch := range batches {
		go func() { done <- appendTo(b, s, id, batch, storageclient.AcksAll).Err }()
	}
	for range batches {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
