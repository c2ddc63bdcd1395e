package storagenode

import (
	"bytes"
	"strings"
	"syscall"
	"testing"

	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// onDisk is a node whose files can be sent, and its topic of one partition.
func onDisk(t *testing.T) (*Service, storageclient.PartitionID) {
	c := newCluster(t, vfs.OS{})
	dir := t.TempDir()
	c.edit = func(cfg *Config) { cfg.DataDir = dir }
	topic := c.meta.create("logs", 1, map[string]string{"segment.bytes": "1048576"})
	return c.start(), pid(topic, 0)
}

// many appends batches of about 16 KiB.
func many(t *testing.T, s *Service, id storageclient.PartitionID, n int) {
	t.Helper()
	for range n {
		mustAppend(t, s, id, batch(t, 1, strings.Repeat("x", 16<<10)))
	}
}

func slicing(id storageclient.PartitionID, offset int64, minBytes, maxBytes int, waitMs int32) *storageclient.FetchRequest {
	return &storageclient.FetchRequest{
		MinBytes: minBytes, MaxBytes: maxBytes, MaxWaitMs: waitMs, Slices: true,
		Partitions: []storageclient.FetchPartition{{PartitionID: id, LeaderEpoch: -1, Offset: offset, MaxBytes: maxBytes}},
	}
}

// fetchSlice fetches and returns the bytes of the slice, and those in memory.
func fetchSlice(t *testing.T, s *Service, req *storageclient.FetchRequest) (slice, batches []byte) {
	t.Helper()
	resp, err := s.Fetch(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Release()
	r := resp.Results[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if r.Slice.Size == 0 {
		return nil, append(batches, r.Batches...)
	}
	slice = make([]byte, r.Slice.Size)
	if n, err := syscall.Pread(int(r.Slice.Fd), slice, r.Slice.Pos); err != nil || n != len(slice) {
		t.Fatalf("%d of %d bytes: %v", n, len(slice), err)
	}
	return slice, append(batches, r.Batches...)
}

// TestSlicesAreWhatReadsGive up to the end of a segment, and only where there is
// much.
func TestSlicesAreWhatReadsGive(t *testing.T) {
	s, id := onDisk(t)
	const n = 100 // more than a segment
	many(t, s, id, n)
	for _, maxBytes := range []int{100 << 10, 8 << 20} {
		for offset, sliced := int64(0), 0; offset < n; {
			req := slicing(id, offset, 1, maxBytes, 0)
			slice, batches := fetchSlice(t, s, req)
			got := append(slice, batches...)
			req.Slices = false
			_, want := fetchSlice(t, s, req)
			if len(got) == 0 || !bytes.HasPrefix(want, got) {
				t.Fatalf("at %d within %d: %d bytes, read gives %d", offset, maxBytes, len(got), len(want))
			}
			if len(slice) > 0 {
				sliced++
			}
			offset += int64(len(values(t, got)))
			if offset == n && sliced == 0 {
				t.Errorf("within %d: nothing was a slice", maxBytes)
			}
		}
	}
	if slice, batches := fetchSlice(t, s, slicing(id, n-1, 1, 8<<20, 0)); len(slice) > 0 || len(batches) == 0 {
		t.Errorf("of little: %d bytes of a file, %d in memory", len(slice), len(batches))
	}
	committed := slicing(id, 0, 1, 8<<20, 0)
	committed.ReadCommitted = true
	if slice, _ := fetchSlice(t, s, committed); len(slice) > 0 {
		t.Error("a committed read does not tell what was aborted")
	}
}

// TestSlicedFetchLooksAnewWhileItWaits for min_bytes.
func TestSlicedFetchLooksAnewWhileItWaits(t *testing.T) {
	s, id := onDisk(t)
	many(t, s, id, 8)
	const least = 200 << 10
	answer := make(chan int64)
	go func() {
		resp, err := s.Fetch(t.Context(), slicing(id, 0, least, 8<<20, 60_000))
		if err != nil {
			t.Error(err)
			close(answer)
			return
		}
		size := resp.Results[0].Slice.Size
		resp.Release()
		answer <- size
	}()
	p, err := s.partition(id)
	if err != nil {
		t.Fatal(err)
	}
	awaitWaiters(t, p, 1)
	many(t, s, id, 8)
	if size := <-answer; size < least {
		t.Errorf("answered with %d bytes", size)
	}
}
