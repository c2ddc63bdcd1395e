package native

import (
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// deliver sends one partition's part of a poll's answer.
func (r *reading) deliver(p *readPart, in *storageclient.FetchResult) error {
	p.highWatermark = in.HighWatermark
	send := r.sendRecords
	if r.req.GetAsBatches() {
		send = r.sendBatches
	}
	if len(in.Batches) > 0 {
		if err := send(p, in.Batches); err != nil {
			return err
		}
	}
	return r.settle(p)
}

// sendRecords sends frames of about frameBytes. An until_end stream sends
// nothing from its end on.
func (r *reading) sendRecords(p *readPart, batches []byte) error {
	frame, size := r.frame(p), 0
	var failed error
	next, err := eachRecord(batches, p.next, func(rec *record.Record) bool {
		if rec.Offset >= p.end {
			return false
		}
		frame.Records = append(frame.Records, fromRecord(rec))
		size += sizeOf(rec)
		r.left--
		if size >= r.frameBytes {
			failed = r.sendFrame(p, frame, rec.Offset+1)
			frame, size = r.frame(p), 0
		}
		return failed == nil && r.left > 0
	})
	if failed != nil {
		return failed
	}
	if err != nil && len(frame.Records) == 0 {
		return err
	}
	// What came before a batch that cannot be read is sent; the next poll
	// meets the batch again.
	if len(frame.Records) == 0 {
		p.next = max(p.next, next)
		return nil
	}
	if r.req.GetUntilEnd() {
		next = min(next, p.end)
	}
	return r.sendFrame(p, frame, next)
}

func (r *reading) sendBatches(p *readPart, batches []byte) error {
	for len(batches) > 0 && r.left > 0 {
		// whole batches of about frameBytes
		n, records, next := 0, int64(0), p.next
		for rest := batches; len(rest) > 0 && (n == 0 || n < r.frameBytes) && records < r.left; {
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
		frame := r.frame(p)
		frame.RecordBatches = copied(batches[:n])
		batches, r.left = batches[n:], r.left-records
		if err := r.sendFrame(p, frame, next); err != nil {
			return err
		}
	}
	return nil
}

func (r *reading) frame(p *readPart) *moldauv1.ReadRecords {
	return &moldauv1.ReadRecords{Topic: p.topic, Partition: p.id.Index, HighWatermark: p.highWatermark}
}

func (r *reading) sendFrame(p *readPart, f *moldauv1.ReadRecords, next int64) error {
	f.NextOffset = next
	if err := r.send(&moldauv1.ReadResponse{Frame: &moldauv1.ReadResponse_Records{Records: f}}); err != nil {
		return err
	}
	p.next = next
	r.s.metrics.readRecords.Add(float64(len(f.Records)))
	return nil
}
