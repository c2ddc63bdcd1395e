package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
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

// zstdWindow is the largest window a frame may ask for, as a power of two: the
// 8 MiB that RFC 8878 wants all decoders to grant. Kafka's levels reach it at
// 19; above, only single-segment frames fit, whose window is their content.
const zstdWindow = 23

// zstdDecoders are safe for any number of callers. The decoder at n gives up
// soon after 1<<n bytes of output: the library fixes its bound at creation.
var zstdDecoders [bits.UintSize]struct {
	once sync.Once
	dec  *zstd.Decoder
}

// zstdDecoder returns a decoder whose bound is limit, or up to twice that, but
// not below the window: the library would then refuse such windows.
func zstdDecoder(limit int) *zstd.Decoder {
	n := max(zstdWindow, bits.Len(uint(limit)))
	d := &zstdDecoders[n]
	d.once.Do(func() {
		var err error
		d.dec, err = zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(0),
			zstd.WithDecoderMaxMemory(1<<n),
			zstd.WithDecoderMaxWindow(1<<zstdWindow))
		if err != nil {
			panic("zstd: the decoder's options are valid: " + err.Error())
		}
	})
	return d.dec
}

func unzstd(dst, src []byte, limit int) ([]byte, *InvalidError) {
	if len(src) == 0 {
		return dst, undecodable(Zstd, "no frame")
	}
	out, err := zstdDecoder(limit-len(dst)).DecodeAll(src, dst)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded) || err == nil && len(out) > limit:
		return dst, overLimit(Zstd, limit)
	case err != nil:
		return dst, undecodable(Zstd, err.Error())
	}
	return out, nil
}
