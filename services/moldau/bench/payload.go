package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"moldau.dev/services/record"
)

// payload makes the values of records: bytes that do not compress, the first
// eight of which may say when the record was due.
type payload struct {
	base  time.Time
	value []byte
	batch *record.Builder
}

func newPayload(base time.Time, size int) *payload {
	p := &payload{base: base, value: make([]byte, size), batch: record.NewBuilder(record.DefaultBuilderOptions())}
	random := rand.NewChaCha8([32]byte{'m', 'o', 'l', 'd', 'a', 'u'})
	_, _ = random.Read(p.value)
	return p
}

// stamped returns a value of its own that says when it was due.
func (p *payload) stamped(due time.Time) []byte {
	value := append([]byte(nil), p.value...)
	binary.BigEndian.PutUint64(value, uint64(due.Sub(p.base)))
	return value
}

// dueOf reads what stamped wrote.
func (p *payload) dueOf(value []byte) (time.Time, bool) {
	if len(value) < stampBytes {
		return time.Time{}, false
	}
	return p.base.Add(time.Duration(binary.BigEndian.Uint64(value))), true
}

// encode makes a batch of n records with one value.
func (p *payload) encode(value []byte, n int, now time.Time) ([]byte, error) {
	p.batch.Reset(record.DefaultBuilderOptions())
	for range n {
		p.batch.Append(&record.Record{Value: value, Timestamp: now.UnixMilli()})
	}
	return p.batch.Build(nil)
}
