package record

import (
	"errors"
	"fmt"
)

// ErrPartial says that the bytes end before the batch does: the tail of a
// fetch that was cut to a byte limit, or of a segment that was not fully
// written. It is no corruption by itself.
var ErrPartial = errors.New("record batch ends early")

// Reason is the class of an InvalidError. Each maps to one Kafka error code.
type Reason uint8

const (
	// Corrupt bytes: the length, magic or checksum is wrong (CORRUPT_MESSAGE, 2).
	Corrupt Reason = iota + 1
	// InvalidRecord: well-framed bytes that break a rule of the format
	// (INVALID_RECORD, 87).
	InvalidRecord
	// UnsupportedCodec: the attributes name no known codec
	// (UNSUPPORTED_COMPRESSION_TYPE, 76).
	UnsupportedCodec
	// TooLarge: over a limit, as sent or once decompressed
	// (MESSAGE_TOO_LARGE, 10).
	TooLarge
	// InvalidTimestamp: outside the topic's bounds or of the wrong type
	// (INVALID_TIMESTAMP, 32).
	InvalidTimestamp
)

// String names the reason as it is shown in errors.
func (r Reason) String() string {
	switch r {
	case Corrupt:
		return "corrupt batch"
	case InvalidRecord:
		return "invalid record"
	case UnsupportedCodec:
		return "unsupported codec"
	case TooLarge:
		return "batch too large"
	case InvalidTimestamp:
		return "invalid timestamp"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// InvalidError says why a batch was refused. Find it with errors.As.
type InvalidError struct {
	Reason Reason
	// Index of the record at fault, counted from the start of its batch; -1
	// when the batch as a whole is at fault.
	Index  int
	Detail string
}

// Error says reason, index and detail. It holds no record bytes.
func (e *InvalidError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("%v: %s", e.Reason, e.Detail)
	}
	return fmt.Sprintf("%v %d: %s", e.Reason, e.Index, e.Detail)
}

func invalid(reason Reason, format string, args ...any) *InvalidError {
	return &InvalidError{Reason: reason, Index: -1, Detail: fmt.Sprintf(format, args...)}
}
