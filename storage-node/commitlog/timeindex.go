package commitlog

import "encoding/binary"

const (
	timeIndexMagic      = "MTX1"
	timeIndexHeaderSize = 4 + 4 + 8 + 8 + 8 + 8 + 4 // see FORMAT.md
	timeIndexEntrySize  = 8
)

// encodeTimes returns the .timeindex file. Entry i belongs to entry i of the
// .index file.
func (x *index) encodeTimes(base, size int64) []byte {
	be := binary.BigEndian
	b := make([]byte, 0, timeIndexHeaderSize+timeIndexEntrySize*len(x.entries))
	b = append(b, timeIndexMagic+"\x00\x00\x00\x00"...)
	b = be.AppendUint64(b, uint64(base))
	b = be.AppendUint64(b, uint64(size))
	b = be.AppendUint64(b, uint64(x.maxTime))
	b = be.AppendUint64(b, uint64(x.maxPos))
	b = be.AppendUint32(b, uint32(len(x.entries)))
	for _, e := range x.entries {
		b = be.AppendUint64(b, uint64(e.before))
	}
	return sealFile(b)
}

// decodeTimes completes an index, read from its .index file, with the times.
func (x *index) decodeTimes(b []byte, base, size int64) bool {
	be := binary.BigEndian
	if !sealed(b, timeIndexMagic, timeIndexHeaderSize) ||
		int64(be.Uint64(b[8:])) != base || int64(be.Uint64(b[16:])) != size {
		return false
	}
	x.maxTime, x.maxPos = int64(be.Uint64(b[24:])), int64(be.Uint64(b[32:]))
	if n := int(be.Uint32(b[40:])); n != len(x.entries) || len(b)-timeIndexHeaderSize != n*timeIndexEntrySize {
		return false
	}
	for i := range x.entries {
		x.entries[i].before = int64(be.Uint64(b[timeIndexHeaderSize+i*timeIndexEntrySize:]))
		if i > 0 && x.entries[i].before < x.entries[i-1].before || x.entries[i].before > x.maxTime {
			return false
		}
	}
	return x.maxPos >= 0 && (x.maxPos < size || size == 0)
}
