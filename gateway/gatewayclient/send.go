package gatewayclient

import (
	"context"

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
	var over []outcome
	p.mu.Lock()
	clear(p.flights)
	p.ready = p.ready[:0]
	for _, l := range p.lanes {
		for _, b := range l.flying {
			if b.resting != nil {
				b.resting.Stop()
				b.resting = nil
			}
			b.sent, b.unsure = false, b.unsure || b.sent
		}
		over = append(over, l.settle()...)
		l.ready = false
		p.launch(l)
	}
	p.mu.Unlock()
	for _, o := range over {
		p.finish(o)
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
	for l := p.take(); l != nil; l = p.take() {
		for {
			req, err := p.prepare(ctx, l)
			if err != nil {
				return err
			}
			if req == nil {
				break
			}
			if err := stream.Send(req); err != nil {
				return errcode.Wrap(err, errcode.NodeUnavailable, "the produce stream broke")
			}
		}
	}
	return nil
}

func (p *Producer) take() *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		return nil
	}
	l := p.ready[0]
	p.ready, l.ready = p.ready[1:], false
	return l
}

// prepare puts a lane's next batch under way. Only run's goroutine calls it.
func (p *Producer) prepare(ctx context.Context, l *lane) (*moldauv1.ProduceStreamRequest, error) {
	p.mu.Lock()
	needID := l.producerID == record.NoProducerID && !l.broken && len(l.flying)+len(l.queue) > 0
	p.mu.Unlock()
	if needID {
		resp, err := p.c.Records().InitProducer(ctx, &moldauv1.InitProducerRequest{})
		p.mu.Lock()
		if err != nil {
			defer p.mu.Unlock()
			p.launch(l)
			return nil, err
		}
		l.adopt(resp.GetProducerId())
		p.mu.Unlock()
	}
	p.mu.Lock()
	b := l.pick(p.c.clk.Now(), p.o.BatchBytes)
	if b == nil {
		p.mu.Unlock()
		return nil, nil
	}
	id := l.producerID
	b.sent = true
	b.tries++
	p.lastID++
	correlation := p.lastID
	p.flights[correlation] = flight{l, b}
	p.mu.Unlock()

	if b.encoded == nil {
		var err error
		if b.encoded, err = encode(b, p.o.Compression, id); err != nil {
			p.mu.Lock()
			delete(p.flights, correlation)
			p.mu.Unlock()
			p.answered(flight{l, b}, nil, &moldauv1.RangeError{Reason: string(errcode.InvalidRecord), Message: err.Error()})
			return nil, nil
		}
	}
	return &moldauv1.ProduceStreamRequest{CorrelationId: correlation, Request: &moldauv1.ProduceRequest{
		Topic: l.topic, Partition: &l.index, RecordBatch: b.encoded, Acks: p.o.Acks,
	}}, nil
}

func encode(b *batch, codec record.Codec, producerID int64) ([]byte, error) {
	builder := record.NewBuilder(record.BuilderOptions{Codec: codec, ProducerID: producerID, BaseSequence: b.sequence})
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
		p.answered(f, result, failed)
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

// answered lands a batch, or has it sent again.
func (p *Producer) answered(f flight, result *moldauv1.ProduceResult, failed *moldauv1.RangeError) {
	l, b := f.l, f.b
	var over []outcome
	p.mu.Lock()
	if b.landed { // given up meanwhile
		p.mu.Unlock()
		return
	}
	b.sent = false
	if failed == nil {
		over = append(over, l.land(b, result.GetBaseOffset(), p.c.clk.Now()))
	} else if err := errorOf(failed); !p.again(l, b, err) {
		if fenced(err.Reason) && b.unsure {
			err = errcode.Wrap(err, errcode.RequestTimedOut, "whether it was appended is not known")
		}
		over = append(over, l.fail(b, err))
	}
	over = append(over, l.settle()...)
	p.launch(l)
	p.mu.Unlock()
	for _, o := range over {
		p.finish(o)
	}
}

func errorOf(failed *moldauv1.RangeError) *errcode.Error {
	reason, known := errcode.ParseReason(failed.GetReason())
	if !known {
		reason = errcode.Internal
	}
	err := errcode.New(reason, "%s", failed.GetMessage())
	err.Metadata = failed.GetMetadata()
	return err
}

// again decides whether a batch that failed is tried again, and when. The
// caller holds mu.
func (p *Producer) again(l *lane, b *batch, err *errcode.Error) bool {
	switch {
	case fenced(err.Reason) && !l.leads(b): // behind those that are missing
		return true
	case fenced(err.Reason) && !b.unsure && !b.renewed: // the partition lost count of us
		b.renewed, l.broken = true, true
		return true
	case fenced(err.Reason) || !err.Retryable() || !b.deadline.After(p.c.clk.Now()):
		return false
	}
	b.unsure = true
	b.resting = p.c.clk.AfterFunc(backoff(b.tries), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		b.resting = nil
		p.launch(l)
	})
	return true
}

func fenced(r errcode.Reason) bool {
	return r == errcode.OutOfOrderSequence || r == errcode.InvalidProducerEpoch || r == errcode.UnknownProducer
}
