package kafka

// maxElements bounds the elements of all arrays of one request, as Kafka 4.4
// does.
const maxElements = 1_000_000

// kind is a type of a request's fields.
type kind uint8

const (
	aBool kind = iota
	anInt8
	anInt16
	anInt32
	anInt64
	anID
	aString // nullable or not
	someBytes
	anArray
	maybe // a structure that may be null
)

// field is one field of a request, in wire order. It is there in the versions
// from since to until.
type field struct {
	kind         kind
	since, until int16
	of           []field // of an array's elements; of one of primitives a single field
	plain        bool    // elements are primitives: they have no tags
}

// shape is a request's layout. It is walked before the codec decodes, because
// the codec allocates by what counts claim, and spins where a number of tagged
// fields does.
type shape []field

func since(version int16, k kind) field { return field{kind: k, since: version, until: 1<<15 - 1} }

func always(k kind) field { return since(0, k) }

func between(first, last int16, k kind) field { return field{kind: k, since: first, until: last} }

func listOf(of ...field) field { return field{kind: anArray, until: 1<<15 - 1, of: of} }

func optional(of ...field) field { return field{kind: maybe, until: 1<<15 - 1, of: of} }

func list(k kind) field {
	return field{kind: anArray, until: 1<<15 - 1, of: []field{always(k)}, plain: true}
}

// from moves the first version of a field.
func (f field) from(version int16) field {
	f.since = version
	return f
}

// upTo moves the last version of a field.
func (f field) upTo(version int16) field {
	f.until = version
	return f
}

// check walks a request and returns how many elements its arrays have, or
// errMalformed.
func (s shape) check(body []byte, version int16, flexible bool) (elements int, err error) {
	w := walker{r: reader{b: body, flexible: flexible}, version: version, left: maxElements}
	w.structure(s)
	if w.r.bad {
		return 0, errMalformed
	}
	return maxElements - w.left, nil
}

type walker struct {
	r       reader
	version int16
	left    int
}

func (w *walker) structure(fields []field) {
	for i := range fields {
		w.field(&fields[i])
	}
	w.r.tags()
}

func (w *walker) field(f *field) {
	if w.version < f.since || w.version > f.until {
		return
	}
	switch f.kind {
	case aBool, anInt8:
		w.r.take(1)
	case anInt16:
		w.r.take(2)
	case anInt32:
		w.r.take(4)
	case anInt64:
		w.r.take(8)
	case anID:
		w.r.take(16)
	case aString:
		w.r.string()
	case someBytes:
		w.r.bytes()
	case maybe:
		if w.r.int8() >= 0 {
			w.structure(f.of)
		}
	case anArray:
		w.array(f)
	}
}

func (w *walker) array(f *field) {
	n := w.r.count()
	if w.left -= max(n, 0); w.left < 0 {
		w.r.bad = true
	}
	for range n {
		if w.r.bad {
			return
		}
		if f.plain {
			w.field(&f.of[0])
		} else {
			w.structure(f.of)
		}
	}
}
