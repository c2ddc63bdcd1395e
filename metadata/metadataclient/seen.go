package metadataclient

import (
	"context"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

// seenHeader carries a Position with every call: a controller whose store was
// set back must not decide before someone tells it (C11).
const seenHeader = "moldau-seen-bin"

// withSeen returns the context of a call to an instance. In this process no
// wire turns what is sent into what is received, and what the caller itself
// received, from outside, goes no further.
func withSeen(ctx context.Context, i *instance, seen *metadatav1.Position) context.Context {
	var header metadata.MD
	if seen != nil {
		if b, err := proto.Marshal(seen); err == nil { // fails on bad UTF-8 alone, which no id holds
			header = metadata.Pairs(seenHeader, string(b))
		}
	}
	if i.conn == nil {
		return metadata.NewIncomingContext(ctx, header)
	}
	return metadata.NewOutgoingContext(ctx, header)
}

// SeenIn returns how far the caller of an RPC has seen metadata; nil where it
// does not say.
func SeenIn(ctx context.Context) *metadatav1.Position {
	values := metadata.ValueFromIncomingContext(ctx, seenHeader)
	if len(values) == 0 {
		return nil
	}
	p := &metadatav1.Position{}
	if proto.Unmarshal([]byte(values[0]), p) != nil {
		return nil
	}
	return p
}
