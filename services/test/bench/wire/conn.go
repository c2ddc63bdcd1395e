package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// conn is one connection. Frames are written and read raw; calls go one at a
// time.
type conn struct {
	net net.Conn
	in  *bufio.Reader
}

const clientID = "wire"

func dial(ctx context.Context, addr string) (*conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{net: nc, in: bufio.NewReaderSize(nc, 64<<10)}, nil
}

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))

// call sends a request of the codec and waits for its answer.
func (c *conn) call(req kmsg.Request, version int16) (kmsg.Response, error) {
	req.SetVersion(version)
	if _, err := c.net.Write(formatter.AppendRequest(nil, req, 0)); err != nil {
		return nil, err
	}
	body, err := c.read(nil)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	if req.IsFlexible() && req.Key() != 18 {
		body = body[1:] // no tags
	}
	return resp, resp.ReadFrom(body)
}

const maxFrame = 64 << 20

// read reads one answer into buf, or a larger one, and returns what follows the
// correlation id.
func (c *conn) read(buf []byte) ([]byte, error) {
	var prefix [8]byte
	if _, err := io.ReadFull(c.in, prefix[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(prefix[:])) - 4
	if size < 0 || size > maxFrame {
		return nil, fmt.Errorf("an answer of %d bytes", size)
	}
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	_, err := io.ReadFull(c.in, buf)
	return buf, err
}

// leaders returns the address of each partition's leader.
func leaders(ctx context.Context, cfg config) ([]string, error) {
	c, err := dial(ctx, cfg.broker)
	if err != nil {
		return nil, err
	}
	defer c.net.Close() //nolint:errcheck // nothing was written that could be lost
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(cfg.topic)
	req.Topics = append(req.Topics, t)
	resp, err := c.call(req, 7)
	if err != nil {
		return nil, err
	}
	m := resp.(*kmsg.MetadataResponse)
	brokers := map[int32]string{}
	for _, b := range m.Brokers {
		brokers[b.NodeID] = net.JoinHostPort(b.Host, fmt.Sprint(b.Port))
	}
	if err := kerr.ErrorForCode(m.Topics[0].ErrorCode); err != nil {
		return nil, err
	}
	out := make([]string, len(m.Topics[0].Partitions))
	for _, p := range m.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return nil, err
		}
		out[p.Partition] = brokers[p.Leader]
	}
	return out, nil
}

// prepare makes the topic where it is missing, and waits for its leaders.
func prepare(ctx context.Context, cfg config) error {
	c, err := dial(ctx, cfg.broker)
	if err != nil {
		return err
	}
	defer c.net.Close() //nolint:errcheck // nothing was written that could be lost
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = cfg.topic, int32(cfg.partitions), int16(cfg.replicas)
	set := func(name, value string) {
		option := kmsg.NewCreateTopicsRequestTopicConfig()
		option.Name, option.Value = name, kmsg.StringPtr(value)
		t.Configs = append(t.Configs, option)
	}
	set("max.message.bytes", fmt.Sprint(2*cfg.batchBytes+1<<20)) // batches are larger than their values
	if cfg.durability != "" {
		set("moldau.durability", cfg.durability)
	}
	req.Topics = append(req.Topics, t)
	resp, err := c.call(req, 4)
	if err != nil {
		return err
	}
	code := resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode
	if err := kerr.ErrorForCode(code); err != nil && code != kerr.TopicAlreadyExists.Code {
		return err
	}
	for {
		found, err := leaders(ctx, cfg)
		if err == nil && len(found) < cfg.partitions {
			err = kerr.UnknownTopicOrPartition
		}
		if err == nil {
			err = lead(ctx, cfg, found)
		}
		if err == nil {
			return nil
		}
		if !kerr.IsRetriable(err) {
			return err
		}
	}
}

// lead asks the leaders for the ends of their partitions: a broker may be named
// before it knows that it leads.
func lead(ctx context.Context, cfg config, addrs []string) error {
	by := map[string]*kmsg.ListOffsetsRequest{}
	for n, addr := range addrs {
		req := by[addr]
		if req == nil {
			req = kmsg.NewPtrListOffsetsRequest()
			req.ReplicaID = -1
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = cfg.topic
			req.Topics = append(req.Topics, t)
			by[addr] = req
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = int32(n), -1
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	for addr, req := range by {
		c, err := dial(ctx, addr)
		if err != nil {
			return err
		}
		resp, err := c.call(req, 4)
		_ = c.net.Close() // nothing was written that could be lost
		if err != nil {
			return err
		}
		for _, p := range resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
