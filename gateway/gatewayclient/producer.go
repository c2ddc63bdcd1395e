package gatewayclient

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"moldau.dev/gateway/routing"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
)

// ProducerOptions shape a Producer. The zero value works.
type ProducerOptions struct {
	// BatchBytes is the largest batch, before compression; 0: 512 KiB. It must
	// not pass the topics' max.message.bytes.
	BatchBytes int
	// MaxBufferedBytes bounds the records that are not answered; Produce waits
	// beyond them. 0: 64 MiB.
	MaxBufferedBytes int64
	// DeliveryTimeout bounds a record's tries; 0: two minutes.
	DeliveryTimeout time.Duration
	// Acks says when a record counts as produced; unspecified: all.
	Acks moldauv1.Acks
	// Compression of the batches.
	Compression record.Codec
}

// Receipt tells where a record is.
type Receipt struct {
	Topic     string
	Partition int32
	Offset    int64 // -1 with acks none
}

// Producer sends records in batches, in the order of its calls by partition,
// each once: batches carry a producer id and sequences, so that they can be
// sent again. What comes while a batch is under way gathers, so batches grow
// with the load; full ones follow each other, up to five of a partition. It is
// safe for concurrent use.
type Producer struct {
	c      *Client
	o      ProducerOptions
	budget *semaphore.Weighted
	topics topics
	life   context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup
	work   chan struct{} // says that something can be sent
	heard  atomic.Bool   // an answer, on the present stream

	mu      sync.Mutex
	lanes   map[place]*lane
	ready   []*lane // that may have something to send
	pending int     // records without an answer
	idle    chan struct{}
	closed  bool
	flights map[int64]flight // by correlation id, on the present stream
	lastID  int64            // correlation
}

// NewProducer returns a producer. It asks for nothing before the first record.
func (c *Client) NewProducer(o ProducerOptions) *Producer {
	if o.BatchBytes == 0 {
		o.BatchBytes = 512 << 10
	}
	if o.MaxBufferedBytes == 0 {
		o.MaxBufferedBytes = 64 << 20
	}
	if o.DeliveryTimeout == 0 {
		o.DeliveryTimeout = 2 * time.Minute
	}
	p := &Producer{
		c: c, o: o, budget: semaphore.NewWeighted(o.MaxBufferedBytes), topics: topics{c: c, known: map[string]*topic{}, sticky: routing.NewSticky()},
		work: make(chan struct{}, 1), flights: map[int64]flight{}, lanes: map[place]*lane{}, idle: make(chan struct{}),
	}
	p.life, p.end = context.WithCancel(context.Background())
	p.wg.Go(p.run)
	return p
}

type place struct {
	topic string
	index int32
}

type flight struct {
	l *lane
	b *batch
}

// Produce queues a record and returns; done is told once, from a goroutine of
// the producer's, and must not block. Without a partition the key decides
// (murmur2, as everywhere), and without a key the producer. The record's bytes
// are the producer's until done. Produce waits while too much is buffered; its
// error says that the record was not taken, and done is not called then.
func (p *Producer) Produce(ctx context.Context, topicName string, partition *int32, r *moldauv1.Record, done func(Receipt, error)) error {
	rec := toRecord(r, p.c.clk.Now())
	size := sizeOf(&rec)
	if size > p.o.BatchBytes {
		return errcode.New(errcode.RecordTooLarge, "a record of about %d bytes, a batch holds %d", size, p.o.BatchBytes)
	}
	index, err := p.topics.choose(ctx, topicName, partition, rec.Key, size)
	if err != nil {
		return err
	}
	if err := p.budget.Acquire(ctx, int64(size)); err != nil {
		return errcode.Of(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.budget.Release(int64(size))
		return errcode.New(errcode.ShuttingDown, "the producer is closed")
	}
	l := p.lanes[place{topicName, index}]
	if l == nil {
		l = &lane{place: place{topicName, index}, producerID: record.NoProducerID}
		p.lanes[l.place] = l
	}
	p.pending++
	p.add(l, rec, size, done)
	return nil
}

func (p *Producer) add(l *lane, rec record.Record, size int, done func(Receipt, error)) {
	var b *batch
	if n := len(l.queue); n > 0 && l.queue[n-1].size+size <= p.o.BatchBytes {
		b = l.queue[n-1]
	} else {
		b = &batch{deadline: p.c.clk.Now().Add(p.o.DeliveryTimeout)}
		l.queue = append(l.queue, b)
		p.launch(l)
	}
	b.records, b.done, b.size = append(b.records, rec), append(b.done, done), b.size+size
	if half := p.o.BatchBytes / 2; b.size >= half && b.size-size < half {
		p.launch(l) // it may follow others now
	}
}

// launch marks a lane as one that may have something to send. The caller holds
// mu.
func (p *Producer) launch(l *lane) {
	if l.ready {
		return
	}
	l.ready = true
	p.ready = append(p.ready, l)
	select {
	case p.work <- struct{}{}:
	default:
	}
}

// ProduceSync is Produce that waits for the answer.
func (p *Producer) ProduceSync(ctx context.Context, topicName string, partition *int32, r *moldauv1.Record) (Receipt, error) {
	type answer struct {
		at  Receipt
		err error
	}
	told := make(chan answer, 1)
	if err := p.Produce(ctx, topicName, partition, r, func(at Receipt, err error) { told <- answer{at, err} }); err != nil {
		return Receipt{}, err
	}
	select {
	case a := <-told:
		return a.at, a.err
	case <-ctx.Done():
		return Receipt{}, errcode.Of(ctx.Err())
	}
}

// Flush returns once no record is without an answer.
func (p *Producer) Flush(ctx context.Context) error {
	for {
		p.mu.Lock()
		idle, none := p.idle, p.pending == 0
		p.mu.Unlock()
		if none {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return errcode.Of(ctx.Err())
		}
	}
}

// Close takes no more records, flushes while ctx lasts, and tells what is left
// that it was not sent, or that nobody knows.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.Flush(ctx)
	p.end()
	p.wg.Wait()
	p.expire(func(*batch) bool { return true }, errcode.New(errcode.Canceled, "the producer was closed"))
	return err
}

// finish tells the outcome of a batch that left its lane.
func (p *Producer) finish(o outcome) {
	for i, done := range o.b.done {
		at := Receipt{Topic: o.l.topic, Partition: o.l.index, Offset: -1}
		if o.err == nil && o.base >= 0 {
			at.Offset = o.base + int64(i)
		}
		if done != nil {
			done(at, o.err)
		}
	}
	p.budget.Release(int64(o.b.size))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending -= len(o.b.done)
	if p.pending == 0 {
		close(p.idle)
		p.idle = make(chan struct{})
	}
}

// expire gives up batches, wherever they are.
func (p *Producer) expire(which func(*batch) bool, err error) {
	var over []outcome
	p.mu.Lock()
	for _, l := range p.lanes {
		for _, b := range l.flying {
			if !b.landed && which(b) {
				b.unsure = b.unsure || b.sent
				over = append(over, l.fail(b, err))
			}
		}
		for len(l.queue) > 0 && which(l.queue[0]) {
			over = append(over, outcome{l: l, b: l.queue[0], base: -1, err: err})
			l.queue = l.queue[1:]
		}
		over = append(over, l.settle()...)
		p.launch(l)
	}
	p.mu.Unlock()
	for _, o := range over {
		p.finish(o)
	}
}
