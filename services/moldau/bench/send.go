package bench

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"moldau.dev/gateway/gatewayclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

// sender sends on one connection. One goroutine calls it.
type sender interface {
	// enter waits until another send may be without an answer.
	enter(ctx context.Context) error
	// send sends one request's worth of records that was due at a time; done
	// is told once.
	send(ctx context.Context, partition int32, due time.Time, done func(error)) error
	// close returns once everything is answered.
	close(ctx context.Context) error
	// records is how many one send carries.
	records() int
}

// newSender returns the sender for connection i; stamped makes each record say
// when it was due.
func (r *run) newSender(ctx context.Context, i int, base time.Time, stamped bool) (sender, error) {
	client, p := r.clients[i], newPayload(base, r.cfg.RecordBytes)
	shared := requests{cfg: r.cfg, topic: r.topic, payload: p, stamped: stamped, clk: r.clk, window: make(chan struct{}, r.cfg.InFlight)}
	switch r.cfg.Via {
	case ViaBatches:
		return newBatchSender(ctx, client, shared)
	case ViaRecords:
		return &recordSender{requests: shared, client: client.Records()}, nil
	default:
		return newClientSender(client, shared), nil
	}
}

// requests is what senders that keep count of their requests share.
type requests struct {
	cfg     Config
	topic   string
	payload *payload
	stamped bool
	clk     clock.Clock
	window  chan struct{}
}

func (q *requests) records() int { return q.cfg.recordsPerBatch() }

func (q *requests) enter(ctx context.Context) error {
	select {
	case q.window <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (q *requests) leave() { <-q.window }

func (q *requests) value(due time.Time) []byte {
	if q.stamped {
		return q.payload.stamped(due)
	}
	return q.payload.value
}

// batchSender sends whole batches over one stream.
type batchSender struct {
	requests
	stream grpc.BidiStreamingClient[moldauv1.ProduceStreamRequest, moldauv1.ProduceStreamResponse]
	flying chan func(error) // in the order of the sends, which is that of the answers
	ended  chan struct{}
	err    error // of the stream; read it after ended is closed
	ready  []byte
}

func newBatchSender(ctx context.Context, c *gatewayclient.Client, q requests) (*batchSender, error) {
	stream, err := c.Records().ProduceStream(ctx)
	if err != nil {
		return nil, err
	}
	s := &batchSender{requests: q, stream: stream, flying: make(chan func(error), q.cfg.InFlight), ended: make(chan struct{})}
	if !q.stamped {
		if s.ready, err = q.payload.encode(q.payload.value, q.records(), q.clk.Now()); err != nil {
			return nil, err
		}
	}
	go s.receive()
	return s, nil
}

func (s *batchSender) send(ctx context.Context, partition int32, due time.Time, done func(error)) error {
	batch := s.ready
	if s.stamped {
		var err error
		if batch, err = s.payload.encode(s.value(due), s.records(), s.clk.Now()); err != nil {
			return err
		}
	}
	s.flying <- done // there is room: the window is as large
	err := s.stream.Send(&moldauv1.ProduceStreamRequest{Request: &moldauv1.ProduceRequest{
		Topic: s.topic, Partition: &partition, RecordBatch: batch, Acks: s.cfg.Acks,
	}})
	if errors.Is(err, io.EOF) {
		<-s.ended
		return s.err
	}
	return err
}

func (s *batchSender) receive() {
	defer close(s.ended)
	for {
		resp, err := s.stream.Recv()
		if err != nil {
			s.err = err
			return
		}
		done := <-s.flying
		s.leave()
		done(failureOf(resp.GetResponse(), resp.GetError()))
	}
}

func (s *batchSender) close(context.Context) error {
	if err := s.stream.CloseSend(); err != nil {
		return err
	}
	<-s.ended
	if errors.Is(s.err, io.EOF) && len(s.flying) > 0 {
		return errcode.New(errcode.ShuttingDown, "the gateway ended the stream")
	}
	if errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}

// failureOf returns the first error of an answer.
func failureOf(resp *moldauv1.ProduceResponse, failed *moldauv1.RangeError) error {
	for _, result := range resp.GetResults() {
		if failed == nil {
			failed = result.GetError()
		}
	}
	if failed == nil {
		return nil
	}
	reason, known := errcode.ParseReason(failed.GetReason())
	if !known {
		reason = errcode.Internal
	}
	return errcode.New(reason, "%s", failed.GetMessage())
}

// recordSender sends records in unary calls.
type recordSender struct {
	requests
	client moldauv1.ProduceServiceClient
	calls  sync.WaitGroup
}

func (s *recordSender) send(ctx context.Context, partition int32, due time.Time, done func(error)) error {
	req := &moldauv1.ProduceRequest{Topic: s.topic, Partition: &partition, Acks: s.cfg.Acks}
	rec := &moldauv1.Record{Value: s.value(due)}
	for range s.records() {
		req.Records = append(req.Records, rec)
	}
	s.calls.Go(func() {
		defer s.leave()
		resp, err := s.client.Produce(ctx, req)
		if err == nil {
			err = failureOf(resp, nil)
		}
		done(err)
	})
	return nil
}

func (s *recordSender) close(context.Context) error {
	s.calls.Wait()
	return nil
}

// clientSender sends as programs do: record by record. The client makes the
// batches, and has a window of its own, in which send waits.
type clientSender struct {
	requests
	producer *gatewayclient.Producer
}

func newClientSender(c *gatewayclient.Client, q requests) *clientSender {
	return &clientSender{q, c.NewProducer(gatewayclient.ProducerOptions{
		BatchBytes: max(q.cfg.BatchBytes, q.cfg.RecordBytes) + clientOverhead, Acks: q.cfg.Acks,
		MaxBufferedBytes: int64(q.cfg.InFlight) * int64(q.cfg.BatchBytes+clientOverhead),
	})}
}

const clientOverhead = 1 << 10 // of what the client counts beside the value

func (s *clientSender) records() int { return 1 }

func (s *clientSender) enter(context.Context) error { return nil }

func (s *clientSender) send(ctx context.Context, partition int32, due time.Time, done func(error)) error {
	return s.producer.Produce(ctx, s.topic, &partition, &moldauv1.Record{Value: s.value(due)},
		func(_ gatewayclient.Receipt, err error) { done(err) })
}

func (s *clientSender) close(ctx context.Context) error { return s.producer.Close(ctx) }
