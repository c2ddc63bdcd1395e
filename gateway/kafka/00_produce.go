package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/gateway/guard"
	"moldau.dev/gateway/quota"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// Produce appends one batch to each named partition.
//
// Versions 3–13; 0 is advertised as the lowest, because old librdkafka turns
// compression off where it does not see it (KAFKA-18659). Topics go by id from
// 13 on. acks 0 is not answered, and an error of it closes the connection.
// Batches stay as they came, in the frame. A batch with a producer id is
// appended once however often it is sent, so it is tried again where a node
// did not answer; others are not.
//
// While a batch waits for replicas or a disk, the next request is read, if the
// leader is in this process: what it appends comes after.
//
// Where a leader moved while a request was under way, the answer names the new
// one (KIP-951). Batches of a transaction are appended once its coordinator has
// said that the partition is in it; from version 12 on that adds it (KIP-890).
func produceAPI() api {
	zero := int16(0)
	return api{key: keyProduce, name: "Produce", min: 3, max: 13, advertised: &zero, flexible: 9, serve: produce}
}

// errSilent closes a connection whose acks=0 produce failed, which is how a
// producer that waits for no answer hears of it.
var errSilent = errors.New("a produce without acks failed")

// produced is one Produce request.
type produced struct {
	transactionalID string
	acks            int16
	timeout         time.Duration
	topics          []producedTopic
	parts           []producedPart

	txn *guard.Transaction // of the transactional batches, nil without any
}

type producedTopic struct {
	name  string // below version 13
	id    topicid.ID
	parts int // how many of parts are of this topic
}

type producedPart struct {
	index  int32
	batch  []byte
	id     storageclient.PartitionID
	result storageclient.AppendResult
	code   int16
	err    error                   // whose text goes with code
	header [record.HeaderSize]byte // as it came: nodes write into it
	safe   bool                    // to send again where it may have been taken
	inTxn  bool                    // of a transaction
	epoch  int32                   // of the leader when the request came
}

// The smallest elements on the wire, in bytes, bound what is allocated.
const (
	smallestTopic     = 2
	smallestPartition = 5
)

func readProduce(req *request) (*produced, error) {
	r := reader{b: req.body, flexible: req.flexible}
	p := &produced{transactionalID: string(r.string()), acks: r.int16(), timeout: time.Duration(r.int32()) * time.Millisecond}
	topics := max(r.count(), 0)
	if err := req.room(topics, len(r.b)/smallestTopic); err != nil {
		return nil, err
	}
	p.topics = make([]producedTopic, 0, topics)
	for range topics {
		var t producedTopic
		if req.version >= 13 {
			t.id = r.id()
		} else {
			t.name = string(r.string())
		}
		t.parts = max(r.count(), 0)
		if err := req.room(t.parts, len(r.b)/smallestPartition); err != nil {
			return nil, err
		}
		p.parts = slices.Grow(p.parts, t.parts)
		for range t.parts {
			part := producedPart{index: r.int32(), batch: r.bytes()}
			part.result.LogStartOffset = -1 // until a node tells
			r.tags()
			if r.bad {
				return nil, errMalformed
			}
			p.parts = append(p.parts, part)
		}
		r.tags()
		p.topics = append(p.topics, t)
	}
	r.tags()
	if r.bad {
		return nil, errMalformed
	}
	return p, nil
}

func produce(c *conn, ctx context.Context, req *request) (*response, error) {
	p, err := readProduce(req)
	if err != nil {
		return nil, err
	}
	p.check(c.s.meta.View(), req.version)
	p.checkTransaction(c.s, req.version)
	if p.acks != -1 { // it waits for nobody
		p.append(ctx, c.s, nil)
		c.settle()
		return p.answer(c, req)
	}
	ordered, appended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(appended)
		defer c.caught()
		p.append(ctx, c.s, sync.OnceFunc(func() { close(ordered) }))
	}()
	select {
	case <-ordered:
		return &response{later: func() (*response, error) {
			<-appended
			return p.answer(c, req)
		}}, nil
	case <-appended:
		c.settle()
		return p.answer(c, req)
	}
}

// answer makes the answer to what was appended, or was not.
func (p *produced) answer(c *conn, req *request) (*response, error) {
	p.translate(req.version)
	c.use(quota.ProducerBytes, len(req.frame.b))
	if p.acks != 0 {
		return p.response(req, c.s.brokers(), c.throttleMillis()), nil
	}
	for i := range p.parts {
		if code := p.parts[i].code; code != 0 {
			return nil, fmt.Errorf("%w: %w", errSilent, kerr.ErrorForCode(code))
		}
	}
	return nil, nil
}

func (p *produced) response(req *request, b *brokers, throttleMs int32) *response {
	w := req.newResponse()
	w.count(len(p.topics))
	parts := p.parts
	var hints []*hint
	for i := range p.topics {
		t := &p.topics[i]
		if req.version >= 13 {
			w.id(t.id)
		} else {
			w.string(t.name)
		}
		w.count(t.parts)
		for j := range parts[:t.parts] {
			h := parts[j].hint(req.version, b)
			if h != nil {
				hints = append(hints, h)
			}
			parts[j].write(&w, req.version, h)
		}
		parts = parts[t.parts:]
		w.noTags()
	}
	w.int32(throttleMs)
	if len(hints) > 0 {
		b.writeEndpoints(&w, hints)
	} else {
		w.noTags()
	}
	return finish(&w, nil, nil)
}

// hint tells of the present leader, where another one led when the request
// came and did not take the batch.
func (part *producedPart) hint(version int16, b *brokers) *hint {
	if version < 10 || part.code != kerr.NotLeaderForPartition.Code {
		return nil
	}
	t := b.view.TopicsByID[part.id.Topic]
	if t == nil || t.Partitions[part.id.Index].LeaderEpoch <= part.epoch || t.Partitions[part.id.Index].Leader < 0 {
		return nil
	}
	return &hint{leader: b.leader(t, part.id.Index), epoch: t.Partitions[part.id.Index].LeaderEpoch}
}

// hintTag holds the hint in a partition of a Produce response.
const hintTag = 0

func (part *producedPart) write(w *writer, version int16, h *hint) {
	res := part.result
	if part.code != 0 {
		res = storageclient.AppendResult{BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: res.LogStartOffset}
	}
	w.int32(part.index)
	w.int16(part.code)
	w.int64(res.BaseOffset)
	w.int64(res.LogAppendTimeMs)
	if version >= 5 {
		w.int64(res.LogStartOffset)
	}
	if version >= 8 {
		part.writeErrors(w)
	}
	if h != nil {
		h.write(w, hintTag)
	} else {
		w.noTags()
	}
}

// writeErrors names the record that is to blame, where there is one (KIP-467).
func (part *producedPart) writeErrors(w *writer) {
	text := ""
	if part.err != nil {
		text = clip(errcode.Of(part.err).Message)
	}
	index, blamed := blamedRecord(part.err)
	if !blamed {
		w.count(0)
	} else {
		w.count(1)
		w.int32(index)
		w.nullable(text)
		w.noTags()
	}
	w.nullable(text)
}

func blamedRecord(err error) (int32, bool) {
	if err == nil {
		return 0, false
	}
	n, bad := strconv.ParseInt(errcode.Of(err).Metadata["record_index"], 10, 32)
	return int32(n), bad == nil
}

// clip bounds a text for a client to what a string can hold.
func clip(s string) string { return s[:min(len(s), math.MaxInt16)] }
