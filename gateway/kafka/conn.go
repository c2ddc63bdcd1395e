package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"moldau.dev/services/telemetry"
)

const (
	// readAhead is what a connection buffers of what comes next.
	readAhead = 4 << 10
	// firstPart of a frame is read before room is made for more. Room grows by
	// growth, so that a client pays with bytes for what it claims.
	firstPart = 64 << 10
	growth    = 8
	// partTimeout bounds how long each part of a frame may take, and how long
	// a reader may take nothing of a response.
	partTimeout = 30 * time.Second
)

// conn is one client. Its goroutine reads a request, serves it and writes the
// response before it reads the next one: Kafka's order, which clients rely on.
// Only what is appended already may be answered later; see unanswered.
type conn struct {
	s    *Server
	net  net.Conn
	in   *bufio.Reader
	busy atomic.Int32 // requests under way
	unanswered

	client   string        // client id of the request under way
	throttle time.Duration // how long the client waits after its answer
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{s: s, net: nc, in: bufio.NewReaderSize(nc, readAhead)}
}

// serve runs until the client goes, breaks the protocol or is sent away.
func (c *conn) serve() {
	defer c.net.Close() //nolint:errcheck // there is nobody to tell
	defer c.end()
	defer c.caught()
	for {
		if err := c.once(); err != nil {
			c.left(err)
			return
		}
	}
}

// caught ends the connection of a request that panics, and no other.
func (c *conn) caught() {
	if p := recover(); p != nil {
		c.s.metrics.closed.WithLabelValues("panic").Inc()
		c.s.log.Error("a Kafka request ended in a panic", telemetry.Peer(c.peer()),
			telemetry.Err(fmt.Errorf("%v\n%s", p, debug.Stack())))
		_ = c.net.Close()
	}
}

func (c *conn) peer() string { return c.net.RemoteAddr().String() }

// left notes why a connection ends.
func (c *conn) left(err error) {
	why := "broken"
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
		return
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = "slow"
	case errors.Is(err, errMalformed):
		why = "malformed"
	case errors.Is(err, errUnserved):
		why = "unserved"
	case errors.Is(err, errSilent):
		why = "acks"
	}
	c.s.metrics.closed.WithLabelValues(why).Inc()
	c.s.log.Debug("a Kafka connection ends", telemetry.Peer(c.peer()), telemetry.Err(err))
}

// once serves one request.
func (c *conn) once() error {
	size, err := c.frameSize()
	if err != nil {
		return err
	}
	c.busy.Add(1)
	defer c.busy.Add(-1)
	frame, err := c.readFrame(size)
	if err != nil {
		return err
	}
	req, err := parseRequest(frame)
	if err != nil {
		frame.free()
		return err
	}
	if req.api.key != keyProduce || req.clientID != c.client {
		c.settle()
		c.client = req.clientID
	}
	start := c.s.clk.Now()
	out, err := req.api.serve(c, c.s.life, req)
	if out != nil && out.later != nil {
		c.answerLater(later{req, start, out.later})
		return nil
	}
	c.settle()
	return c.answer(req, start, out, err)
}

// answer ends a request.
func (c *conn) answer(req *request, start time.Time, out *response, err error) error {
	defer req.frame.free()
	if out != nil {
		defer out.free()
	}
	if err != nil {
		return fmt.Errorf("%s version %d: %w", req.api.name, req.version, err)
	}
	c.s.metrics.served(req.api.name, c.s.clk.Since(start))
	if out != nil { // there is none to acks=0
		err = c.send(out)
	}
	c.mute()
	return err
}

// frameSize waits for a request and returns how long it says it is.
func (c *conn) frameSize() (int, error) {
	if c.in.Buffered() < 4 {
		if err := c.net.SetReadDeadline(c.s.clk.Now().Add(c.s.limits().idle)); err != nil {
			return 0, err
		}
	}
	prefix, err := c.in.Peek(4)
	if err != nil {
		if len(prefix) == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, io.EOF // idle
		}
		return 0, err
	}
	size := int32(binary.BigEndian.Uint32(prefix))
	if size < minHeader || int(size) > c.s.cfg.MaxRequestBytes {
		return 0, fmt.Errorf("%w: a frame of %d bytes", errMalformed, size)
	}
	_, _ = c.in.Discard(4) // they were peeked at
	return int(size), nil
}

// frame is one request's bytes, and what they hold of the budget.
type frame struct {
	s    *Server
	b    []byte
	held int64
}

func (f *frame) free() {
	buffers.put(f.b)
	f.s.memory.Release(f.held)
	f.b, f.held = nil, 0
}

// hold takes more of the memory of all requests.
func (f *frame) hold(n int64) error {
	if !f.s.memory.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(f.s.life, partTimeout)
		defer cancel()
		if err := f.s.memory.Acquire(ctx, n); err != nil {
			return fmt.Errorf("no memory for a request of %d bytes: %w", n, err)
		}
	}
	f.held += n
	return nil
}

// readFrame reads the request. Memory is taken as bytes come.
func (c *conn) readFrame(size int) (*frame, error) {
	f := &frame{s: c.s}
	if err := f.hold(int64(min(size, firstPart))); err != nil {
		return nil, err
	}
	f.b = buffers.get(min(size, firstPart))
	for have := 0; ; {
		if err := c.readPart(f.b[have:]); err != nil {
			f.free()
			return nil, err
		}
		if have = len(f.b); have == size {
			return f, nil
		}
		if have == firstPart { // all at once: two large requests that wait for each other never end
			if err := f.hold(int64(size - have)); err != nil {
				f.free()
				return nil, err
			}
		}
		larger := buffers.get(min(size, have*growth))
		copy(larger, f.b)
		buffers.put(f.b)
		f.b = larger
	}
}

func (c *conn) readPart(b []byte) error {
	if c.in.Buffered() < len(b) {
		if err := c.net.SetReadDeadline(c.s.clk.Now().Add(partTimeout)); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(c.in, b)
	return err
}
