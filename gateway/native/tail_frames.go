package native

import (
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

// deliver sends one partition's part of a poll's answer.
func (t *tail) deliver(p *readPart, in *storageclient.FetchResult) error {
	p.highWatermark = in.HighWatermark
	if t.committed {
		p.highWatermark = in.LastStableOffset
	}
	send := t.sendRecords
	if t.asBatches {
		send = t.sendBatches
	}
	if len(in.Batches) > 0 {
		if err := send(p, in.Batches, in.Aborted); err != nil {
			return err
		}
	}
	return t.settle(p)
}

// sendRecords sends records in frames of about frameBytes. They are decoded a
// chunk at a time: a reader that does not read holds no more than that. A batch
// that decompresses to many chunks is decompressed for each, so chunks grow for
// a reader that takes them.
func (t *tail) sendRecords(p *readPart, batches []byte, all []storageclient.AbortedTransaction) error {
	for chunk := t.chunk; ; chunk = max(chunk, min(2*chunk, pollBytes)) {
		frames, next, more, err := t.decode(p, batches, all, chunk)
		if err != nil && len(frames) == 0 {
			return err
		}
		for _, f := range frames {
			if err := t.sendFrame(p, f, nil, f.NextOffset); err != nil {
				return err
			}
		}
		if err != nil {
			return nil // what came before a batch that cannot be read is sent; the next poll meets the batch again
		}
		if !more {
			p.next = max(p.next, next)
			return nil
		}
	}
}

// decode makes a chunk of records from p.next on into frames, and says whether
// there are more. An until_end stream gets nothing from its end on.
func (t *tail) decode(p *readPart, batches []byte, all []storageclient.AbortedTransaction, chunk int) (frames []*moldauv1.ReadRecords, next int64, more bool, err error) {
	frame, size, total := t.newFrame(p), 0, 0
	next, err = eachRecord(batches, all, p.next, func(rec *record.Record) bool {
		if rec.Offset >= p.end {
			return false
		}
		frame.Records = append(frame.Records, fromRecord(rec))
		size, total, t.left = size+sizeOf(rec), total+sizeOf(rec), t.left-1
		if size >= min(t.frame, chunk) {
			frame.NextOffset = rec.Offset + 1
			frames, frame, size = append(frames, frame), t.newFrame(p), 0
		}
		more = total >= chunk && t.left > 0
		return !more && t.left > 0
	})
	if len(frame.Records) > 0 {
		frame.NextOffset = next
		if t.untilEnd {
			frame.NextOffset = min(next, p.end)
		}
		frames = append(frames, frame)
	}
	return frames, next, more, err
}

func (t *tail) sendBatches(p *readPart, batches []byte, all []storageclient.AbortedTransaction) error {
	batches, end, err := dropAborted(batches, all)
	if err != nil {
		return err
	}
	for len(batches) > 0 && t.left > 0 {
		// whole batches of about frameBytes
		n, records, next := 0, int64(0), p.next
		for rest := batches; len(rest) > 0 && (n == 0 || n < t.frame) && records < t.left; {
			batch, after, h, err := record.Next(rest)
			if err != nil {
				if n == 0 {
					return unreadable(err)
				}
				break
			}
			rest, n, next = after, n+len(batch), max(next, h.NextOffset())
			if !h.Control() {
				records += int64(h.Count)
			}
		}
		whole := batches[:n]
		batches, t.left = batches[n:], t.left-records
		if err := t.sendFrame(p, t.newFrame(p), whole, next); err != nil {
			return err
		}
	}
	if len(batches) == 0 {
		p.next = max(p.next, end) // past what was dropped at the end
	}
	return nil
}

func (t *tail) newFrame(p *readPart) *moldauv1.ReadRecords {
	return &moldauv1.ReadRecords{Topic: p.topic, Partition: p.id.Index, HighWatermark: p.highWatermark}
}

// sendFrame sends records, or batches that lie in the answer of the poll at hand:
// those without a copy where the door can.
func (t *tail) sendFrame(p *readPart, f *moldauv1.ReadRecords, batches []byte, next int64) error {
	if t.may != nil && !t.may(p.id) {
		return errWithheld
	}
	f.NextOffset = next
	if err := t.sendWith(f, batches); err != nil {
		return err
	}
	p.next, p.given = next, next
	if n := len(f.GetRecords()); n > 0 {
		p.given = f.Records[n-1].GetOffset() + 1
	}
	t.s.metrics.readRecords.Add(float64(len(f.Records)))
	return nil
}

func (t *tail) sendWith(f *moldauv1.ReadRecords, batches []byte) error {
	if len(batches) > 0 && t.lend != nil {
		t.taken.users.Add(1)
		return t.lend(f, transport.Lend(batches, t.taken.done))
	}
	f.RecordBatches = copied(batches)
	return t.send(&moldauv1.ReadResponse{Frame: &moldauv1.ReadResponse_Records{Records: f}})
}
