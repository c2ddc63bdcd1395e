package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"

	"moldau.dev/services/clock"
)

// frames is what a client sends: the preface, then n times a small DATA frame
// and a reset.
func frames(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	for range n {
		if err := errors.Join(f.WriteData(1, false, []byte{0, 0, 4, 3, 0, 0}), f.WriteRSTStream(1, http2.ErrCodeCancel)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestResetsAreFoundHoweverTheBytesAreCut(t *testing.T) {
	sent := frames(t, 100)
	for _, size := range []int{1, 2, 7, 9, 10, 64, len(sent)} {
		s, n := new(frameScanner), 0
		for rest := sent; len(rest) > 0; {
			cut := min(size, len(rest))
			n, rest = n+s.resets(rest[:cut]), rest[cut:]
		}
		if n != 100 {
			t.Errorf("%d resets found in pieces of %d bytes, 100 were sent", n, size)
		}
	}
	s := new(frameScanner)
	if n := s.resets([]byte("PRI * HTTP/1.1\r\n")) + s.resets(sent); n != 0 || !s.other {
		t.Errorf("%d resets found in what is not HTTP/2", n)
	}
}

// pipeListener hands out one end of a pipe.
type pipeListener struct {
	net.Listener
	conn net.Conn
}

func (l pipeListener) Accept() (net.Conn, error) { return l.conn, nil }

// cutOffAfter sends bytes over a connection that is watched, and returns how
// many of them the server got to see.
func cutOffAfter(t *testing.T, sent []byte, clk clock.Clock, r prometheus.Registerer) int {
	t.Helper()
	near, far := net.Pipe()
	conn, err := CutResets(pipeListener{conn: far}, clk, r).Accept()
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = near.Write(sent) // fails when it is cut off
		_ = near.Close()
	}()
	seen, err := io.Copy(io.Discard, io.LimitReader(conn, int64(len(sent))))
	if cut := errors.Is(err, errResets); cut != (int(seen) < len(sent)) {
		t.Errorf("%d of %d bytes seen, then %v", seen, len(sent), err)
	}
	_ = conn.Close()
	<-gone
	return int(seen)
}

func TestAPeerThatOnlyResetsIsCutOff(t *testing.T) {
	clk, r := clock.NewManual(time.Unix(0, 0)), prometheus.NewRegistry()
	patient, hasty := frames(t, resetsAtOnce), frames(t, resetsAtOnce+1)
	if n := cutOffAfter(t, patient, clk, r); n != len(patient) {
		t.Errorf("%d resets at once are too many", resetsAtOnce)
	}
	if n := cutOffAfter(t, hasty, clk, r); n == len(hasty) {
		t.Errorf("%d resets at once are taken", resetsAtOnce+1)
	}
	if text := exposed(t, r, "moldau_rpc_connections_cut_total"); !strings.HasSuffix(text, " 1\n") {
		t.Errorf("counted %s", text)
	}
}

// FuzzFrameScanner: it finds the resets that x/net's framer finds, for as long
// as that one finds frames.
func FuzzFrameScanner(f *testing.F) {
	f.Add(frames(f, 3)[len(http2.ClientPreface):], uint8(3))
	f.Fuzz(func(t *testing.T, sent []byte, size uint8) {
		want := 0
		framer := http2.NewFramer(io.Discard, bytes.NewReader(sent))
		framer.AllowIllegalReads = true
		framer.SetMaxReadFrameSize(1<<24 - 1)
		for {
			h, err := framer.ReadFrameHeader()
			if err != nil {
				break
			}
			if h.Type == http2.FrameRSTStream {
				want++
			}
			if _, err := framer.ReadFrameForHeader(h); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				break
			}
		}
		s, got := &frameScanner{preface: len(http2.ClientPreface)}, 0
		for rest := sent; len(rest) > 0; {
			cut := min(int(size)+1, len(rest))
			got, rest = got+s.resets(rest[:cut]), rest[cut:]
		}
		if got != want {
			t.Errorf("%d resets found, %d are there", got, want)
		}
	})
}
