package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/services/errcode"
)

// within bounds an administrative call by the time its client gives it.
func (s *Server) within(ctx context.Context, timeoutMs int32) (context.Context, context.CancelFunc) {
	timeout := time.Duration(timeoutMs) * time.Millisecond
	if timeout <= 0 {
		timeout = s.cfg.CallTimeout
	}
	return context.WithTimeout(ctx, timeout)
}

// follow waits for this gateway's own view, so that the client's next request
// sees the change. The change stands even where that takes too long.
func (s *Server) follow(ctx context.Context, revision int64, validateOnly bool) {
	if !validateOnly {
		_ = s.meta.WaitRevision(ctx, revision)
	}
}

// told marks what an answer was written for already.
const told = -1

// counted tells how often each of n keys is there.
func counted[K comparable](n int, key func(i int) K) map[K]int {
	counts := make(map[K]int, n)
	for i := range n {
		counts[key(i)]++
	}
	return counts
}

// twice refuses a key that a request names more than once, with one answer for
// all of them.
func twice[K comparable](counts map[K]int, key K) error {
	n := counts[key]
	if counts[key] = told; n == 1 {
		return nil
	}
	return errcode.New(errcode.InvalidArgument, "%v is named %d times", key, n)
}

// adminCodeOf is codeOf for administrative calls, whose clients ask again where
// the controller is not there.
func adminCodeOf(err error) int16 {
	switch errcode.ReasonOf(err) {
	case errcode.NodeUnavailable, errcode.ShuttingDown:
		return kerr.NotController.Code
	default:
		return codeOf(err)
	}
}

// textOf is what a client is told beside the code; nil for no error.
func textOf(err error) *string {
	if err == nil {
		return nil
	}
	text := clip(errcode.Of(err).Message)
	return &text
}
