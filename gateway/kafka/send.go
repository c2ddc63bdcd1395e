package kafka

import (
	"errors"
	"net"
	"os"

	"moldau.dev/storage-node/storageclient"
)

// send writes a response: what is in memory by writev, what is in files by
// sendfile.
func (c *conn) send(out *response) error {
	var parts net.Buffers
	from := 0
	for _, in := range out.batches {
		parts = append(parts, out.head[from:in.at])
		from = in.at
		if in.slice.Size == 0 {
			parts = append(parts, in.piece)
			continue
		}
		if err := c.sendParts(parts); err != nil {
			return err
		}
		parts = nil
		if err := c.sendSlice(in.slice); err != nil {
			return err
		}
	}
	if from < len(out.head) {
		parts = append(parts, out.head[from:])
	}
	return c.sendParts(parts)
}

func (c *conn) sendParts(left net.Buffers) error {
	for len(left) > 0 {
		if err := c.net.SetWriteDeadline(c.s.clk.Now().Add(partTimeout)); err != nil {
			return err
		}
		n, err := left.WriteTo(c.net)
		c.s.metrics.sent.Add(float64(n))
		if err != nil && !gotOn(n, err) {
			return err
		}
	}
	return nil
}

// gotOn tells whether a write that ran out of time sent something: then its
// reader may have more time.
func gotOn(n int64, err error) bool { return n > 0 && errors.Is(err, os.ErrDeadlineExceeded) }

func (c *conn) sendSlice(left storageclient.FileSlice) error {
	for left.Size > 0 {
		if err := c.net.SetWriteDeadline(c.s.clk.Now().Add(partTimeout)); err != nil {
			return err
		}
		n, err := sendFile(c.net, left)
		c.s.metrics.sent.Add(float64(n))
		left.Pos, left.Size = left.Pos+n, left.Size-n
		if err != nil && !gotOn(n, err) {
			return err
		}
	}
	return nil
}
