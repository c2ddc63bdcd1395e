package storagenode

import (
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/storageclient"
)

// leastSlice is from how many bytes on a file is sent rather than read: for
// less, the calls cost more than the copy.
const leastSlice = 64 << 10

// sliced finds where a partition's batches lie, if the caller takes that and
// there are many. It is tried for a partition of which nothing was read yet;
// otherwise, and where it fails, the batches are read.
func (f *fetch) sliced(part *fetchPart, bound int64, limit int, first bool) bool {
	if !f.req.Slices || f.req.ReadCommitted || len(part.buf) > 0 || limit < leastSlice ||
		(bound-part.next)*perOffset(part.log) < leastSlice {
		return false
	}
	s, err := part.log.Slice(part.next, bound, limit, first)
	if err != nil || s.Size == 0 {
		return false // reading finds the same, and reports it
	}
	if _, ok := s.File.Fd(); !ok || s.Size < leastSlice {
		s.Release()
		return false
	}
	part.slice, part.next = s, s.Next
	f.total += int(s.Size)
	return true
}

// unslice lets go of what was found: a fetch that reads on looks anew.
func (f *fetch) unslice(part *fetchPart) {
	if part.slice.Size == 0 {
		return
	}
	part.slice.Release()
	f.total -= int(part.slice.Size)
	part.slice, part.next = commitlog.Slice{}, part.in.Offset
}

// place tells where the batches lie.
func (part *fetchPart) place() storageclient.FileSlice {
	if part.slice.Size == 0 {
		return storageclient.FileSlice{}
	}
	fd, _ := part.slice.File.Fd()
	return storageclient.FileSlice{Fd: fd, Pos: part.slice.Pos, Size: part.slice.Size}
}
