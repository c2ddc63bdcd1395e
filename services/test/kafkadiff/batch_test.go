//go:build kafkadiff

package kafkadiff

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// batchOf is a record batch of n small records; edit changes it before its
// checksum is made.
func batchOf(n int32, edit func(*kmsg.RecordBatch)) []byte {
	var records []byte
	for i := range n {
		r := kmsg.Record{OffsetDelta: i, Key: []byte("k"), Value: []byte("value")}
		r.Length = int32(len(r.AppendTo(nil))) - 1 // its own length takes a byte
		records = r.AppendTo(records)
	}
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: n - 1, FirstTimestamp: 1, MaxTimestamp: 1,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: n, Records: records,
	}
	if edit != nil {
		edit(&b)
	}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out
}
