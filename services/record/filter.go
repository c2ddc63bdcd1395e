package record

// Filter returns a batch with those records of batch that keep accepts, for
// compaction. Offsets, timestamps, producer and the batch's first and last
// offset stay, so the records left have gaps between them, and a batch without
// any record still tells its producer's last sequence. Unless horizon is
// negative, or the batch has one, it becomes the batch's delete horizon in
// milliseconds (KIP-534). The records are compressed as they were.
func Filter(batch []byte, lim Limits, horizon int64, keep func(r *Record) bool) ([]byte, error) {
	h, err := Verify(batch)
	if err != nil {
		return nil, err
	}
	out := h
	out.Count = 0
	out.MaxTimestamp = -1
	switch {
	case h.DeleteHorizon():
	case horizon >= 0:
		out.Attributes |= bitDeleteHorizon
		out.BaseTimestamp = horizon
	}
	var raw []byte
	err = ForEach(batch, lim, func(r *Record) error {
		if keep(r) {
			out.Count++
			out.MaxTimestamp = max(out.MaxTimestamp, r.Timestamp)
			raw = appendRecord(raw, r, r.Timestamp-out.BaseTimestamp, r.Offset-h.BaseOffset)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if out.Count == 0 || h.LogAppendTime() {
		out.MaxTimestamp = h.MaxTimestamp
	}
	b := out.append(nil)
	if out.Count > 0 {
		if b, err = compress(b, h.Codec(), 0, raw); err != nil {
			return nil, err
		}
	}
	if !seal(b) {
		return nil, invalid(TooLarge, "%d bytes", len(b))
	}
	SetBaseOffset(b, h.BaseOffset)
	SetLeaderEpoch(b, h.LeaderEpoch)
	return b, nil
}
