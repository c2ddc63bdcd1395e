package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/topicconfig"
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
// Where a leader moved while a request was under way, the answer names the new
// one (KIP-951).
//
// Gaps: transactions: a transactional batch is told INVALID_TXN_STATE. No
// throttling.
func produceAPI() api {
	zero := int16(0)
	return api{key: keyProduce, name: "Produce", min: 3, max: 13, advertised: &zero, flexible: 9, serve: produce}
}

// errSilent closes a connection whose acks=0 produce failed, which is how a
// producer that waits for no answer hears of it.
var errSilent = errors.New("a produce without acks failed")

// produced is one Produce request.
type produced struct {
	transactional bool
	acks          int16
	timeout       time.Duration
	topics        []producedTopic
	parts         []producedPart
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
	epoch  int32                   // of the leader when the request came
}

// The smallest elements on the wire, in bytes, bound what is allocated.
const (
	smallestTopic     = 2
	smallestPartition = 5
)

func readProduce(req *request) (*produced, error) {
	r := reader{b: req.body, flexible: req.flexible}
	p := &produced{transactional: r.string() != nil, acks: r.int16(), timeout: time.Duration(r.int32()) * time.Millisecond}
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
	p.append(ctx, c.s)
	if p.acks != 0 {
		return p.response(req, c.s.brokers()), nil
	}
	for i := range p.parts {
		if code := p.parts[i].code; code != 0 {
			return nil, fmt.Errorf("%w: %w", errSilent, kerr.ErrorForCode(code))
		}
	}
	return nil, nil
}

// check finds each partition and refuses what no node needs to see.
func (p *produced) check(view *metadataclient.View, version int16) {
	var seen map[storageclient.PartitionID]bool
	if len(p.parts) > 1 {
		seen = make(map[storageclient.PartitionID]bool, len(p.parts))
	}
	parts := p.parts
	for i := range p.topics {
		in := &p.topics[i]
		t, unknown := view.Topics[in.name], kerr.UnknownTopicOrPartition.Code
		if version >= 13 {
			t, unknown = view.TopicsByID[in.id], kerr.UnknownTopicID.Code
		}
		for j := range parts[:in.parts] {
			part := &parts[j]
			switch {
			case p.acks < -1 || p.acks > 1:
				part.code = kerr.InvalidRequiredAcks.Code
			case t == nil:
				part.code = unknown
			case topicconfig.IsInternal(t.Name):
				part.code = kerr.InvalidTopicException.Code
			default:
				if part.id, part.code = partitionOf(t, part.index); part.code == 0 {
					part.epoch = t.Partitions[part.index].LeaderEpoch
				}
				part.checkBatch(version, p.transactional)
			}
			if part.code != 0 || seen == nil {
				continue
			}
			if seen[part.id] {
				part.refuse(kerr.InvalidRecord, "a partition takes one batch of a request")
			}
			seen[part.id] = true
		}
		parts = parts[in.parts:]
	}
}

func (part *producedPart) refuse(code *kerr.Error, format string, args ...any) {
	part.code, part.err = code.Code, errcode.New(errcode.InvalidRecord, format, args...)
}

// checkBatch looks at what storage cannot know: whether the batch is the only
// one and of a kind that this version may send (ProduceRequest.validateRecords
// of Kafka). Storage checks the rest.
func (part *producedPart) checkBatch(version int16, transactional bool) {
	if part.code != 0 {
		return
	}
	h, err := record.ParseHeader(part.batch)
	switch bad, invalid := errors.AsType[*record.InvalidError](err); {
	case invalid && bad.Reason == record.Corrupt:
		part.refuse(kerr.CorruptMessage, "%v", bad)
	case invalid:
		part.refuse(kerr.InvalidRecord, "%v", bad)
	case err != nil || h.Size() > len(part.batch):
		part.refuse(kerr.InvalidRecord, "not one whole record batch")
	case h.Size() < len(part.batch):
		part.refuse(kerr.InvalidRecord, "more than one record batch")
	case version < 7 && h.Codec() == record.Zstd:
		part.refuse(kerr.UnsupportedCompressionType, "zstd needs Produce 7")
	case h.Transactional() || transactional:
		part.refuse(kerr.InvalidTxnState, "no transaction is open: this cluster has none yet")
	default:
		part.safe = h.Idempotent()
		part.header = [record.HeaderSize]byte(part.batch)
	}
}

var acksOf = map[int16]storageclient.Acks{-1: storageclient.AcksAll, 0: storageclient.AcksNone, 1: storageclient.AcksLeader}

const (
	// leastTimeout leaves room for a disk to sync: Kafka's timeout is for
	// replicas alone.
	leastTimeout = time.Second
	mostTimeout  = 10 * time.Minute
)

// append sends each node its batches in one call, and again what did not reach
// the leader.
func (p *produced) append(ctx context.Context, s *Server) {
	ctx, cancel := context.WithTimeout(ctx, min(max(p.timeout, leastTimeout), mostTimeout))
	defer cancel()
	var ids []storageclient.PartitionID
	var indexes []int
	for i := range p.parts {
		if p.parts[i].code == 0 {
			ids, indexes = append(ids, p.parts[i].id), append(indexes, i)
		}
	}
	if len(ids) == 0 {
		return
	}
	part := func(i int) *producedPart { return &p.parts[indexes[i]] }
	errs := s.ask(ctx, ids, func(i int) bool { return part(i).safe }, func(ctx context.Context, targets []target) error {
		req := &storageclient.AppendRequest{Acks: acksOf[p.acks], Partitions: make([]storageclient.AppendPartition, len(targets))}
		for i := range targets {
			one := part(targets[i].index)
			copy(one.batch, one.header[:]) // a try before may have left its marks
			req.Partitions[i] = storageclient.AppendPartition{PartitionID: one.id, LeaderEpoch: targets[i].Epoch, Batch: one.batch}
		}
		resp, err := targets[0].Append(ctx, req)
		if err != nil {
			return err
		}
		if err := sameCount(len(resp.Results), len(targets)); err != nil {
			return err
		}
		for i := range resp.Results {
			part(targets[i].index).result, targets[i].err = resp.Results[i], resp.Results[i].Err
		}
		return nil
	})
	for i, err := range errs {
		if err != nil {
			part(i).code, part(i).err = produceCodeOf(err), err
		}
	}
}

// produceCodeOf is dataCodeOf, but that a producer whose node does not answer
// shall look for the leader again.
func produceCodeOf(err error) int16 {
	if routing.Unreachable(err) && !errcode.Is(err, errcode.RequestTimedOut) {
		return kerr.NotLeaderForPartition.Code
	}
	return dataCodeOf(err)
}

func (p *produced) response(req *request, b *brokers) *response {
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
	w.int32(0) // throttle
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
		res = storageclient.AppendResult{BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1}
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
