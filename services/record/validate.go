package record

import "math"

// ProduceRules is what a topic demands of the batches clients send to it.
type ProduceRules struct {
	// MaxBatchBytes bounds the whole batch as sent (max.message.bytes); 0 is
	// no bound.
	MaxBatchBytes int
	// RequireKeys refuses records with a null key: the topic is compacted. It
	// implies Deep.
	RequireKeys bool
	// Deep decompresses a compressed batch to check its records too.
	Deep bool
	// EarliestTimestamp and LatestTimestamp bound the records' timestamps, in
	// ms, both inclusive; 0 is no bound. A record without timestamp (-1)
	// passes. Leave both 0 where the broker stamps the append time.
	EarliestTimestamp, LatestTimestamp int64
	// Limits of decompression; the zero value is DefaultLimits.
	Limits Limits
}

// ValidateProduced checks what a leader must before it appends a client's
// batch: all of Verify; no record missing; no control batch; no attribute a
// client may not set; producer id, epoch and sequence that agree with each
// other; timestamps within bounds. It then walks the records, when they are
// not compressed or the rules ask for it: their lengths, offset deltas 0 to
// n-1, header counts, keys. Without the walk, only the header's timestamps are
// checked.
//
// After a walk the MaxTimestamp returned is the records' own. When it differs
// from the batch's bytes, the leader must call SetMaxTimestamp before
// appending: some clients leave the field unset, and lookups by time read it.
//
// The error is an *InvalidError. Nothing is allocated for a sound batch that
// is not decompressed. (Kafka: LogValidator; KIP-98, KIP-32, KIP-467.)
func ValidateProduced(batch []byte, opts ProduceRules) (Header, error) {
	if opts.MaxBatchBytes > 0 && len(batch) > opts.MaxBatchBytes {
		return Header{}, invalid(TooLarge, "%d bytes, at most %d wanted", len(batch), opts.MaxBatchBytes)
	}
	h, err := Verify(batch)
	if err != nil {
		return h, err
	}
	if err := opts.checkHeader(&h); err != nil {
		return h, err
	}
	if h.Codec() != None && !opts.Deep && !opts.RequireKeys {
		return h, nil
	}
	if err := opts.walk(batch, &h); err != nil {
		return h, err
	}
	return h, nil
}

// checkHeader checks what needs no look at the records.
func (r *ProduceRules) checkHeader(h *Header) *InvalidError {
	if err := checkAttributes(h); err != nil {
		return err
	}
	if err := checkCount(h); err != nil {
		return err
	}
	if err := checkProducer(h); err != nil {
		return err
	}
	return r.checkHeaderTimes(h)
}

func checkAttributes(h *Header) *InvalidError {
	switch {
	case h.Control():
		return invalid(InvalidRecord, "clients may not write control batches")
	case !h.Codec().Valid():
		return invalid(UnsupportedCodec, "%v", h.Codec())
	case h.LogAppendTime():
		return invalid(InvalidTimestamp, "clients may not set the append time")
	case h.Attributes&^(codecMask|bitTransactional) != 0:
		return invalid(InvalidRecord, "attributes %#04x have unknown bits", uint16(h.Attributes))
	}
	return nil
}

func checkCount(h *Header) *InvalidError {
	if h.Count < 1 || h.LastOffsetDelta != h.Count-1 {
		return invalid(InvalidRecord, "%d records with last offset delta %d", h.Count, h.LastOffsetDelta)
	}
	return nil
}

// checkProducer does not look at epoch and sequence of a batch without
// producer id: clients fill them as they like.
func checkProducer(h *Header) *InvalidError {
	switch {
	case h.ProducerID < NoProducerID:
		return invalid(InvalidRecord, "producer id %d", h.ProducerID)
	case h.ProducerID == NoProducerID && h.Transactional():
		return invalid(InvalidRecord, "transactional without a producer id")
	case h.ProducerID == NoProducerID:
		return nil
	case h.ProducerEpoch < 0:
		return invalid(InvalidRecord, "producer epoch %d", h.ProducerEpoch)
	case h.BaseSequence < 0:
		return invalid(InvalidRecord, "base sequence %d with a producer id", h.BaseSequence)
	}
	return nil
}

// checkHeaderTimes checks the first record's timestamp, which the base
// timestamp is, and that of the latest record.
func (r *ProduceRules) checkHeaderTimes(h *Header) *InvalidError {
	for _, ts := range [...]int64{h.BaseTimestamp, h.MaxTimestamp} {
		if err := r.checkTime(ts, -1); err != nil {
			return err
		}
	}
	return nil
}

func (r *ProduceRules) checkTime(ts int64, index int) *InvalidError {
	const none = -1
	late := r.LatestTimestamp != 0 && ts > r.LatestTimestamp
	early := r.EarliestTimestamp != 0 && ts < r.EarliestTimestamp
	if ts == none || ts >= 0 && !late && !early {
		return nil
	}
	err := invalid(InvalidTimestamp, "%d ms is out of bounds", ts)
	err.Index = index
	return err
}

// walk checks the records one by one.
func (r *ProduceRules) walk(batch []byte, h *Header) *InvalidError {
	lim := r.Limits
	if lim == (Limits{}) {
		lim = DefaultLimits()
	}
	p, err := openPayload(batch, h, &lim)
	if err != nil {
		return err
	}
	defer p.close()
	latest, b := int64(math.MinInt64), p.b
	for i := range int(h.Count) {
		var f fields
		var bad errRecord
		if b, bad = parseRecord(b, &f); bad == "" {
			bad = f.checkHeaders()
		}
		switch {
		case bad != "":
			return bad.at(i)
		case int(f.headerCount) > lim.MaxHeaders:
			return tooManyHeaders.at(i)
		case int(f.offsetDelta) != i:
			return badOffsetOrder.at(i)
		case r.RequireKeys && f.key == nil:
			return nullKey.at(i)
		}
		ts, ok := addTime(h.BaseTimestamp, f.timeDelta)
		if !ok {
			return badTime.at(i)
		}
		if err := r.checkTime(ts, i); err != nil {
			return err
		}
		latest = max(latest, ts)
	}
	if len(b) != 0 {
		return invalid(InvalidRecord, "%d bytes after the last record", len(b))
	}
	h.MaxTimestamp = latest
	return nil
}

// addTime is base + delta and whether that is a number of ms at all.
func addTime(base, delta int64) (int64, bool) {
	sum := base + delta
	return sum, (sum > base) == (delta > 0)
}
