package commitlog

import "moldau.dev/services/record"

// compactBatch returns what stays of one batch: the batch itself, a new one
// with fewer records, or nil where nothing stays; rewritten tells that it is
// not the batch itself. The last batch of a producer is never dropped, so that
// its sequence is known after a replay.
func compactBatch(b []byte, h record.Header, o CompactOptions, last map[string]int64, keepForProducer bool) (kept []byte, rewritten bool, err error) {
	if h.Control() || h.Count == 0 {
		return b, false, nil
	}
	expired := h.DeleteHorizon() && o.Now.UnixMilli() >= h.BaseTimestamp
	stays := func(r *record.Record) bool {
		return last[string(r.Key)] == r.Offset && (r.Value != nil || !expired)
	}
	n, tombstones := int32(0), false
	err = record.ForEach(b, record.DefaultLimits(), func(r *record.Record) error {
		if stays(r) {
			n++
			tombstones = tombstones || r.Value == nil
		}
		return nil
	})
	horizon := int64(-1)
	if tombstones && !h.DeleteHorizon() {
		horizon = o.Now.Add(o.DeleteRetention).UnixMilli()
	}
	switch {
	case err != nil:
		return nil, false, err
	case n == h.Count && horizon < 0:
		return b, false, nil
	case n == 0 && !keepForProducer:
		return nil, true, nil
	}
	kept, err = record.Filter(b, record.DefaultLimits(), horizon, stays)
	return kept, true, err
}
