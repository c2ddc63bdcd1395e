package kafka

import (
	"sync"
	"time"
)

// mostUnanswered is how many requests of a connection may be under way at once:
// as many as an idempotent producer sends (KIP-98).
const mostUnanswered = 5

// later is a request that has its place in the log, and waits for its answer.
type later struct {
	req    *request
	start  time.Time
	finish func() (*response, error)
}

// unanswered are the requests of one connection that wait for replicas or a
// disk while those behind them are read. Kafka reads none meanwhile, so that a
// connection commits one request for each round of replicas.
//
// Answers leave in the order of the requests. Whoever serves something that must
// not overtake them, or touches what belongs to the connection, settles first.
// A connection that never waited costs no goroutine.
type unanswered struct {
	queue   chan later
	waiting sync.WaitGroup // for the answers of queue
}

// answerLater queues a request that is in the log; it waits while too many are.
func (c *conn) answerLater(l later) {
	if c.queue == nil {
		c.queue = make(chan later, mostUnanswered-2) // besides the one that is waited for and the one that is added
		go c.answerAll(c.queue)
	}
	c.busy.Add(1)
	c.waiting.Add(1)
	c.queue <- l
}

// settle returns once all requests before have their answers.
func (c *conn) settle() { c.waiting.Wait() }

// end settles, and lets go.
func (c *conn) end() {
	c.settle()
	if c.queue != nil {
		close(c.queue)
	}
}

func (c *conn) answerAll(queue <-chan later) {
	broken := false
	for l := range queue {
		c.answerOne(l, &broken)
	}
}

func (c *conn) answerOne(l later, broken *bool) {
	defer c.waiting.Done()
	defer c.busy.Add(-1)
	defer c.caught()
	out, err := l.finish()
	if *broken { // nobody hears it
		if out != nil {
			out.free()
		}
		l.req.frame.free()
		return
	}
	if err = c.answer(l.req, l.start, out, err); err != nil {
		*broken = true
		c.left(err)
		_ = c.net.Close()
	}
}
