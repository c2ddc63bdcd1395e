package record

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compress appends src, compressed, to dst. Level 0 is the codec's default;
// otherwise gzip takes 1 to 9, lz4 1 to 9, zstd 1 to 22, as KIP-390 numbers
// them. Snappy has no levels.
func compress(dst []byte, c Codec, level int, src []byte) ([]byte, error) {
	switch c {
	case None:
		return append(dst, src...), nil
	case Gzip:
		return gzips.compress(dst, level, src)
	case Snappy:
		at := len(dst)
		dst = grow(dst, snappy.MaxEncodedLen(len(src)))
		out := snappy.Encode(dst[at:cap(dst)], src)
		return dst[:at+len(out)], nil
	case LZ4:
		return lz4s.compress(dst, level, src)
	case Zstd:
		return zstds.compress(dst, level, src)
	}
	return dst, invalid(UnsupportedCodec, "%v", c)
}

// streamWriter is what gzip and lz4 writers have in common.
type streamWriter interface {
	io.WriteCloser
	Reset(w io.Writer)
}

// stream pairs a writer with the buffer it writes to.
type stream struct {
	out bytes.Buffer
	w   streamWriter
}

// levels pools the writers of one codec, each level apart.
type levels struct {
	name    string
	highest int
	open    func(level int) (streamWriter, error)
	pools   [10]sync.Pool
}

var gzips = &levels{name: "gzip", highest: 9, open: func(level int) (streamWriter, error) {
	if level == 0 {
		level = gzip.DefaultCompression
	}
	return gzip.NewWriterLevel(io.Discard, level)
}}

var lz4s = &levels{name: "lz4", highest: 9, open: func(level int) (streamWriter, error) {
	w := lz4.NewWriter(io.Discard)
	// Blocks as small as a batch mostly is, as the Java clients write them.
	opts := []lz4.Option{lz4.BlockSizeOption(lz4.Block64Kb), lz4.ConcurrencyOption(1)}
	if level > 0 {
		opts = append(opts, lz4.CompressionLevelOption(1<<(8+level))) // lz4.Level1 is 1<<9
	}
	return w, w.Apply(opts...)
}}

func (l *levels) compress(dst []byte, level int, src []byte) ([]byte, error) {
	if level < 0 || level > l.highest {
		return dst, fmt.Errorf("compress with %s: level %d, at most %d", l.name, level, l.highest)
	}
	s, _ := l.pools[level].Get().(*stream)
	if s == nil {
		w, err := l.open(level)
		if err != nil {
			return dst, fmt.Errorf("open %s writer: %w", l.name, err)
		}
		s = &stream{w: w}
	}
	s.out = *bytes.NewBuffer(dst)
	s.w.Reset(&s.out)
	_, err := s.w.Write(src)
	if e := s.w.Close(); err == nil {
		err = e
	}
	dst = s.out.Bytes()
	s.out = bytes.Buffer{} // dst is the caller's
	l.pools[level].Put(s)
	if err != nil {
		return dst, fmt.Errorf("compress with %s: %w", l.name, err)
	}
	return dst, nil
}

// zstdLevels keeps an encoder for each of the four speeds the encoder has; an
// encoder is safe for any number of callers.
type zstdLevels struct {
	encoders [zstd.SpeedBestCompression + 1]struct {
		once sync.Once
		enc  *zstd.Encoder
		err  error
	}
}

var zstds zstdLevels

const zstdHighest = 22

// zstdEncoderWindow is enough for a batch of the default max.message.bytes.
const zstdEncoderWindow = 1 << 20

func (z *zstdLevels) compress(dst []byte, level int, src []byte) ([]byte, error) {
	if level < 0 || level > zstdHighest {
		return dst, fmt.Errorf("compress with zstd: level %d, at most %d", level, zstdHighest)
	}
	speed := zstd.SpeedDefault
	if level > 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	e := &z.encoders[speed]
	e.once.Do(func() {
		e.enc, e.err = zstd.NewWriter(nil,
			zstd.WithEncoderLevel(speed),
			zstd.WithWindowSize(zstdEncoderWindow),
			zstd.WithZeroFrames(true))
	})
	if e.err != nil {
		return dst, fmt.Errorf("open zstd encoder: %w", e.err)
	}
	return e.enc.EncodeAll(src, dst), nil
}
