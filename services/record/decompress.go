package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// decompress appends what src holds to dst, which may grow to limit bytes at
// most; memory is taken as output appears, never because a frame claims it.
// All of src must be used: bytes after the stream's end are refused. The dst
// returned is never nil, whatever the error.
func decompress(dst []byte, c Codec, src []byte, limit int) ([]byte, *InvalidError) {
	switch c {
	case Gzip:
		return gunzip(dst, src, limit)
	case Snappy:
		return unsnappy(dst, src, limit)
	case LZ4:
		return unlz4(dst, src, limit)
	case Zstd:
		return unzstd(dst, src, limit)
	}
	return dst, invalid(UnsupportedCodec, "%v", c)
}

func undecodable(c Codec, detail string) *InvalidError {
	return invalid(Corrupt, "%v: %s", c, detail)
}

func overLimit(c Codec, limit int) *InvalidError {
	return invalid(TooLarge, "%v: more than %d bytes once decompressed", c, limit)
}

func grow(dst []byte, n int) []byte { return slices.Grow(dst, n) }

// readAll appends all of r to dst, limit bytes at most.
func readAll(dst []byte, c Codec, r io.Reader, hint, limit int) ([]byte, *InvalidError) {
	dst = grow(dst, min(hint, limit)+1)
	for {
		// One byte over the limit tells a full stream from a longer one.
		room := dst[len(dst):min(cap(dst), limit+1)]
		n, err := r.Read(room)
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > limit:
			return dst, overLimit(c, limit)
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, undecodable(c, err.Error())
		case len(dst) == cap(dst):
			dst = grow(dst, min(len(dst), limit+1-len(dst)))
		}
	}
}

// gunzipper and unlz4er pair a decoder with the reader it reads from.
type gunzipper struct {
	src bytes.Reader // an io.ByteReader, so gzip reads no byte past its end
	gz  gzip.Reader
}

var gunzippers = sync.Pool{New: func() any { return new(gunzipper) }}

func gunzip(dst, src []byte, limit int) ([]byte, *InvalidError) {
	z := gunzippers.Get().(*gunzipper)
	defer func() {
		z.src.Reset(nil)
		gunzippers.Put(z)
	}()
	z.src.Reset(src)
	if err := z.gz.Reset(&z.src); err != nil {
		return dst, undecodable(Gzip, err.Error())
	}
	z.gz.Multistream(false)
	dst, err := readAll(dst, Gzip, &z.gz, 4*len(src), limit)
	if err == nil && z.src.Len() > 0 {
		err = undecodable(Gzip, "bytes after the stream")
	}
	return dst, err
}

type unlz4er struct {
	src bytes.Reader
	lz  *lz4.Reader
}

var unlz4ers = sync.Pool{New: func() any { return &unlz4er{lz: lz4.NewReader(nil)} }}

const (
	lz4Magic  = 0x184d2204
	lz4DictID = 1 << 0 // in the byte after the magic
)

func unlz4(dst, src []byte, limit int) ([]byte, *InvalidError) {
	switch {
	case len(src) < 7 || binary.LittleEndian.Uint32(src) != lz4Magic:
		return dst, undecodable(LZ4, "no frame")
	case src[4]&lz4DictID != 0:
		return dst, undecodable(LZ4, "frame needs a dictionary")
	}
	z := unlz4ers.Get().(*unlz4er)
	defer func() {
		z.src.Reset(nil)
		z.lz.Reset(nil)
		unlz4ers.Put(z)
	}()
	z.src.Reset(src)
	z.lz.Reset(&z.src)
	dst, err := readAll(dst, LZ4, z.lz, 4*len(src), limit)
	if err == nil && z.src.Len() > 0 {
		err = undecodable(LZ4, "bytes after the frame")
	}
	return dst, err
}

// zstdWindow is the largest window a frame may ask for, in bytes: what zstd's
// own decoder grants, and what its highest level needs. Whole batches are
// decoded in place, so a window takes no memory of its own.
const zstdWindow = 128 << 20

// zstdDecoder is safe for any number of callers.
var zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxWindow(zstdWindow),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("zstd: the decoder's options are constant and valid: " + err.Error())
	}
	return d
})

// unzstd decodes into what room dst has and tries again with more: the decoder
// takes no memory itself, so an honest batch costs at most one pass in vain
// for each eightfold of its guess.
func unzstd(dst, src []byte, limit int) ([]byte, *InvalidError) {
	if len(src) == 0 {
		return dst, undecodable(Zstd, "no frame")
	}
	at := len(dst)
	for room := min(limit-at, max(cap(dst)-at, 8*len(src), zstdSize(src, limit-at))); ; {
		dst = grow(dst[:at], room)
		out, err := zstdDecoder().DecodeAll(src, dst[at:at:at+room])
		switch {
		case err == nil:
			return dst[:at+len(out)], nil
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded):
			return dst[:at], undecodable(Zstd, err.Error())
		case room == limit-at:
			return dst[:at], overLimit(Zstd, limit)
		}
		room = min(8*room, limit-at)
	}
}

// zstdSize is the size the frame in src claims, if it is below limit.
func zstdSize(src []byte, limit int) int {
	var h zstd.Header
	if h.Decode(src) != nil || !h.HasFCS || h.FrameContentSize > uint64(limit) {
		return 0
	}
	return int(h.FrameContentSize)
}
