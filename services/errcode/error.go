// Package errcode holds the one error table: each reason a caller can act on,
// and its faces towards gRPC, HTTP and Kafka. Handlers at every floor return
// *[Error]; services/transport turns it into a gRPC status and back, and the
// gateway turns it into Kafka codes and HTTP answers.
//
// Invariant: an error that nobody gave a reason becomes INTERNAL and keeps its
// text inside the process.
package errcode

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"google.golang.org/grpc/status"
)

// Error is an error a caller can act on. It is immutable: the With methods
// return changed copies, so package-level errors can be shared.
type Error struct {
	Reason     Reason
	Message    string            // for people; safe to show to the caller
	Field      string            // path of the offending request field, if one is to blame
	Hint       string            // what to do; empty means the table's hint
	Metadata   map[string]string // for programs: leader, leader_epoch, earliest_offset …
	RetryAfter time.Duration     // the server's wish; zero means none

	cause error // for the log of this process; never leaves it
}

// New returns an error with a reason and a message for people.
func New(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...)}
}

// Wrap is New with a cause, which errors.Is and the log see and callers of the
// process do not.
func Wrap(cause error, r Reason, format string, args ...any) *Error {
	e := New(r, format, args...)
	e.cause = cause
	return e
}

// Error returns reason, message and cause, for logs.
func (e *Error) Error() string {
	s := string(e.Reason)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Field != "" {
		s += " (field " + e.Field + ")"
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is match any two errors of one reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// GRPCStatus lets grpc-go itself, and status.FromError, see the full status.
func (e *Error) GRPCStatus() *status.Status { return ToStatus(e) }

// Retryable reports whether the same request may succeed later or elsewhere.
func (e *Error) Retryable() bool { return e.Reason.Retryable() }

// HintOrDefault returns the error's own hint, or that of the table.
func (e *Error) HintOrDefault() string {
	if e.Hint != "" {
		return e.Hint
	}
	return e.Reason.Faces().Hint
}

// WithField returns a copy that blames a request field.
func (e *Error) WithField(path string) *Error {
	c := *e
	c.Field = path
	return &c
}

// With returns a copy with one more metadata entry; val is formatted by %v.
func (e *Error) With(key string, val any) *Error {
	c := *e
	c.Metadata = maps.Clone(e.Metadata)
	if c.Metadata == nil {
		c.Metadata = make(map[string]string, 1)
	}
	c.Metadata[key] = fmt.Sprint(val)
	return &c
}

// WithHint returns a copy that says what the caller can do.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithRetryAfter returns a copy that asks the caller to wait d.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Of finds the *Error in err: one that it wraps, a gRPC status, a context
// error; anything else is INTERNAL with err as its cause. Of(nil) is nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Wrap(err, RequestTimedOut, "the deadline passed")
	case errors.Is(err, context.Canceled):
		return Wrap(err, Canceled, "the request was canceled")
	}
	if g, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		if e := FromStatus(g.GRPCStatus()); e != nil {
			e.cause = err
			return e
		}
	}
	return Wrap(err, Internal, "internal error")
}

// ReasonOf returns the reason of err, and "" for nil.
func ReasonOf(err error) Reason {
	if e := Of(err); e != nil {
		return e.Reason
	}
	return ""
}

// Is reports whether err has the given reason.
func Is(err error, r Reason) bool { return ReasonOf(err) == r }
