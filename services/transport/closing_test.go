package transport

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"moldau.dev/services/errcode"
)

// TestACallCutOffIsNoCancellation: a connection that is closed under its calls,
// as a pool closes one to a node that moved, looks to grpc-go as if the caller
// had given up. The caller has not, and may ask again; one that did is told so.
func TestACallCutOffIsNoCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, err := Dial("passthrough:///gone", DialOptions{Dialer: func(context.Context, string) (net.Conn, error) {
			return nil, errors.New("nobody listens")
		}})
		if err != nil {
			t.Fatal(err)
		}
		given, giveUp := context.WithCancel(t.Context())
		cut, gaveUp := make(chan error, 1), make(chan error, 1)
		go func() {
			cut <- conn.Invoke(t.Context(), echoMethod, &anypb.Any{}, &anypb.Any{}, grpc.WaitForReady(true))
		}()
		go func() { gaveUp <- conn.Invoke(given, echoMethod, &anypb.Any{}, &anypb.Any{}, grpc.WaitForReady(true)) }()
		synctest.Wait()
		giveUp()
		if err := <-gaveUp; !errcode.Is(err, errcode.Canceled) {
			t.Errorf("a caller that gave up: %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := <-cut; !errcode.Is(err, errcode.NodeUnavailable) || !errcode.Of(err).Retryable() {
			t.Errorf("a caller that did not: %v", err)
		}
	})
}
