// Package record reads, checks and writes Kafka's v2 record batches, the unit
// in which records are produced, stored, replicated and fetched.
//
// It does no I/O and reads no clock. Above it, the leader validates what
// clients send and patches offsets into it; the log stores batches as opaque
// bytes; gateways build batches from records and read records out of them.
// FORMAT.md has the byte tables.
//
// The invariant to remember: a batch's bytes from offset 21 on are the
// client's, and are covered by its CRC. A broker writes only the base offset
// and the leader epoch, which lie before, unless it stamps the append time.
package record

// RecordHeader is one header of a record. Keys may repeat.
type RecordHeader struct {
	Key   string
	Value []byte // nil is null, which is not empty
}

// Record is one record of a batch.
type Record struct {
	Offset    int64  // absolute; a Builder ignores it
	Timestamp int64  // ms since the epoch, -1 for none
	Key       []byte // nil is null, which is not empty
	Value     []byte // nil is null (a tombstone in a compacted topic)
	Headers   []RecordHeader
}
