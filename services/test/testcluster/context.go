package testcluster

import (
	"context"
	"testing"
	"time"
)

// grace is left before the deadline of the test run, so that a test that
// hangs ends with the logs of its processes.
const grace = 10 * time.Second

// Context returns a context that ends shortly before the test run must.
func Context(t testing.TB) context.Context {
	t.Helper()
	tt, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return t.Context()
	}
	deadline, ok := tt.Deadline()
	if !ok {
		return t.Context()
	}
	ctx, cancel := context.WithDeadline(t.Context(), deadline.Add(-grace))
	t.Cleanup(cancel)
	return ctx
}
