//go:build !linux

package kafka

import (
	"errors"
	"net"

	"moldau.dev/storage-node/storageclient"
)

// sendsFiles tells whether files can go to this connection without a copy.
func (c *conn) sendsFiles() bool { return false }

func sendFile(net.Conn, storageclient.FileSlice) (int64, error) { return 0, errors.ErrUnsupported }
