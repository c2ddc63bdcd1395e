package record

import "fmt"

// Codec is how the records of a batch are compressed: bits 0-2 of its
// attributes.
type Codec int8

// The codecs, by their number on the wire.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3 // the frame format (KIP-57)
	Zstd   Codec = 4 // KIP-110
)

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// Valid tells whether c is one of the five codecs.
func (c Codec) Valid() bool { return c >= None && c <= Zstd }

// String is the codec's name as the topic config compression.type spells it.
func (c Codec) String() string {
	if !c.Valid() {
		return fmt.Sprintf("codec %d", int8(c))
	}
	return codecNames[c]
}

// ParseCodec returns the codec of that name; "uncompressed", the topic
// config's word, is none. The error is an *InvalidError (UnsupportedCodec).
func ParseCodec(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	return None, invalid(UnsupportedCodec, "%q", name)
}
