package record

// Limits bound what reading a batch may cost, whatever its bytes claim.
type Limits struct {
	// MaxDecompressedBytes bounds the records of one batch once decompressed.
	MaxDecompressedBytes int
	// MaxRatio bounds decompressed over compressed size, above FreeBytes.
	MaxRatio int
	// FreeBytes may be decompressed at any ratio, so that a small batch of
	// equal records is not taken for a bomb.
	FreeBytes int
	// MaxRecords bounds the records of one batch.
	MaxRecords int
	// MaxHeaders bounds the headers of one record.
	MaxHeaders int
}

// DefaultLimits is 64 MiB at 100 times (1 MiB at any ratio), a million
// records, 65,536 headers a record.
func DefaultLimits() Limits {
	return Limits{
		MaxDecompressedBytes: 64 << 20,
		MaxRatio:             100,
		FreeBytes:            1 << 20,
		MaxRecords:           1_000_000,
		MaxHeaders:           1 << 16,
	}
}

// decompressed is the most bytes that a payload of n bytes may become.
func (l *Limits) decompressed(n int) int {
	return min(l.MaxDecompressedBytes, max(l.FreeBytes, n*l.MaxRatio))
}
