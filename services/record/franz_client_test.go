package record

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// listener is a broker in as few words as franz-go's client takes: it says
// where the topic is, and hands on the batches produced to it.
type listener struct{ batches chan []byte }

func (l listener) dial(context.Context, string, string) (net.Conn, error) {
	client, broker := net.Pipe()
	go l.serve(broker)
	return client, nil
}

func (l listener) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		// key int16, version int16, correlation id int32, client id string
		req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(frame)))
		req.SetVersion(int16(binary.BigEndian.Uint16(frame[2:])))
		body := frame[10+binary.BigEndian.Uint16(frame[8:]):]
		if err := req.ReadFrom(body); err != nil {
			return
		}
		resp := l.answer(req).AppendTo(append(make([]byte, 4), frame[4:8]...))
		binary.BigEndian.PutUint32(resp, uint32(len(resp)-4))
		if _, err := c.Write(resp); err != nil {
			return
		}
	}
}

func (l listener) answer(req kmsg.Request) kmsg.Response {
	resp := req.ResponseKind()
	switch resp := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for key, highest := range map[int16]int16{0: 7, 3: 7, 18: 2, 22: 1} {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: highest})
		}
	case *kmsg.MetadataResponse:
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "broker", Port: 9092}}
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = kmsg.StringPtr("t")
		topic.Partitions = []kmsg.MetadataResponseTopicPartition{{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}}}
		resp.Topics = []kmsg.MetadataResponseTopic{topic}
	case *kmsg.InitProducerIDResponse:
		resp.ProducerID, resp.ProducerEpoch = 77, 3
	case *kmsg.ProduceResponse:
		sent := req.(*kmsg.ProduceRequest).Topics[0]
		l.batches <- bytes.Clone(sent.Partitions[0].Records)
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic = sent.Topic
		topic.Partitions = []kmsg.ProduceResponseTopicPartition{kmsg.NewProduceResponseTopicPartition()}
		resp.Topics = []kmsg.ProduceResponseTopic{topic}
	}
	return resp
}

// produceWithFranzGo returns the batch that franz-go's client sends for records.
func produceWithFranzGo(t *testing.T, codec kgo.CompressionCodec, records []Record) []byte {
	t.Helper()
	l := listener{batches: make(chan []byte, 1)}
	cl, err := kgo.NewClient(
		kgo.SeedBrokers("broker:9092"),
		kgo.Dialer(l.dial),
		kgo.MaxVersions(kversion.V2_1_0()),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var sent []*kgo.Record
	for i := range records {
		r := &kgo.Record{Topic: "t", Timestamp: time.UnixMilli(records[i].Timestamp), Key: records[i].Key, Value: records[i].Value}
		for _, h := range records[i].Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		sent = append(sent, r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := cl.ProduceSync(ctx, sent...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return <-l.batches
}

func TestLeaderTakesWhatTheFranzGoClientSends(t *testing.T) {
	records := someRecords()
	for i := range records {
		records[i].Offset = int64(i)
	}
	for codec, kcodec := range map[Codec]kgo.CompressionCodec{
		None: kgo.NoCompression(), Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(),
		LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
	} {
		t.Run(codec.String(), func(t *testing.T) {
			batch := produceWithFranzGo(t, kcodec, records)
			h, err := ValidateProduced(batch, ProduceRules{Deep: true})
			if err != nil || h.Codec() != codec || h.ProducerID != 77 {
				t.Fatalf("%+v: %v", h, err)
			}
			if diff := cmp.Diff(records, collect(t, batch)); diff != "" {
				t.Fatal(diff)
			}
			opts := BuilderOptions{ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, BaseSequence: h.BaseSequence}
			if want := build(t, opts, records...); codec == None && !bytes.Equal(batch, want) {
				t.Fatalf("franz-go sent %x\nwe build     %x", batch, want)
			}
		})
	}
}
