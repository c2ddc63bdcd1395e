package record

// fields is one record's parts as they lie in the payload.
type fields struct {
	timeDelta   int64
	offsetDelta int32
	key, value  []byte // nil is null
	headers     []byte // the headers' bytes, after their count
	headerCount int32
}

// errRecord says what is wrong with a record, without its index.
type errRecord string

const (
	badLength      errRecord = "length reaches past the batch"
	badTimeDelta   errRecord = "no timestamp delta"
	badOffsetDelta errRecord = "no offset delta"
	badKey         errRecord = "key length is wrong"
	badValue       errRecord = "value length is wrong"
	badHeaderCount errRecord = "header count is wrong"
	badHeader      errRecord = "header is wrong"
	badEnd         errRecord = "length disagrees with the fields"
	badOffsetOrder errRecord = "offset delta is out of order"
	badTime        errRecord = "timestamp overflows"
	nullKey        errRecord = "a compacted topic takes no null key"
	tooManyHeaders errRecord = "more headers than a record may have"
)

// parseRecord reads the record at the start of b into f and returns the bytes
// after it. The slices in f alias b. It does not look into the headers.
func parseRecord(b []byte, f *fields) (rest []byte, bad errRecord) {
	size, i := readVarint(b, 0)
	if i < 0 || size < 1 || int(size) > len(b)-i {
		return nil, badLength
	}
	rest, b = b[i+int(size):], b[i:i+int(size)]
	i = 1 // the record's attributes, which are unused
	if f.timeDelta, i = readVarlong(b, i); i < 0 {
		return nil, badTimeDelta
	}
	if f.offsetDelta, i = readVarint(b, i); i < 0 {
		return nil, badOffsetDelta
	}
	if f.key, i = readBytes(b, i); i < 0 {
		return nil, badKey
	}
	if f.value, i = readBytes(b, i); i < 0 {
		return nil, badValue
	}
	f.headerCount, i = readVarint(b, i)
	// A header takes two bytes at least: a claim beyond that is a lie.
	if i < 0 || f.headerCount < 0 || int(f.headerCount) > (len(b)-i)/2 {
		return nil, badHeaderCount
	}
	f.headers = b[i:]
	if f.headerCount == 0 && len(f.headers) != 0 {
		return nil, badEnd
	}
	return rest, ""
}

// parseHeader reads the header of a record at the start of b.
func parseHeader(b []byte) (key, value, rest []byte, bad errRecord) {
	key, i := readBytes(b, 0)
	if i < 0 || key == nil {
		return nil, nil, nil, badHeader
	}
	if value, i = readBytes(b, i); i < 0 {
		return nil, nil, nil, badHeader
	}
	return key, value, b[i:], ""
}

// checkHeaders walks the headers without keeping them.
func (f *fields) checkHeaders() (bad errRecord) {
	b := f.headers
	for range f.headerCount {
		if _, _, b, bad = parseHeader(b); bad != "" {
			return bad
		}
	}
	if len(b) != 0 {
		return badEnd
	}
	return ""
}

// readBytes reads a length and as many bytes at b[i:]; length -1 is null. The
// index is -1 on a wrong length. The slice cannot be appended into b.
func readBytes(b []byte, i int) ([]byte, int) {
	n, i := readVarint(b, i)
	switch {
	case i < 0 || n < -1 || int(n) > len(b)-i:
		return nil, -1
	case n < 0:
		return nil, i
	}
	end := i + int(n)
	return b[i:end:end], end
}

// at makes an error of the record with that index.
func (e errRecord) at(index int) *InvalidError {
	reason := InvalidRecord
	if e == tooManyHeaders {
		reason = TooLarge
	}
	return &InvalidError{Reason: reason, Index: index, Detail: string(e)}
}
