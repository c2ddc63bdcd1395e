package transport

import (
	"bytes"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// Any stands in for a data-path message: a header field (type_url = 1) and a
// big bytes field (value = 2).
const anyValue = 2

func TestStockReadsWhatFramesWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		url := rapid.StringN(0, 20, -1).Draw(t, "url")
		parts := rapid.SliceOf(rapid.SliceOf(rapid.Byte())).Draw(t, "parts")
		wire, err := Codec().Marshal(NewFrame(&anypb.Any{TypeUrl: url}, anyValue, parts...))
		if err != nil {
			t.Fatal(err)
		}
		var got anypb.Any
		if err := stock.Unmarshal(wire, &got); err != nil {
			t.Fatal(err)
		}
		if got.TypeUrl != url || !bytes.Equal(got.Value, bytes.Join(parts, nil)) {
			t.Fatalf("stock read %q %x", got.TypeUrl, got.Value)
		}
	})
}

func TestFramesReadWhatStockReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire []byte
		for range rapid.IntRange(0, 6).Draw(t, "fields") {
			wire = appendField(t, wire, 2)
		}
		compareWithStock(t, wire, rapid.IntRange(1, 9).Draw(t, "piece"))
	})
}

// appendField appends any field of any type, known to Any or not.
func appendField(t *rapid.T, b []byte, depth int) []byte {
	num := protowire.Number(rapid.SampledFrom([]int32{1, 2, 2, 3, 99, 1 << 28}).Draw(t, "number"))
	kind := rapid.IntRange(0, 4).Draw(t, "kind")
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), rapid.Uint64().Draw(t, "v"))
	case 1:
		return protowire.AppendFixed32(protowire.AppendTag(b, num, protowire.Fixed32Type), 7)
	case 2:
		return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), 7)
	case 3:
		text := rapid.StringN(0, 12, -1).Draw(t, "bytes")
		return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), text)
	default:
		b = appendField(t, protowire.AppendTag(b, num, protowire.StartGroupType), depth-1)
		return protowire.AppendTag(b, num, protowire.EndGroupType)
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// compareWithStock checks that a frame reads wire, cut into pieces, exactly as
// the stock codec does, errors included.
func compareWithStock(t failer, wire []byte, piece int) {
	t.Helper()
	var want anypb.Any
	wantErr := stock.Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, &want)

	f := NewFrame(&anypb.Any{}, anyValue)
	gotErr := Codec().Unmarshal(cut(wire, piece), f)
	if (wantErr == nil) != (gotErr == nil) {
		t.Fatalf("%x: stock says %v, frame says %v", wire, wantErr, gotErr)
	}
	if wantErr != nil {
		return
	}
	got := proto.CloneOf(f.Header.(*anypb.Any))
	got.Value = bytes.Clone(f.Bytes())
	f.Free()
	// Unknown fields are compared by meaning: a frame keeps their numbers in the
	// shortest form, the stock codec as they came.
	if want.TypeUrl != got.TypeUrl || !bytes.Equal(want.Value, got.Value) || prototext.Format(&want) != prototext.Format(got) {
		t.Fatalf("%x: stock read %v, frame read %v", wire, &want, got)
	}
}

func cut(wire []byte, piece int) (out mem.BufferSlice) {
	for len(wire) > 0 {
		n := min(piece, len(wire))
		out = append(out, mem.SliceBuffer(wire[:n]))
		wire = wire[n:]
	}
	return out
}

func FuzzFrameAgainstStock(f *testing.F) {
	f.Add([]byte{0x0a, 1, 'a', 0x12, 2, 'b', 'c'}, byte(1))
	f.Add([]byte{0x1b, 0x08, 1, 0x1c}, byte(2))
	f.Add([]byte{0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, byte(3))
	f.Add([]byte{0x30, 0x80, 0x00}, byte(1)) // an overlong varint
	f.Fuzz(func(t *testing.T, wire []byte, piece byte) {
		compareWithStock(t, wire, max(int(piece), 1))
	})
}

func TestOtherMessagesGoToTheStockCodec(t *testing.T) {
	sent := &errdetails.ErrorInfo{Reason: "X", Metadata: map[string]string{"k": "v"}}
	wire, err := Codec().Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	got := &errdetails.ErrorInfo{}
	if err := Codec().Unmarshal(wire, got); err != nil || !proto.Equal(sent, got) {
		t.Fatalf("got %v, %v", got, err)
	}
}

func TestBodyOutlivesTheMessageItCameInAndIsNotCopied(t *testing.T) {
	pool := NewPoisoningBufferPool()
	body := bytes.Repeat([]byte("x"), 4096)
	wire, err := proto.Marshal(&anypb.Any{TypeUrl: "u", Value: body})
	if err != nil {
		t.Fatal(err)
	}
	msg := mem.BufferSlice{mem.Copy(wire, pool)}
	at := &msg[0].ReadOnlyData()[len(wire)-1]

	f := NewFrame(&anypb.Any{}, anyValue)
	if err := Codec().Unmarshal(msg, f); err != nil {
		t.Fatal(err)
	}
	msg.Free() // as grpc-go does

	got := f.Bytes()
	if !bytes.Equal(got, body) {
		t.Fatal("the body was released under the frame")
	}
	if &got[len(got)-1] != at {
		t.Error("the body was copied")
	}
	f.Free()
	f.Free()
	if got[0] != poison {
		t.Error("the last Free did not give the buffer back")
	}
}

// TestFrameWithinIsTheMessageThatStubsSend.
func TestFrameWithinIsTheMessageThatStubsSend(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 70_000} {
		body := bytes.Repeat([]byte{7}, size)
		back := 0
		head := &moldauv1.ReadRecords{Topic: "t", NextOffset: 9}
		f := NewFrameWithin(2, head, 4, Lend(body, func() { back++ }))
		out, err := Codec().Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Free()
		got := &moldauv1.ReadResponse{}
		if err := proto.Unmarshal(out.Materialize(), got); err != nil {
			t.Fatal(err)
		}
		out.Free()
		want := &moldauv1.ReadRecords{Topic: "t", NextOffset: 9, RecordBatches: body}
		if !proto.Equal(got.GetRecords(), want) {
			t.Errorf("%d bytes: not what a stub sends", size)
		}
		if back != 1 {
			t.Errorf("%d bytes: given back %d times", size, back)
		}
	}
}

func TestSendingKeepsTheFramesOwnReference(t *testing.T) {
	pool := NewPoisoningBufferPool()
	body := bytes.Repeat([]byte("y"), 4096)
	f := NewFrameOf(&anypb.Any{}, anyValue, mem.BufferSlice{mem.Copy(body, pool)})
	wire, err := Codec().Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	wire.Free()
	if !bytes.Equal(f.Bytes(), body) {
		t.Fatal("sending released the frame's body")
	}
	f.Free()
}

func TestPoolGivesExactLengthsAndReusesWholeClasses(t *testing.T) {
	pool := NewBufferPool()
	for _, n := range []int{0, 1, 1024, 1025, 1 << 20, 1<<24 + 1} {
		b := pool.Get(n)
		if len(*b) != n {
			t.Errorf("Get(%d) has length %d", n, len(*b))
		}
		if c := cap(*b); n <= 1<<maxClass && (c&(c-1) != 0 || c < 1<<minClass) {
			t.Errorf("Get(%d) has capacity %d", n, c)
		}
		pool.Put(b)
	}
}
