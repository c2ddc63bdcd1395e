package commitlog

import (
	"errors"
	"fmt"
)

var (
	// ErrPoisoned is what a log answers to every change after a failed fsync:
	// nobody knows what the disk holds, and asking again would hide it (rule N7).
	ErrPoisoned = errors.New("log is out of service after a failed fsync")
	// ErrClosed is what a closed log answers.
	ErrClosed = errors.New("log is closed")
	// ErrOffsetOutOfRange is what an *OffsetError is.
	ErrOffsetOutOfRange = errors.New("offset out of range")
)

// OffsetError tells of an offset outside of what the log holds.
type OffsetError struct {
	Offset     int64
	Start, End int64 // the log holds [Start, End)
}

// Error says offset and range.
func (e *OffsetError) Error() string {
	return fmt.Sprintf("offset %d is out of range [%d, %d]", e.Offset, e.Start, e.End)
}

// Is makes errors.Is(err, ErrOffsetOutOfRange) true.
func (e *OffsetError) Is(target error) bool { return target == ErrOffsetOutOfRange }

// CorruptionError tells of stored bytes that are missing, or do not match
// their checksum or their lengths. They are reported, never served, and never
// cut away (rule N6, invariant 13).
type CorruptionError struct {
	File     string
	Position int64 // bytes from the start of the file
	Detail   string
}

// Error says where and what.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.File, e.Position, e.Detail)
}
