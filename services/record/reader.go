package record

import "sync"

// reader holds what ForEach reuses from batch to batch.
type reader struct {
	rec     Record
	headers []RecordHeader
}

var readers = sync.Pool{New: func() any { return new(reader) }}

// keptHeaders bounds the headers a pooled reader keeps.
const keptHeaders = 256

// ForEach calls fn with each record of batch, which must be one whole batch,
// in offset order: offsets are absolute, timestamps effective (the maximum
// timestamp where the log append time is set). Offsets may have gaps, as
// compaction leaves them. The records of a control batch are given too; see
// Header.Control.
//
// The record and all slices in it are valid only during the call: the next
// record is read into the same memory, and decompressed bytes go back to a
// pool. Header keys are strings, and may be kept.
//
// Decompression is bounded by lim. The error is an *InvalidError, or the first
// one fn returns, as it is. The checksum is left to Verify.
func ForEach(batch []byte, lim Limits, fn func(r *Record) error) error {
	h, err := ParseHeader(batch)
	if err == ErrPartial || err == nil && len(batch) != h.Size() {
		return invalid(Corrupt, "%d bytes are not one batch", len(batch))
	}
	if err != nil {
		return err
	}
	if h.Count < 0 {
		return invalid(Corrupt, "%d records", h.Count)
	}
	p, bad := openPayload(batch, &h, &lim)
	if bad != nil {
		return bad
	}
	r := readers.Get().(*reader)
	defer func() {
		r.close()
		p.close()
	}()
	return r.each(&h, p.b, &lim, fn)
}

func (r *reader) each(h *Header, b []byte, lim *Limits, fn func(*Record) error) error {
	last := int32(-1)
	for i := range int(h.Count) {
		var f fields
		var bad errRecord
		if b, bad = parseRecord(b, &f); bad == "" {
			bad = r.set(h, &f, lim.MaxHeaders)
		}
		if bad == "" && (f.offsetDelta <= last || f.offsetDelta > h.LastOffsetDelta) {
			bad = badOffsetOrder
		}
		if bad != "" {
			return bad.at(i)
		}
		last = f.offsetDelta
		if err := fn(&r.rec); err != nil {
			return err
		}
	}
	if len(b) != 0 {
		return invalid(InvalidRecord, "%d bytes after the last record", len(b))
	}
	return nil
}

// set makes r.rec the record that f describes.
func (r *reader) set(h *Header, f *fields, maxHeaders int) errRecord {
	ts, ok := h.MaxTimestamp, true
	if !h.LogAppendTime() {
		ts, ok = addTime(h.BaseTimestamp, f.timeDelta)
	}
	if !ok {
		return badTime
	}
	if int(f.headerCount) > maxHeaders {
		return tooManyHeaders
	}
	r.rec = Record{
		Offset:    h.BaseOffset + int64(f.offsetDelta),
		Timestamp: ts,
		Key:       f.key,
		Value:     f.value,
	}
	if f.headerCount == 0 {
		return ""
	}
	return r.setHeaders(f)
}

func (r *reader) setHeaders(f *fields) errRecord {
	n, b := int(f.headerCount), f.headers
	if n > cap(r.headers) {
		r.headers = append(r.headers[:cap(r.headers)], make([]RecordHeader, n-cap(r.headers))...)
	}
	headers := r.headers[:n]
	for i := range headers {
		key, value, rest, bad := parseHeader(b)
		if bad != "" {
			return bad
		}
		// Neighbouring records mostly have the same keys: keep the string.
		if headers[i].Key != string(key) {
			headers[i].Key = string(key)
		}
		headers[i].Value, b = value, rest
	}
	if len(b) != 0 {
		return badEnd
	}
	r.rec.Headers = headers
	return ""
}

// close lets go of all record bytes.
func (r *reader) close() {
	r.rec = Record{}
	if cap(r.headers) > keptHeaders {
		r.headers = nil
	}
	clear(r.headers[:cap(r.headers)])
	readers.Put(r)
}
