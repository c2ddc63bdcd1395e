package transport

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"moldau.dev/services/clock"
)

// TestPeerThatComesBackIsFoundWithinASecond, however long it was gone.
func TestPeerThatComesBackIsFoundWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Time
		conn, err := Dial("passthrough:///gone", DialOptions{Dialer: func(context.Context, string) (net.Conn, error) {
			dials = append(dials, clock.Real().Now())
			return nil, errors.New("nobody listens")
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := conn.Invoke(ctx, echoMethod, &anypb.Any{}, &anypb.Any{}, grpc.WaitForReady(true)); err == nil {
			t.Error("nobody answered")
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if len(dials) < 500 {
			t.Fatalf("tried %d times in 10 minutes", len(dials))
		}
		for i := 1; i < len(dials); i++ {
			if gap := dials[i].Sub(dials[i-1]); gap > 1200*time.Millisecond { // a second and its jitter
				t.Fatalf("waited %s before try %d", gap, i)
			}
		}
	})
}
