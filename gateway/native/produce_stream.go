package native

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
)

// ProduceStream is the server's end of a ProduceStream call.
type ProduceStream interface {
	// Receive returns the next request, and what gives its record batch's memory
	// back, to be called once nobody reads the batch any more, or never: then the
	// garbage collector has it. Nil: there is nothing to give back.
	Receive() (req *moldauv1.ProduceStreamRequest, free func(), err error)
	Send(*moldauv1.ProduceStreamResponse) error
}

// pipelineDepth bounds the requests of one stream that are not answered; what
// really bounds them is their bytes.
const pipelineDepth = 1024

// answering is a request that waits for its turn to be answered.
type answering struct {
	correlation int64
	weight      int64
	producing   *producing // or err
	err         error
}

// ProduceStream takes requests as they come and answers them in their order.
// One goroutine receives and queues, another waits and sends, so that a slow
// partition or a client that does not read never stops the other side
// (rule G1); the bytes in between are bounded.
func (s *Server) ProduceStream(ctx context.Context, stream ProduceStream) error {
	defer s.metrics.stream("produce")()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	budget := semaphore.NewWeighted(s.cfg.StreamInFlightBytes)
	pipe := make(chan answering, pipelineDepth)
	received := make(chan error, 1)
	go func() {
		defer close(pipe)
		received <- s.receive(ctx, stream, budget, pipe)
	}()
	for a := range pipe {
		resp := &moldauv1.ProduceStreamResponse{CorrelationId: a.correlation}
		if a.err != nil {
			resp.Error = rangeError(a.err, nil)
		} else {
			resp.Response = a.producing.wait()
		}
		if err := stream.Send(resp); err != nil {
			return err // the receiver ends with the call's context
		}
		budget.Release(a.weight)
	}
	return <-received
}

func (s *Server) receive(ctx context.Context, stream ProduceStream, budget *semaphore.Weighted, pipe chan<- answering) error {
	for {
		req, free, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		a := answering{
			correlation: req.GetCorrelationId(),
			weight:      min(int64(proto.Size(req)), s.cfg.StreamInFlightBytes),
		}
		if err := budget.Acquire(ctx, a.weight); err != nil {
			return err
		}
		if req.GetRequest() == nil {
			a.err = errcode.New(errcode.InvalidArgument, "no request").WithField("request")
		} else {
			a.producing, a.err = s.begin(ctx, req.GetRequest(), free)
		}
		select {
		case pipe <- a:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
