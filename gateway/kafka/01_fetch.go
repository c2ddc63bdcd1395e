package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.dev/gateway/quota"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/record"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// Fetch reads whole batches, waiting for bytes or time.
//
// Versions 4–18, with sessions (KIP-227) from 7 on and topics by id from 13
// on. The first batch is given whatever its size (KIP-74); min_bytes counts
// over all partitions and up to the high watermark; an error answers at once.
// Leader epochs are compared with those that Metadata shows (KIP-320), and where
// a client's last record is of another epoch than the log's, the answer is where
// they part (KIP-595, 12 on). Committed reads end at the last stable offset and
// come with what was aborted, by first offset; others with null. Batches go from
// storage's buffers to the socket, or, many of them and where the leader is in
// this process, straight from its files.
//
// Gaps: no reading from followers (KIP-392).
func fetchAPI() api {
	return api{key: 1, name: "Fetch", min: 4, max: 18, flexible: 12, serve: fetch}
}

const (
	// readsZstd is the first version whose clients know the codec.
	readsZstd     = 10
	maxFetchBytes = 55 << 20 // fetch.max.bytes
	maxFetchWait  = 10 * time.Minute
	// fetchPatience is how long a Fetch looks for leaders that are not where
	// the view says.
	fetchPatience = 2 * time.Second
)

// fetched is one Fetch request.
type fetched struct {
	s              *Server
	c              *conn
	version        int16
	replica        int32
	maxWait        time.Duration
	minBytes       int
	maxBytes       int
	committed      bool
	session, epoch int32
	parts          []fetchPart
	forgotten      []partKey
}

// partKey names a partition as the client does: by name below version 13, then
// by id.
type partKey struct {
	name  string
	id    topicid.ID
	index int32
}

// fetchPart is one partition that a client reads, and what came of it.
type fetchPart struct {
	partKey
	epoch    int32
	last     int32 // epoch of the client's last record, or -1
	offset   int64
	maxBytes int

	where  storageclient.PartitionID
	result storageclient.FetchResult
	code   int16
	hint   *hint // whom to ask instead (KIP-951)

	// What the session's client knows.
	told struct{ highWatermark, logStart int64 }
}

func readFetch(req *request) (*fetched, error) {
	r := reader{b: req.body, flexible: req.flexible}
	f := &fetched{version: req.version, replica: -1, epoch: finalEpoch}
	if req.version < 15 {
		f.replica = r.int32()
	}
	f.maxWait = time.Duration(r.int32()) * time.Millisecond
	f.minBytes, f.maxBytes = int(r.int32()), int(r.int32())
	f.committed = r.int8() == 1
	if req.version >= 7 {
		f.session, f.epoch = r.int32(), r.int32()
	}
	if err := f.readTopics(req, &r, func(k partKey) {
		f.parts = append(f.parts, readFetchPart(&r, k, req.version))
	}); err != nil {
		return nil, err
	}
	if req.version >= 7 {
		if err := f.readTopics(req, &r, func(k partKey) {
			k.index = r.int32()
			f.forgotten = append(f.forgotten, k)
		}); err != nil {
			return nil, err
		}
	}
	if req.version >= 11 {
		r.string() // rack
	}
	r.tags()
	if r.bad {
		return nil, errMalformed
	}
	f.maxWait = min(max(f.maxWait, 0), maxFetchWait)
	f.maxBytes = min(max(f.maxBytes, 0), maxFetchBytes)
	f.minBytes = min(max(f.minBytes, 0), f.maxBytes)
	return f, nil
}

// readTopics reads an array of topics, calling part where a partition of one
// stands.
func (f *fetched) readTopics(req *request, r *reader, part func(partKey)) error {
	topics := max(r.count(), 0)
	if err := req.room(topics, len(r.b)/smallestTopic); err != nil {
		return err
	}
	for range topics {
		var k partKey
		if req.version >= 13 {
			k.id = r.id()
		} else {
			k.name = string(r.string())
		}
		parts := max(r.count(), 0)
		if err := req.room(parts, len(r.b)/4); err != nil {
			return err
		}
		for range parts {
			if part(k); r.bad {
				return errMalformed
			}
		}
		r.tags()
	}
	return nil
}

func readFetchPart(r *reader, k partKey, version int16) fetchPart {
	k.index = r.int32()
	p := fetchPart{partKey: k, epoch: -1, last: -1}
	if version >= 9 {
		p.epoch = r.int32()
	}
	p.offset = r.int64()
	if version >= 12 {
		p.last = r.int32()
	}
	if version >= 5 {
		r.int64() // log start of a follower
	}
	p.maxBytes = max(int(r.int32()), 0)
	r.tags()
	return p
}

func fetch(c *conn, ctx context.Context, req *request) (*response, error) {
	f, err := readFetch(req)
	if err != nil {
		return nil, err
	}
	f.s, f.c = c.s, c
	sess, code := c.s.sessions.enter(f)
	if code != 0 {
		return f.response(req, code, 0, nil, nil), nil
	}
	if sess == nil {
		parts := distinctParts(f.parts)
		releases := c.s.fetch(ctx, f, parts)
		return f.response(req, 0, 0, parts, releases), nil
	}
	defer sess.mu.Unlock()
	releases := c.s.fetch(ctx, f, sess.parts)
	changed := sess.changed(f.epoch == initialEpoch)
	out := f.response(req, 0, sess.id, changed, releases)
	sess.served()
	return out, nil
}

// distinctParts drops what is named again, as Kafka does.
func distinctParts(in []fetchPart) []*fetchPart {
	out := make([]*fetchPart, 0, len(in))
	if len(in) == 1 {
		return append(out, &in[0])
	}
	seen := make(map[partKey]bool, len(in))
	for i := range in {
		if !seen[in[i].partKey] {
			seen[in[i].partKey] = true
			out = append(out, &in[i])
		}
	}
	return out
}

// fetch fills in what each partition gives. The caller calls the releases once
// the batches are written.
func (s *Server) fetch(ctx context.Context, f *fetched, parts []*fetchPart) (releases []func()) {
	view := s.meta.View()
	var readable []*fetchPart
	for _, p := range parts {
		if p.find(view, f); p.code == 0 {
			readable = append(readable, p)
		}
	}
	if len(readable) == 0 {
		return nil
	}
	if len(readable) < len(parts) {
		f.maxWait = 0 // an error is told at once
	}
	p := poll{s: s, f: f, parts: readable}
	p.run(ctx)
	for _, part := range readable {
		if f.version < readsZstd && part.code == 0 && holdsZstd(part.result.Batches) {
			part.fail(kerr.UnsupportedCompressionType.Code)
		}
	}
	return p.releases
}

// find sets where the partition is, or the code that says why it is nowhere.
func (p *fetchPart) find(view *metadataclient.View, f *fetched) {
	p.code, p.hint, p.result = 0, nil, storageclient.FetchResult{}
	t, unknown := view.Topics[p.name], kerr.UnknownTopicOrPartition.Code
	if f.version >= 13 {
		t, unknown = view.TopicsByID[p.id], kerr.UnknownTopicID.Code
	}
	switch {
	case t == nil:
		p.fail(unknown)
		return
	case f.replica >= 0:
		p.fail(kerr.TopicAuthorizationFailed.Code) // replicas have their own way
		return
	}
	if p.where, p.code = partitionOf(t, p.index); p.code == 0 {
		p.code = checkEpoch(t, p.index, p.epoch)
	}
	if p.code == kerr.FencedLeaderEpoch.Code {
		p.hint = &hint{leader: f.s.brokers().leader(t, p.index), epoch: t.Partitions[p.index].LeaderEpoch}
	}
	if p.code != 0 {
		p.fail(p.code)
	}
}

func (p *fetchPart) fail(code int16) {
	p.code = code
	p.result = storageclient.FetchResult{HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1}
}

// holdsZstd tells whether batches hold one that Fetch 10 was made for.
func holdsZstd(batches []byte) bool {
	for len(batches) > 0 {
		h, err := record.ParseHeader(batches)
		if err != nil || h.Size() > len(batches) {
			return false
		}
		if h.Codec() == record.Zstd {
			return true
		}
		batches = batches[h.Size():]
	}
	return false
}

func (p *fetchPart) take(r *storageclient.FetchResult) {
	if r.Err == nil {
		p.code, p.result = 0, *r
		return
	}
	p.fail(fetchCodeOf(r.Err))
}

// response writes the answer: topics in the order of parts, consecutive ones
// of a topic together.
func (f *fetched) response(req *request, code int16, session int32, parts []*fetchPart, releases []func()) *response {
	w := req.newResponse()
	size := 0
	for _, p := range parts {
		size += p.result.Size()
	}
	f.c.use(quota.ConsumerBytes, size)
	w.int32(f.c.throttleMillis())
	if f.version >= 7 {
		w.int16(code)
		w.int32(session)
	}
	var batches []insert
	w.count(topicRuns(parts))
	for from := 0; from < len(parts); {
		end := runEnd(parts, from)
		if f.version >= 13 {
			w.id(parts[from].id)
		} else {
			w.string(parts[from].name)
		}
		w.count(end - from)
		for _, p := range parts[from:end] {
			batches = f.writePart(&w, p, batches)
		}
		w.noTags()
		from = end
	}
	f.writeEndpoints(&w, parts)
	return finish(&w, batches, releases)
}

func runEnd(parts []*fetchPart, from int) int {
	end := from + 1
	for end < len(parts) && parts[end].name == parts[from].name && parts[end].id == parts[from].id {
		end++
	}
	return end
}

func topicRuns(parts []*fetchPart) (n int) {
	for from := 0; from < len(parts); from = runEnd(parts, from) {
		n++
	}
	return n
}

// copiedBytes is the size up to which batches are copied into the head: less
// than a vector of its own costs.
const copiedBytes = 1 << 10

func (f *fetched) writePart(w *writer, p *fetchPart, batches []insert) []insert {
	r := &p.result
	w.int32(p.index)
	w.int16(p.code)
	w.int64(r.HighWatermark)
	w.int64(r.LastStableOffset)
	if f.version >= 5 {
		w.int64(r.LogStartOffset)
	}
	f.writeAborted(w, p)
	if f.version >= 11 {
		w.int32(-1) // preferred read replica
	}
	w.bytesLength(r.Size())
	switch {
	case r.Slice.Size > 0:
		batches = append(batches, insert{at: len(w.b), slice: r.Slice})
	case len(r.Batches) > copiedBytes:
		batches = append(batches, insert{at: len(w.b), piece: r.Batches})
	default:
		w.b = append(w.b, r.Batches...)
	}
	switch {
	case r.Diverging != nil && w.flexible:
		writeDiverging(w, r.Diverging)
	case p.hint != nil && w.flexible:
		p.hint.write(w, currentLeaderTag)
	default:
		w.noTags()
	}
	return batches
}

// The tags of a partition of a Fetch response: where logs part, and the hint.
const (
	divergingTag     = 0
	currentLeaderTag = 1
)

func writeDiverging(w *writer, end *storageclient.EpochEnd) {
	w.uvarint(1) // one tagged field
	w.uvarint(divergingTag)
	w.uvarint(4 + 8 + 1)
	w.int32(end.Epoch)
	w.int64(end.EndOffset)
	w.noTags()
}

// writeEndpoints ends the response: with the addresses of the leaders that were
// hinted at (KIP-951).
func (f *fetched) writeEndpoints(w *writer, parts []*fetchPart) {
	var hints []*hint
	for _, p := range parts {
		if p.hint != nil {
			hints = append(hints, p.hint)
		}
	}
	if len(hints) == 0 || f.version < 16 {
		w.noTags()
		return
	}
	f.s.brokers().writeEndpoints(w, hints)
}

func (f *fetched) writeAborted(w *writer, p *fetchPart) {
	if !f.committed {
		w.count(-1)
		return
	}
	w.count(len(p.result.Aborted))
	for _, a := range p.result.Aborted {
		w.int64(a.ProducerID)
		w.int64(a.FirstOffset)
		w.noTags()
	}
}
