package native

import (
	"context"
	"errors"
	"fmt"
	"math"

	"moldau.dev/gateway/routing"
	"moldau.dev/metadata/metadataclient"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/record"
	"moldau.dev/services/topicconfig"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

const maxRecords = 100_000

var acksOf = map[moldauv1.Acks]storageclient.Acks{
	moldauv1.Acks_ACKS_UNSPECIFIED: storageclient.AcksAll,
	moldauv1.Acks_ACKS_ALL:         storageclient.AcksAll,
	moldauv1.Acks_ACKS_LEADER:      storageclient.AcksLeader,
	moldauv1.Acks_ACKS_NONE:        storageclient.AcksNone,
}

var codecOf = map[moldauv1.Compression]record.Codec{
	moldauv1.Compression_COMPRESSION_UNSPECIFIED: record.None,
	moldauv1.Compression_COMPRESSION_NONE:        record.None,
	moldauv1.Compression_COMPRESSION_GZIP:        record.Gzip,
	moldauv1.Compression_COMPRESSION_SNAPPY:      record.Snappy,
	moldauv1.Compression_COMPRESSION_LZ4:         record.LZ4,
	moldauv1.Compression_COMPRESSION_ZSTD:        record.Zstd,
}

// topicConfig is what produce must know of a topic's configs.
type topicConfig struct {
	version  int64
	maxBatch int
	codec    record.Codec
	chosen   bool // the topic chooses the codec, not the producer
}

func (s *Server) topicConfig(t *metadataclient.Topic) *topicConfig {
	if have, ok := s.configs.Load(t.ID); ok && have.(*topicConfig).version == t.Version {
		return have.(*topicConfig)
	}
	c, err := topicconfig.Parse(t.Configs)
	if err != nil {
		c = topicconfig.Default() // the leader judges; an override of a newer version is no reason to refuse
	}
	made := &topicConfig{version: t.Version, maxBatch: int(min(c.MaxMessageBytes, c.SegmentBytes))}
	if codec, err := record.ParseCodec(c.CompressionType); err == nil {
		made.codec, made.chosen = codec, true
	}
	s.configs.Store(t.ID, made)
	return made
}

// forget drops what is kept for topics that are gone.
func (s *Server) forget(v *metadataclient.View) {
	keep := func(id topicid.ID) bool { return v.TopicsByID[id] != nil }
	s.sticky.Forget(keep)
	s.configs.Range(func(id, _ any) bool {
		if !keep(id.(topicid.ID)) {
			s.configs.Delete(id)
		}
		return true
	})
}

// checkProduce checks all of a request that needs no topic.
func (s *Server) checkProduce(req *moldauv1.ProduceRequest) error {
	if _, ok := acksOf[req.GetAcks()]; !ok {
		return errcode.New(errcode.InvalidAcks, "acks %d is not known", req.GetAcks()).WithField("acks")
	}
	if _, ok := codecOf[req.GetCompression()]; !ok {
		return errcode.New(errcode.UnsupportedCompression, "compression %d is not known", req.GetCompression()).WithField("compression")
	}
	if err := checkPlace(req); err != nil {
		return err
	}
	if err := checkTransactional(req); err != nil {
		return err
	}
	if len(req.GetRecordBatch()) > 0 {
		return s.checkBatchRequest(req)
	}
	n := len(req.GetRecords())
	if n == 0 || n > maxRecords {
		return invalid("records", "%d records, 1 to %d are allowed", n, maxRecords)
	}
	size := 0
	for i, r := range req.GetRecords() {
		if err := checkRecord(i, r); err != nil {
			return err
		}
		size += len(r.GetKey()) + len(r.GetValue())
		if size > s.cfg.MaxRequestBytes {
			return errcode.New(errcode.RecordTooLarge, "more than %d bytes of records", s.cfg.MaxRequestBytes).WithField("records")
		}
	}
	return nil
}

// checkPlace checks what needs a partition, and the partition.
func checkPlace(req *moldauv1.ProduceRequest) error {
	if req.Partition == nil {
		for field, given := range map[string]bool{
			"record_batch": len(req.GetRecordBatch()) > 0, "producer": req.GetProducer() != nil, "expected_offset": req.ExpectedOffset != nil,
		} {
			if given {
				return invalid("partition", "%s needs a partition", field)
			}
		}
	}
	if req.ExpectedOffset != nil && req.GetExpectedOffset() < 0 {
		return invalid("expected_offset", "%d is negative", req.GetExpectedOffset())
	}
	p := req.GetProducer()
	switch {
	case p == nil:
		return nil
	case p.GetProducerId() < 0:
		return invalid("producer.producer_id", "%d is negative", p.GetProducerId())
	case p.GetProducerEpoch() < 0 || p.GetProducerEpoch() > math.MaxInt16:
		return invalid("producer.producer_epoch", "%d is not within 0 to %d", p.GetProducerEpoch(), math.MaxInt16)
	case p.GetSequence() < 0:
		return invalid("producer.sequence", "%d is negative", p.GetSequence())
	}
	return nil
}

func (s *Server) checkBatchRequest(req *moldauv1.ProduceRequest) error {
	const field = "record_batch"
	switch {
	case len(req.GetRecords()) > 0:
		return invalid(field, "records and record_batch exclude each other")
	case req.GetProducer() != nil:
		return invalid("producer", "a record_batch carries its own producer")
	case len(req.GetRecordBatch()) > s.cfg.MaxRequestBytes:
		return errcode.New(errcode.RecordTooLarge, "a batch of %d bytes, at most %d are allowed", len(req.GetRecordBatch()), s.cfg.MaxRequestBytes).WithField(field)
	}
	_, rest, h, err := record.Next(req.GetRecordBatch())
	switch {
	case errors.Is(err, record.ErrPartial):
		return errcode.New(errcode.CorruptRecord, "the batch ends early").WithField(field)
	case err != nil:
		return errcode.Of(invalidBatch(err)).WithField(field)
	case len(rest) > 0:
		return errcode.New(errcode.InvalidRecord, "%d bytes follow the batch", len(rest)).WithField(field)
	case h.Control():
		return errcode.New(errcode.InvalidRecord, "a client may not send a control batch").WithField(field)
	case h.Transactional() != (req.GetTransaction() != nil):
		return errcode.New(errcode.InvalidRecord, "a transactional batch goes with a transaction, and no other does").WithField(field)
	case h.Transactional() && (h.ProducerID != req.GetTransaction().GetProducerId() || int32(h.ProducerEpoch) != req.GetTransaction().GetProducerEpoch()):
		return errcode.New(errcode.InvalidRecord, "the batch is of producer %d/%d, which is not the transaction's", h.ProducerID, h.ProducerEpoch).WithField(field)
	case h.Count < 1:
		return errcode.New(errcode.InvalidRecord, "the batch says that it has %d records", h.Count).WithField(field)
	}
	return nil
}

func checkRecord(i int, r *moldauv1.Record) error {
	if r == nil {
		return invalid(fmt.Sprintf("records[%d]", i), "no record")
	}
	if ts := r.GetTimestamp(); ts != nil {
		if err := ts.CheckValid(); err != nil || ts.GetSeconds() < 0 {
			return errcode.New(errcode.InvalidTimestamp, "the timestamp is not a time from 1970 on").WithField(fmt.Sprintf("records[%d].timestamp", i))
		}
	}
	for j, h := range r.GetHeaders() {
		if len(h.GetKey()) > maxHeaderKeyBytes {
			return invalid(fmt.Sprintf("records[%d].headers[%d].key", i, j), "%d bytes, at most %d are allowed", len(h.GetKey()), maxHeaderKeyBytes)
		}
	}
	return nil
}

// share is one partition's part of a request: what goes into one batch.
type share struct {
	partition int32
	indexes   []int32 // into the request's records; nil where all went here
	records   []record.Record
	size      int
}

// split gives each record its partition and cuts what is too much for one
// batch. The shares of one partition are in the order of its records.
func (s *Server) split(ctx context.Context, t *metadataclient.Topic, req *moldauv1.ProduceRequest, maxBatch int) ([]*share, error) {
	now := s.clk.Now().UnixMilli()
	whole := req.GetProducer() != nil || req.ExpectedOffset != nil // one batch or none
	traced := s.traceHeader(ctx, req.GetRecords(), whole, maxBatch)
	keyless := int32(-1)
	open := map[int32]*share{}
	var shares []*share
	for i, in := range req.GetRecords() {
		r := toRecord(in, now)
		size := traced.carry(&r)
		partition := req.GetPartition()
		switch {
		case req.Partition != nil:
		case r.Key != nil:
			partition = routing.PartitionForKey(r.Key, len(t.Partitions))
		default:
			if keyless < 0 {
				keyless = s.sticky.Partition(t, keylessBytes(req.GetRecords()))
			}
			partition = keyless
		}
		if size+record.HeaderSize > maxBatch+recordOverhead {
			return nil, errcode.New(errcode.RecordTooLarge, "a record of about %d bytes, the topic takes batches of %d", size, maxBatch).
				WithField(fmt.Sprintf("records[%d]", i)).With("max_message_bytes", maxBatch)
		}
		to := open[partition]
		if to == nil || (!whole && to.size+size > maxBatch) {
			to = &share{partition: partition, size: record.HeaderSize}
			open[partition] = to
			shares = append(shares, to)
		}
		to.records, to.size = append(to.records, r), to.size+size
		to.indexes = append(to.indexes, int32(i))
	}
	if len(shares) == 1 {
		shares[0].indexes = nil
	}
	return shares, nil
}

func keylessBytes(records []*moldauv1.Record) (n int) {
	for _, r := range records {
		if r.GetKey() == nil {
			n += recordOverhead + len(r.GetValue())
		}
	}
	return n
}
