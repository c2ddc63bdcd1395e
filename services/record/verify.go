package record

// Verify checks that batch is exactly one whole batch, that its CRC-32C holds,
// and that its count and last offset delta are possible. It is what followers,
// recovery and readers of the log need: a batch that compaction has thinned
// passes, even one with no record left. It does not look into the records and
// does not allocate when the batch is sound.
//
// The error is an *InvalidError with reason Corrupt (InvalidRecord for the
// message formats before v2).
func Verify(batch []byte) (Header, error) {
	h, err := ParseHeader(batch)
	if err == ErrPartial {
		return h, invalid(Corrupt, "%d bytes hold no batch header", len(batch))
	}
	if err != nil {
		return h, err
	}
	if len(batch) != h.Size() {
		return h, invalid(Corrupt, "batch of %d bytes in %d", h.Size(), len(batch))
	}
	if sum := checksum(batch); sum != h.CRC {
		return h, invalid(Corrupt, "CRC-32C is %08x, the header says %08x", sum, h.CRC)
	}
	if h.Count < 0 || int64(h.Count) > int64(h.LastOffsetDelta)+1 {
		return h, invalid(Corrupt, "%d records with last offset delta %d", h.Count, h.LastOffsetDelta)
	}
	return h, nil
}

// Next cuts the first batch off b: batch is that batch, rest what follows it;
// both alias b. It returns ErrPartial when b ends before its first batch does,
// so also when b is empty, and an *InvalidError when no batch starts there.
// The checksum is left to Verify.
//
//	for len(b) > 0 {
//		batch, rest, h, err := record.Next(b)
//		...
//		b = rest
//	}
func Next(b []byte) (batch, rest []byte, h Header, err error) {
	if h, err = ParseHeader(b); err != nil {
		return nil, b, h, err
	}
	n := h.Size()
	if n > len(b) {
		return nil, b, h, ErrPartial
	}
	return b[:n:n], b[n:], h, nil
}
