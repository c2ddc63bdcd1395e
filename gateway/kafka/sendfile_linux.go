package kafka

import (
	"errors"
	"io"
	"net"
	"syscall"

	"moldau.dev/storage-node/storageclient"
)

// sendsFiles tells whether files can go to this connection without a copy.
func (c *conn) sendsFiles() bool {
	_, plain := c.net.(*net.TCPConn)
	return plain
}

// atOnce bounds one sendfile(2).
const atOnce = 4 << 20

// sendFile sends bytes of a file and returns how many left, all of them unless
// there is an error. It takes no other descriptor's place in the file.
func sendFile(to net.Conn, s storageclient.FileSlice) (sent int64, err error) {
	raw, err := to.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		for sent < s.Size {
			at := s.Pos + sent
			n, err := syscall.Sendfile(int(fd), int(s.Fd), &at, int(min(s.Size-sent, atOnce)))
			switch {
			case n > 0:
				sent += int64(n)
			case errors.Is(err, syscall.EAGAIN):
				return false // wait until it can be written to
			case errors.Is(err, syscall.EINTR):
			case err == nil:
				failed = io.ErrUnexpectedEOF
				return true
			default:
				failed = err
				return true
			}
		}
		return true
	})
	return sent, errors.Join(failed, err)
}
