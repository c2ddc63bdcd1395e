package kafka_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway"
)

// The numbers are those of the list of bad inputs.

func TestB1FramesThatLieAboutTheirLength(t *testing.T) {
	c := newCluster(t)
	for _, size := range []int32{-1, 0, 1, 7, 1<<31 - 1, 100<<20 + 1, -1 << 31} {
		w := dial(t, c.addr)
		w.send(binary.BigEndian.AppendUint32(nil, uint32(size)))
		w.closed()
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 1
	whole := append(header(3, 1, 1), req.AppendTo(nil)...)
	short := dial(t, c.addr)
	short.send(frame(whole[:len(whole)-1])) // one byte less than the body needs
	short.closed()
	long := dial(t, c.addr)
	long.send(frame(append(whole, 0))) // one more: Kafka does not mind
	if _, _, err := long.read(); err != nil {
		t.Fatalf("a byte behind the body: %v", err)
	}
}

func TestB1AClaimIsNotPaidInMemory(t *testing.T) {
	c := newCluster(t, gatewayConfig(func(cfg *gateway.Config) { cfg.KafkaMaxInFlightBytes = 200 << 20 }))
	for range 200 { // together they claim 20 GB
		dial(t, c.addr).send(binary.BigEndian.AppendUint32(nil, 100<<20))
	}
	if _, err := dial(t, c.addr).ask(kmsg.NewPtrMetadataRequest()); err != nil {
		t.Fatalf("others are served no more: %v", err)
	}
}

func TestB2ArraysThatClaimMoreThanThereIs(t *testing.T) {
	c := newCluster(t)
	for _, body := range map[string][]byte{
		"metadata": append(header(3, 1, 1), 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0),
		"produce":  append(header(0, 3, 1), 0xff, 0xff, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff),
		"fetch":    append(header(1, 4, 1), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff),
	} {
		w := dial(t, c.addr)
		w.send(frame(body))
		w.closed()
	}
}

func TestB4TagsByTheMillion(t *testing.T) {
	c := newCluster(t)
	for _, key := range []int16{0, 1, 2, 3, 18} {
		b := header(key, map[int16]int16{0: 9, 1: 12, 2: 6, 3: 9, 18: 3}[key], 1)
		w := dial(t, c.addr)
		w.send(frame(append(b, 0xff, 0xff, 0xff, 0xff, 0x0f))) // 2³²−1 tags in the header
		w.closed()
	}
	body := append(header(3, 9, 1), 0) // no tags, then one empty topic with many
	body = append(body, 2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f)
	w := dial(t, c.addr)
	w.send(frame(body))
	w.closed()
}

func TestB5ManySmallElementsAreRefused(t *testing.T) {
	c := newCluster(t)
	body := append(header(3, 1, 1), 0, 0x1e, 0x84, 0x80) // two million topics with empty names
	body = append(body, make([]byte, 4_000_000)...)
	w := dial(t, c.addr)
	w.send(frame(body))
	w.closed()
}

func TestB6StringsOfEveryKind(t *testing.T) {
	c := newCluster(t)
	w := dial(t, c.addr)
	w.send(frame(append(header(3, 1, 1), 0, 0, 0, 1, 0x7f, 0xff, 'x'))) // 32767 bytes, one is there
	w.closed()
	for _, name := range []string{"\xff\xfe", "a\x00b", string(bytes.Repeat([]byte("x"), 32767)), "", ".", "..", "a/b"} {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = 7
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		req.Topics = append(req.Topics, topic)
		if resp := ask[*kmsg.MetadataResponse](c, req); resp.Topics[0].ErrorCode != 17 {
			t.Errorf("topic %.20q: code %d, want 17", name, resp.Topics[0].ErrorCode)
		}
	}
}

func TestB7WhatIsNotServedClosesTheConnection(t *testing.T) {
	c := newCluster(t)
	for _, kv := range [][2]int16{{-1, 0}, {4, 0}, {9999, 0}, {0, 0}, {0, 2}, {0, 14}, {1, 3}, {1, 19}, {3, 14}, {3, -1}, {56, 0}, {67, 0}} {
		w := dial(t, c.addr)
		w.send(frame(header(kv[0], kv[1], 1)))
		w.closed()
	}
	w := dial(t, c.addr)
	w.send(frame(header(3, 9, 1))) // flexible, but its header has no tags
	w.closed()
}

func TestB8PipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	c := newCluster(t)
	const n = 20_000
	w := dial(t, c.addr)
	go func() { _, _ = w.conn.Write(frames(n)) }() // the answers tell whether they came
	for i := range int32(n) {
		got, _, err := w.read()
		if err != nil || got != i {
			t.Fatalf("response %d has correlation id %d: %v", i, got, err)
		}
	}
}

// frames are n ApiVersions requests, one after the other.
func frames(n int) (all []byte) {
	req := kmsg.NewPtrApiVersionsRequest()
	for i := range int32(n) {
		all = append(all, kmsg.NewRequestFormatter().AppendRequest(nil, req, i)...)
	}
	return all
}

func TestB8ASlowClientHarmsNobody(t *testing.T) {
	c := newCluster(t)
	slow := dial(t, c.addr)
	slow.send([]byte{0, 0, 0, 20, 0})
	silent := dial(t, c.addr) // asks for much and reads nothing
	go func() { _, _ = silent.conn.Write(frames(100_000)) }()
	for range 10 {
		if _, err := dial(t, c.addr).ask(kmsg.NewPtrMetadataRequest()); err != nil { // within the wire's deadline
			t.Fatal(err)
		}
	}
}

func TestItem80ConnectionsBeyondTheLimitAreTurnedAway(t *testing.T) {
	c := newCluster(t, gatewayConfig(func(cfg *gateway.Config) { cfg.KafkaMaxConnections = 3 }))
	var first []*wire
	for range 3 {
		w := dial(t, c.addr)
		if _, err := w.ask(kmsg.NewPtrApiVersionsRequest()); err != nil {
			t.Fatal(err)
		}
		first = append(first, w)
	}
	dial(t, c.addr).closed()
	if _, err := first[0].ask(kmsg.NewPtrApiVersionsRequest()); err != nil {
		t.Errorf("one that was there is served no more: %v", err)
	}
}

func TestItem80IdleConnectionsAreClosed(t *testing.T) {
	c := newCluster(t, gatewayConfig(func(cfg *gateway.Config) { cfg.KafkaIdleTimeout = 50 * time.Millisecond }))
	dial(t, c.addr).closed()
}

func TestItem81HalfClosedClientsGetTheirAnswers(t *testing.T) {
	c := newCluster(t)
	w := dial(t, c.addr)
	for range 5 {
		w.write(kmsg.NewPtrApiVersionsRequest())
	}
	check(t, w.conn.(*net.TCPConn).CloseWrite())
	for i := range int32(5) {
		if got, _, err := w.read(); err != nil || got != i+1 {
			t.Fatalf("response %d: correlation id %d, %v", i, got, err)
		}
	}
	w.closed()
}

func TestRequestsUnderWayEndBeforeTheDoorCloses(t *testing.T) {
	f := newFakes(t)
	f.topic("t", 1)
	asked := make(chan struct{}, 2)
	f.storage.BeforeFetch = func() { asked <- struct{}{} }
	s := f.gateway(4)
	w := dial(t, s.KafkaAddr())
	req := fetchOf("t", 0, 0)
	req.MaxWaitMillis, req.MinBytes = 60_000, 1
	w.write(req)
	<-asked
	check(t, s.Stop(t.Context()))
	if _, _, err := w.read(); err != nil { // before the minute is over: the wire gives up earlier
		t.Errorf("the parked fetch was not answered: %v", err)
	}
	w.closed()
}

// fetchOf is a Fetch of one partition, in the last version with names.
func fetchOf(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionEpoch = 12, 1<<20, -1
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = partition, offset, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{part}}}
	return req
}
