package native

import (
	"errors"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// maxHeaderKeyBytes is Kafka's longest string.
const maxHeaderKeyBytes = math.MaxInt16

// recordOverhead is more than what a record takes in a batch besides its bytes.
const recordOverhead = 32

func timeOf(ms int64) time.Time { return time.UnixMilli(ms) }

// toRecord makes r a record of a batch; now stamps one without a time. The
// bytes are shared.
func toRecord(r *moldauv1.Record, nowMs int64) record.Record {
	out := record.Record{Timestamp: nowMs, Key: r.GetKey(), Value: r.GetValue()}
	if r.GetTimestamp() != nil {
		out.Timestamp = r.GetTimestamp().AsTime().UnixMilli()
	}
	if len(r.GetHeaders()) > 0 {
		out.Headers = make([]record.RecordHeader, len(r.GetHeaders()))
		for i, h := range r.GetHeaders() {
			out.Headers[i] = record.RecordHeader{Key: h.GetKey(), Value: h.GetValue()}
		}
	}
	return out
}

// fromRecord copies r, whose bytes are only lent, into a message.
func fromRecord(r *record.Record) *moldauv1.Record {
	out := &moldauv1.Record{Offset: r.Offset, Key: copied(r.Key), Value: copied(r.Value)}
	if r.Timestamp >= 0 {
		out.Timestamp = timestamppb.New(timeOf(r.Timestamp))
	}
	if len(r.Headers) > 0 {
		out.Headers = make([]*moldauv1.Header, len(r.Headers))
		for i := range r.Headers {
			out.Headers[i] = &moldauv1.Header{Key: r.Headers[i].Key, Value: copied(r.Headers[i].Value)}
		}
	}
	return out
}

// copied keeps nil nil and empty empty.
func copied(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// sizeOf is about what r takes in a batch, never less.
func sizeOf(r *record.Record) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += 2*maxVarint32 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

const maxVarint32 = 5

var invalidReasons = map[record.Reason]errcode.Reason{
	record.Corrupt:          errcode.CorruptRecord,
	record.InvalidRecord:    errcode.InvalidRecord,
	record.UnsupportedCodec: errcode.UnsupportedCompression,
	record.TooLarge:         errcode.RecordTooLarge,
	record.InvalidTimestamp: errcode.InvalidTimestamp,
}

// invalidBatch gives a batch's fault its reason.
func invalidBatch(err error) error {
	bad, ok := errors.AsType[*record.InvalidError](err)
	if !ok {
		return err
	}
	return errcode.Wrap(err, invalidReasons[bad.Reason], "%s", bad.Error())
}

// unreadable says that stored bytes could not be read: no fault of the caller.
func unreadable(err error) error {
	return errcode.Wrap(err, errcode.DataCorrupted, "a stored batch cannot be read")
}
