package commitlog

import (
	"fmt"
	"testing"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

func batchOf(b *testing.B, size int) []byte {
	b.Helper()
	builder := record.NewBuilder(record.DefaultBuilderOptions())
	for builder.Size() < size {
		builder.Append(&record.Record{Value: make([]byte, min(1024, size)), Timestamp: noon.UnixMilli()})
	}
	batch, err := builder.Build(nil)
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

func benchLog(b *testing.B) *Log {
	b.Helper()
	l, _, err := Open(osAt{vfs.OS{}, b.TempDir()}, "p", Config{SegmentBytes: 256 << 20}, NewFileCache(8))
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func appendBatch(b *testing.B, l *Log, batch []byte) {
	b.Helper()
	record.SetBaseOffset(batch, l.EndOffset())
	h, err := record.ParseHeader(batch)
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Append(batch, h, noon); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppend writes into the page cache, and keeps little of it.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			l, batch := benchLog(b), batchOf(b, size)
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				appendBatch(b, l, batch)
				if l.SegmentCount() > 2 {
					b.StopTimer()
					if err := l.DeleteBefore(l.EndOffset()); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			}
		})
	}
}

// BenchmarkRead reads 1 MiB at a time from the page cache, proven and not.
func BenchmarkRead(b *testing.B) {
	for _, verify := range []bool{false, true} {
		for _, size := range []int{16 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%dKiB/verify=%v", size>>10, verify), func(b *testing.B) {
				l, batch := benchLog(b), batchOf(b, size)
				for l.Size() < 64<<20 {
					appendBatch(b, l, batch)
				}
				buf, from := []byte(nil), int64(0)
				for b.Loop() {
					if verify {
						l.list()[0].trusted.Store(1 << 40)
						l.list()[0].verified.Store(0)
					}
					var err error
					if buf, err = l.Read(from, l.EndOffset(), 1<<20+200, true, buf[:0]); err != nil {
						b.Fatal(err)
					}
					b.SetBytes(int64(len(buf)))
					if from += 1000; from >= l.EndOffset() {
						from = 0
					}
				}
				b.ReportAllocs()
			})
		}
	}
}

// BenchmarkSync is an append of 16 KiB and its fdatasync.
func BenchmarkSync(b *testing.B) {
	l, batch := benchLog(b), batchOf(b, 16<<10)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		appendBatch(b, l, batch)
		if _, err := l.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a log that was closed in order.
func BenchmarkOpen(b *testing.B) {
	fs := osAt{vfs.OS{}, b.TempDir()}
	l, _, err := Open(fs, "p", Config{}, NewFileCache(8))
	if err != nil {
		b.Fatal(err)
	}
	appendBatch(b, l, batchOf(b, 1<<20))
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		l, rec, err := Open(fs, "p", Config{}, NewFileCache(8))
		if err != nil || !rec.Clean {
			b.Fatal(rec, err)
		}
		_ = l
	}
}
