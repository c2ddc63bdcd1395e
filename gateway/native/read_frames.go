package native

import (
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/storageclient"
)

// deliver sends one partition's part of a poll's answer.
func (r *reading) deliver(p *readPart, in *storageclient.FetchResult) error {
	p.highWatermark = in.HighWatermark
	if r.req.GetReadCommitted() {
		p.highWatermark = in.LastStableOffset
	}
	send := r.sendRecords
	if r.req.GetAsBatches() {
		send = r.sendBatches
	}
	if len(in.Batches) > 0 {
		if err := send(p, in.Batches, in.Aborted); err != nil {
			return err
		}
	}
	return r.settle(p)
}

// sendRecords sends records in frames of about frameBytes. They are decoded a
// chunk at a time: a reader that does not read holds no more than that. A batch
// that decompresses to many chunks is decompressed for each, so chunks grow for
// a reader that takes them.
func (r *reading) sendRecords(p *readPart, batches []byte, all []storageclient.AbortedTransaction) error {
	for chunk := r.chunk; ; chunk = max(chunk, min(2*chunk, pollBytes)) {
		frames, next, more, err := r.decode(p, batches, all, chunk)
		if err != nil && len(frames) == 0 {
			return err
		}
		for _, f := range frames {
			if err := r.sendFrame(p, f, f.NextOffset); err != nil {
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
func (r *reading) decode(p *readPart, batches []byte, all []storageclient.AbortedTransaction, chunk int) (frames []*moldauv1.ReadRecords, next int64, more bool, err error) {
	frame, size, total := r.frame(p), 0, 0
	next, err = eachRecord(batches, all, p.next, func(rec *record.Record) bool {
		if rec.Offset >= p.end {
			return false
		}
		frame.Records = append(frame.Records, fromRecord(rec))
		size, total, r.left = size+sizeOf(rec), total+sizeOf(rec), r.left-1
		if size >= min(r.frameBytes, chunk) {
			frame.NextOffset = rec.Offset + 1
			frames, frame, size = append(frames, frame), r.frame(p), 0
		}
		more = total >= chunk && r.left > 0
		return !more && r.left > 0
	})
	if len(frame.Records) > 0 {
		frame.NextOffset = next
		if r.req.GetUntilEnd() {
			frame.NextOffset = min(next, p.end)
		}
		frames = append(frames, frame)
	}
	return frames, next, more, err
}

func (r *reading) sendBatches(p *readPart, batches []byte, all []storageclient.AbortedTransaction) error {
	batches, end, err := dropAborted(batches, all)
	if err != nil {
		return err
	}
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
	if len(batches) == 0 {
		p.next = max(p.next, end) // past what was dropped at the end
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
