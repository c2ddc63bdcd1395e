package kafka_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is a bare connection, for what no client would send.
type wire struct {
	t    testing.TB
	conn net.Conn
	next int32 // correlation id
}

func dial(t testing.TB, addr string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	check(t, err)
	check(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{t: t, conn: conn}
}

// send writes bytes as they are.
func (w *wire) send(b []byte) {
	w.t.Helper()
	_, err := w.conn.Write(b)
	check(w.t, err)
}

// frame puts a length before a request.
func frame(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// header is a request header of version 1.
func header(key, version int16, correlation int32) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	return append(b, 0, 4, 't', 'e', 's', 't')
}

func (w *wire) write(req kmsg.Request) int32 {
	w.t.Helper()
	w.next++
	w.send(kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, w.next))
	return w.next
}

// read returns one response with its correlation id.
func (w *wire) read() (correlation int32, body []byte, err error) {
	var prefix [8]byte
	if _, err := io.ReadFull(w.conn, prefix[:]); err != nil {
		return 0, nil, err
	}
	size := int32(binary.BigEndian.Uint32(prefix[:]))
	if size < 4 || size > 256<<20 {
		return 0, nil, fmt.Errorf("a response of %d bytes", size)
	}
	body = make([]byte, size-4)
	_, err = io.ReadFull(w.conn, body)
	return int32(binary.BigEndian.Uint32(prefix[4:])), body, err
}

// ask makes one request; the response must fit to the last byte.
func (w *wire) ask(req kmsg.Request) (kmsg.Response, error) {
	w.t.Helper()
	want := w.write(req)
	got, body, err := w.read()
	if err != nil {
		return nil, err
	}
	if got != want {
		return nil, fmt.Errorf("correlation id %d, want %d", got, want)
	}
	return parse(req, body)
}

func parse(req kmsg.Request, body []byte) (kmsg.Response, error) {
	resp := req.ResponseKind()
	if req.IsFlexible() && req.Key() != 18 {
		if len(body) == 0 || body[0] != 0 {
			return nil, fmt.Errorf("no empty tags in the header of the response")
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		return nil, err
	}
	if again := resp.AppendTo(nil); len(again) != len(body) {
		return nil, fmt.Errorf("%T version %d takes %d bytes, %d came", resp, resp.GetVersion(), len(again), len(body))
	}
	return resp, nil
}

// closed requires that the server closes the connection without a word.
func (w *wire) closed() {
	w.t.Helper()
	if n, err := w.conn.Read(make([]byte, 1)); n != 0 || err == nil {
		w.t.Fatalf("%d bytes came, want none", n)
	} else if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		w.t.Fatal("the connection is still open")
	}
}
