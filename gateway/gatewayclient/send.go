package gatewayclient

import (
	"context"
	"math"

	"google.golang.org/grpc"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// run keeps a stream open while there is something to send, and sends
// everything that is under way again on the next one when it breaks.
func (p *Producer) run() {
	pause := firstPause
	for {
		select {
		case <-p.work:
		case <-p.life.Done():
			return
		}
		err := p.stream()
		if p.life.Err() != nil {
			return
		}
		if p.heard.Swap(false) {
			pause = firstPause
		}
		p.c.log.Debug("the produce stream ended", "error", err)
		p.expire(func(b *batch) bool { return !b.deadline.After(p.c.clk.Now()) },
			errcode.Wrap(err, errcode.RequestTimedOut, "not delivered in time"))
		timer := p.c.clk.NewTimer(pause)
		select {
		case <-timer.C():
		case <-p.life.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, lastPause)
		p.relaunch()
	}
}

// relaunch makes every batch that is under way go out again.
func (p *Producer) relaunch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.flights)
	p.ready = p.ready[:0]
	for _, l := range p.lanes {
		if l.resting != nil {
			l.resting.Stop()
			l.resting = nil
		}
		if l.flying != nil {
			l.flying.sent = false
		}
		if l.flying != nil || len(l.queue) > 0 {
			p.launch(l)
		}
	}
}

// stream sends until the stream breaks, and returns why.
func (p *Producer) stream() error {
	ctx, cancel := context.WithCancel(p.life)
	defer cancel()
	stream, err := p.c.Records().ProduceStream(ctx)
	if err != nil {
		return err
	}
	broken := make(chan error, 1)
	p.wg.Go(func() { broken <- p.receive(stream) })
	defer func() {
		cancel()
		<-broken
	}()
	for {
		if err := p.sendReady(ctx, stream); err != nil {
			return err
		}
		select {
		case <-p.work:
		case err := <-broken:
			broken <- err // for the deferred wait
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Producer) sendReady(ctx context.Context, stream grpc.BidiStreamingClient[moldauv1.ProduceStreamRequest, moldauv1.ProduceStreamResponse]) error {
	for {
		l := p.take()
		if l == nil {
			return nil
		}
		req, err := p.prepare(ctx, l)
		if err != nil {
			return err
		}
		if req == nil {
			continue
		}
		if err := stream.Send(req); err != nil {
			return errcode.Wrap(err, errcode.NodeUnavailable, "the produce stream broke")
		}
	}
}

func (p *Producer) take() *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		return nil
	}
	l := p.ready[0]
	p.ready = p.ready[1:]
	return l
}

// prepare puts a lane's next batch under way. Only run's goroutine calls it.
func (p *Producer) prepare(ctx context.Context, l *lane) (*moldauv1.ProduceStreamRequest, error) {
	p.mu.Lock()
	needID := l.producerID == record.NoProducerID
	p.mu.Unlock()
	if needID {
		resp, err := p.c.Records().InitProducer(ctx, &moldauv1.InitProducerRequest{})
		if err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.launch(l)
			return nil, err
		}
		p.mu.Lock()
		l.producerID, l.next = resp.GetProducerId(), 0
		if l.flying != nil {
			l.flying.encoded = nil
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	if l.flying == nil && len(l.queue) > 0 {
		l.flying, l.queue = l.queue[0], l.queue[1:]
	}
	b, id, seq := l.flying, l.producerID, l.next
	if b == nil || b.sent {
		p.mu.Unlock()
		return nil, nil
	}
	b.sent = true
	b.tries++
	p.lastID++
	correlation := p.lastID
	p.flights[correlation] = flight{l, b}
	p.mu.Unlock()

	if b.encoded == nil {
		var err error
		if b.encoded, err = encode(b, p.o.Compression, id, seq); err != nil {
			p.land(l, b, nil, errcode.Wrap(err, errcode.InvalidRecord, "%v", err))
			return nil, nil
		}
	}
	return &moldauv1.ProduceStreamRequest{CorrelationId: correlation, Request: &moldauv1.ProduceRequest{
		Topic: l.topic, Partition: &l.index, RecordBatch: b.encoded, Acks: p.o.Acks,
	}}, nil
}

func encode(b *batch, codec record.Codec, producerID int64, seq int32) ([]byte, error) {
	builder := record.NewBuilder(record.BuilderOptions{Codec: codec, ProducerID: producerID, BaseSequence: seq})
	for i := range b.records {
		builder.Append(&b.records[i])
	}
	return builder.Build(nil)
}

func (p *Producer) receive(stream grpc.BidiStreamingClient[moldauv1.ProduceStreamRequest, moldauv1.ProduceStreamResponse]) error {
	for {
		resp, err := stream.Recv()
		if err != nil {
			return err
		}
		p.heard.Store(true)
		p.mu.Lock()
		f, ok := p.flights[resp.GetCorrelationId()]
		delete(p.flights, resp.GetCorrelationId())
		p.mu.Unlock()
		if !ok {
			continue
		}
		result, failed := resultOf(resp)
		p.answered(f.l, f.b, result, failed)
	}
}

// resultOf returns where a batch is, or why it is not there.
func resultOf(resp *moldauv1.ProduceStreamResponse) (*moldauv1.ProduceResult, *moldauv1.RangeError) {
	if e := resp.GetError(); e != nil {
		return nil, e
	}
	results := resp.GetResponse().GetResults()
	if len(results) != 1 {
		return nil, &moldauv1.RangeError{Reason: string(errcode.Internal), Message: "a batch was not answered as one"}
	}
	return results[0], results[0].GetError()
}

// answered lands a batch, or sends it again after a pause.
func (p *Producer) answered(l *lane, b *batch, result *moldauv1.ProduceResult, failed *moldauv1.RangeError) {
	if failed == nil {
		p.land(l, b, result, nil)
		return
	}
	reason, known := errcode.ParseReason(failed.GetReason())
	if !known {
		reason = errcode.Internal
	}
	err := errcode.New(reason, "%s", failed.GetMessage())
	err.Metadata = failed.GetMetadata()
	switch {
	case fenced(reason) && b.tries == 1: // never taken: the partition lost count of us
		p.mu.Lock()
		if l.flying == b {
			l.producerID, b.encoded, b.sent = record.NoProducerID, nil, false
			p.launch(l)
		}
		p.mu.Unlock()
	case failed.GetRetryable() && b.deadline.After(p.c.clk.Now()):
		p.mu.Lock()
		l.resting = p.c.clk.AfterFunc(backoff(b.tries), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if l.flying == b && b.sent {
				b.sent = false
				p.launch(l)
			}
		})
		p.mu.Unlock()
	default:
		p.land(l, b, nil, err)
	}
}

func fenced(r errcode.Reason) bool {
	return r == errcode.OutOfOrderSequence || r == errcode.InvalidProducerEpoch || r == errcode.UnknownProducer
}

// land takes a batch out of the air, tells its outcome and lets the next go.
func (p *Producer) land(l *lane, b *batch, result *moldauv1.ProduceResult, err error) {
	p.mu.Lock()
	if l.flying != b {
		p.mu.Unlock()
		return
	}
	l.flying = nil
	if err == nil {
		l.next = int32((int64(l.next) + int64(len(b.records))) & math.MaxInt32)
	} else if b.tries > 1 || fenced(errcode.ReasonOf(err)) || errcode.Of(err).Retryable() {
		l.producerID = record.NoProducerID // an earlier try may have been taken
	}
	if len(l.queue) > 0 {
		p.launch(l)
	}
	p.mu.Unlock()
	base := int64(-1)
	if result != nil {
		base = result.GetBaseOffset()
	}
	p.finish(l, b, base, err)
}
