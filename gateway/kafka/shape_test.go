package kafka

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"moldau.dev/coordinator/coordinatorclient/coordinatortest"
)

func TestTheTableStaysWithinKafkas(t *testing.T) {
	seen := map[int16]bool{}
	last := int16(-1)
	for _, a := range apis {
		if seen[a.key] || a.key <= last {
			t.Errorf("%s: key %d is out of order", a.name, a.key)
		}
		seen[a.key], last = true, a.key
		most, known := kafkaRelease.LookupMaxKeyVersion(a.key)
		if !known || a.max > most || a.min > a.max {
			t.Errorf("%s: versions %d to %d, Kafka's last is %d", a.name, a.min, a.max, most)
		}
		if got := kmsg.NameForKey(a.key); !strings.EqualFold(got, a.name) {
			t.Errorf("key %d is %s, the table says %s", a.key, got, a.name)
		}
		for v := a.min; v <= a.max; v++ {
			m := kmsg.RequestForKey(a.key)
			m.SetVersion(v)
			if m.IsFlexible() != (v >= a.flexible) {
				t.Errorf("%s version %d: flexible is %v", a.name, v, m.IsFlexible())
			}
		}
	}
	if latest, _ := kversion.Stable().LookupMaxKeyVersion(keyApiVersions); latest <= find(keyApiVersions).max {
		t.Error("the cap of ApiVersions is no cap any more: see its head")
	}
}

// TestShapesAreThoseOfTheCodec fills requests at random, encodes them in each
// version, and has the shape walk them: to the last byte, and with an error
// for each byte that is missing.
func TestShapesAreThoseOfTheCodec(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, a := range apis {
		for v := a.min; v <= a.max; v++ {
			for range 20 {
				m := kmsg.RequestForKey(a.key)
				m.SetVersion(v)
				fill(random, reflect.ValueOf(m).Elem(), 0)
				m.SetVersion(v)
				body := m.AppendTo(nil)
				if err := walk(&a, body, v); err != nil {
					t.Fatalf("%s version %d: %x: %v", a.name, v, body, err)
				}
				for cut := range body {
					if err := walk(&a, body[:cut], v); !errors.Is(err, errMalformed) {
						t.Fatalf("%s version %d cut to %d of %d bytes: %v", a.name, v, cut, len(body), err)
					}
				}
			}
		}
	}
}

// walk reads a body and requires that nothing is left.
func walk(a *api, body []byte, version int16) error {
	switch a.key {
	case keyProduce:
		_, err := readProduce(testRequest(a, body, version))
		return err
	case 1:
		_, err := readFetch(testRequest(a, body, version))
		return err
	}
	w := walker{r: reader{b: body, flexible: version >= a.flexible}, version: version, left: maxElements}
	w.structure(a.shape)
	if w.r.bad || len(w.r.b) > 0 {
		return errMalformed
	}
	return nil
}

var testServer = func() *Server {
	s, err := NewServer(Config{MaxInFlightBytes: 1 << 30}, Deps{Coordinators: coordinatortest.Unimplemented{}})
	if err != nil {
		panic(err)
	}
	return s
}()

func testRequest(a *api, body []byte, version int16) *request {
	return &request{api: a, version: version, flexible: version >= a.flexible, body: body, frame: &frame{s: testServer}}
}

// fill sets every field that goes over the wire.
func fill(random *rand.Rand, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "UnknownTags" && f.Name != "Version" {
				fill(random, v.Field(i), depth+1)
			}
		}
	case reflect.Pointer:
		if random.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(random, v.Elem(), depth+1)
		}
	case reflect.String:
		v.SetString("text"[:random.IntN(5)])
	case reflect.Slice:
		n := random.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(random, v.Index(i), depth+1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(random, v.Index(i), depth+1)
		}
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 1)
	case reflect.Uint8:
		v.SetUint(uint64(random.IntN(256)))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(random.IntN(100)))
	}
}

func TestB3VarintsBeyondFiveBytesAreRefused(t *testing.T) {
	for _, b := range [][]byte{
		{0x80, 0x80, 0x80, 0x80, 0x80, 0x00}, // six bytes
		{0xff, 0xff, 0xff, 0xff, 0x7f},       // beyond 32 bits
		{0x80},                               // ends early
		{},
	} {
		r := reader{b: b, flexible: true}
		if r.uvarint(); !r.bad {
			t.Errorf("%x was taken", b)
		}
	}
	r := reader{b: []byte{0x80, 0x80, 0x00}}
	if v := r.uvarint(); v != 0 || r.bad {
		t.Error("an overlong zero is a zero, as Kafka takes it")
	}
}

func TestB4TooManyOrDoubleTagsAreRefused(t *testing.T) {
	many := binary.AppendUvarint(nil, 1_000_000)
	for _, b := range [][]byte{many, {2, 0, 0, 0, 0}, {1, 0, 9}, binary.AppendUvarint(nil, 1<<32-1)} {
		r := reader{b: b, flexible: true}
		if r.tags(); !r.bad {
			t.Errorf("%x was taken", b)
		}
	}
	r := reader{b: []byte{2, 5, 1, 0xaa, 9, 0, 0xbb}, flexible: true}
	if r.tags(); r.bad || len(r.b) != 1 {
		t.Error("unknown tags must be skipped")
	}
}

func TestB2CountsBeyondTheBytesAreRefusedBeforeMemoryIsTaken(t *testing.T) {
	body := []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := find(3).shape.check(body, 1, false); err == nil {
			t.Fatal("taken")
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzRequest throws bytes at every decoder: none may panic, or take long.
func FuzzRequest(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, a := range apis {
		for v := a.min; v <= a.max; v++ {
			m := kmsg.RequestForKey(a.key)
			m.SetVersion(v)
			fill(random, reflect.ValueOf(m).Elem(), 0)
			m.SetVersion(v)
			f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, m, 1)[frameLength:])
		}
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		fr := &frame{s: testServer, b: b}
		defer func() { fr.s.memory.Release(fr.held) }()
		req, err := parseRequest(fr)
		if err != nil || req.api == unknownApiVersions {
			return
		}
		switch req.api.key {
		case keyProduce:
			_, _ = readProduce(req)
		case 1:
			_, _ = readFetch(req)
		default:
			_ = req.decode(kmsg.RequestForKey(req.api.key))
		}
	})
}
