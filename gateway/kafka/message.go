package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/storage-node/storageclient"
)

// minHeader is the shortest request header: key, version, correlation id.
const minHeader = 8

// errUnserved closes a connection that asks for what ApiVersions does not
// offer, as Kafka does: nothing could be answered.
var errUnserved = errors.New("not served")

// request is one request, parsed up to its body. Its bytes lie in the frame.
type request struct {
	api         *api
	version     int16
	correlation int32
	clientID    string
	flexible    bool
	body        []byte
	frame       *frame // that all this lies in
	elements    int    // of its arrays, so far
}

// parseRequest reads the header of a frame: version 1, or 2 with tagged fields
// where the request is flexible. The client id is never compact.
func parseRequest(f *frame) (*request, error) {
	r := reader{b: f.b}
	key := r.int16()
	req := &request{version: r.int16(), correlation: r.int32(), frame: f}
	if req.api = find(key); req.api == nil || !f.s.offers(req.api) {
		return nil, fmt.Errorf("%w: key %d", errUnserved, key)
	}
	if !req.api.serves(req.version) {
		if key != keyApiVersions {
			return nil, fmt.Errorf("%w: %s version %d", errUnserved, req.api.name, req.version)
		}
		req.api = unknownApiVersions
		return req, nil // its header may be of any shape
	}
	req.clientID = string(r.legacyString())
	req.flexible = req.version >= req.api.flexible
	r.flexible = req.flexible
	r.tags()
	if r.bad {
		return nil, errMalformed
	}
	req.body = r.b
	return req, nil
}

// decodedElement is about what an element of a request's array takes once it
// is decoded, in bytes.
const decodedElement = 256

// room takes memory for an array of n elements, of which the bytes left have
// room for most, and keeps count of all elements.
func (req *request) room(n, most int) error {
	if req.elements += n; n > most || req.elements > maxElements {
		return errMalformed
	}
	return req.frame.hold(int64(n) * decodedElement)
}

// decode reads the body into a message of the codec, once its shape is known
// to be sound, and there is memory for what it decodes to.
func (req *request) decode(into kmsg.Request) error {
	elements, err := req.api.shape.check(req.body, req.version, req.flexible)
	if err != nil {
		return err
	}
	if err := req.room(elements, maxElements); err != nil {
		return err
	}
	into.SetVersion(req.version)
	// A copy: the codec's byte fields lie in what it reads, coordinators keep
	// them, and the frame's buffer goes to the next request.
	if err := into.ReadFrom(bytes.Clone(req.body)); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	return nil
}

// response is one response on its way: a head, and record batches that belong
// between its bytes.
type response struct {
	head     []byte
	batches  []insert
	releases []func() // of what batches lie in

	later func() (*response, error) // waits for the response that this stands for
}

// insert is a piece, or a slice of a file, that follows the first `at` bytes of
// the head.
type insert struct {
	at    int
	piece []byte
	slice storageclient.FileSlice
}

const frameLength = 4

// newResponse returns a writer that stands after the header of a response.
func (req *request) newResponse() writer {
	w := writer{b: buffers.get(512)[:0], flexible: req.flexible}
	w.int32(0) // length, set by finish
	w.int32(req.correlation)
	if req.api.key != keyApiVersions { // whose response header never is flexible
		w.noTags()
	}
	return w
}

// finish closes a response whose head w wrote.
func finish(w *writer, batches []insert, releases []func()) *response {
	size := len(w.b) - frameLength
	for i := range batches {
		size += len(batches[i].piece) + int(batches[i].slice.Size)
	}
	binary.BigEndian.PutUint32(w.b, uint32(size))
	return &response{head: w.b, batches: batches, releases: releases}
}

// encode returns the response that a message of the codec is.
func (req *request) encode(m kmsg.Response) *response {
	w := req.newResponse()
	m.SetVersion(req.version)
	w.b = m.AppendTo(w.b)
	return finish(&w, nil, nil)
}

func (out *response) free() {
	for _, release := range out.releases {
		release()
	}
	buffers.put(out.head)
	out.head, out.batches, out.releases = nil, nil, nil
}
