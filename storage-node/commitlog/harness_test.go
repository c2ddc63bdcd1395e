package commitlog

import (
	"fmt"
	"testing"
	"time"

	"moldau.dev/services/record"
	"moldau.dev/storage-node/vfs"
)

var noon = time.UnixMilli(1_700_000_000_000)

// batchAt builds a batch of n records, keys and values named by their offsets.
func batchAt(t testing.TB, base int64, n int, epoch int32) []byte {
	t.Helper()
	b := record.NewBuilder(record.DefaultBuilderOptions())
	for i := range n {
		o := base + int64(i)
		b.Append(&record.Record{Timestamp: noon.UnixMilli() + o, Key: fmt.Appendf(nil, "k%d", o%5), Value: fmt.Appendf(nil, "value %d", o)})
	}
	batch, err := b.Build(nil)
	if err != nil {
		t.Fatal(err)
	}
	record.SetBaseOffset(batch, base)
	record.SetLeaderEpoch(batch, epoch)
	return batch
}

func appendTo(t testing.TB, l *Log, n int, epoch int32) []byte {
	t.Helper()
	b := batchAt(t, l.EndOffset(), n, epoch)
	h, err := record.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(b, h, noon); err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, fs vfs.FS, cfg Config) *Log {
	t.Helper()
	l, _, err := Open(fs, "p", cfg, NewFileCache(8))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var small = Config{SegmentBytes: 1000, IndexIntervalBytes: 100}

func readAll(t testing.TB, l *Log) []byte {
	t.Helper()
	var all []byte
	for from := l.StartOffset(); from < l.EndOffset(); {
		b, err := l.Read(from, l.EndOffset(), 300, true, nil)
		if err != nil || len(b) == 0 {
			t.Fatalf("read at %d of [%d, %d): %d bytes, %v", from, l.StartOffset(), l.EndOffset(), len(b), err)
		}
		all = append(all, b...)
		for rest := b; len(rest) > 0; {
			_, next, h, err := record.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest, from = next, h.NextOffset()
		}
	}
	return all
}

// osAt roots the operating system's files in a directory of the test.
type osAt struct {
	vfs.FS
	root string
}

func (o osAt) in(n string) string                { return o.root + "/" + n }
func (o osAt) Open(n string) (vfs.File, error)   { return o.FS.Open(o.in(n)) }
func (o osAt) Create(n string) (vfs.File, error) { return o.FS.Create(o.in(n)) }
func (o osAt) Remove(n string) error             { return o.FS.Remove(o.in(n)) }
func (o osAt) Rename(a, b string) error          { return o.FS.Rename(o.in(a), o.in(b)) }
func (o osAt) MkdirAll(n string) error           { return o.FS.MkdirAll(o.in(n)) }
func (o osAt) List(n string) ([]string, error)   { return o.FS.List(o.in(n)) }
func (o osAt) SyncDir(n string) error            { return o.FS.SyncDir(o.in(n)) }
func (o osAt) RemoveAll(n string) error          { return o.FS.RemoveAll(o.in(n)) }
func (o osAt) Stat(n string) (vfs.Info, error)   { return o.FS.Stat(o.in(n)) }
