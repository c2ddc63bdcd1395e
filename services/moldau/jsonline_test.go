package main

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// TestWhatConsumeWritesProduceReads holds for all records, in base64 and as
// text: null is not empty, and bytes that are no text survive.
func TestWhatConsumeWritesProduceReads(t *testing.T) {
	someBytes := rapid.OneOf(rapid.Just[[]byte](nil), rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }))
	header := rapid.Custom(func(t *rapid.T) *moldauv1.Header {
		return &moldauv1.Header{Key: rapid.String().Draw(t, "name"), Value: someBytes.Draw(t, "header")}
	})
	rapid.Check(t, func(t *rapid.T) {
		rec := &moldauv1.Record{
			Key: someBytes.Draw(t, "key"), Value: someBytes.Draw(t, "value"), Offset: rapid.Int64Min(0).Draw(t, "offset"),
			Headers: rapid.SliceOfN(header, 0, 3).Draw(t, "headers"),
		}
		if rapid.Bool().Draw(t, "timed") {
			rec.Timestamp = timestamppb.New(time.UnixMilli(rapid.Int64Range(0, 253402300799999).Draw(t, "ms")))
		}
		partition := rapid.Int32Min(0).Draw(t, "partition")
		text := rapid.Bool().Draw(t, "text")
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		if err := errors.Join(jsonPrinter(text)(w, place{"river", partition, rec}), w.Flush()); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
			t.Fatalf("%d lines: %s", n, out.String())
		}
		l, err := parseLine(out.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", out.String(), err)
		}
		got, err := l.record()
		if err != nil {
			t.Fatalf("%s: %v", out.String(), err)
		}
		if got.Offset = *l.Offset; !proto.Equal(got, rec) || l.Topic != "river" || *l.Partition != partition {
			t.Fatalf("%s came back as %v, want %v", out.String(), got, rec)
		}
	})
}

func TestLinesByHandAreRead(t *testing.T) {
	for text, want := range map[string]*moldauv1.Record{
		`{}`:                                                    {},
		`{"valueText":"hällo"}`:                                 {Value: []byte("hällo")},
		`{"key":"YQ==","value":""}`:                             {Key: []byte("a"), Value: []byte{}},
		`{"key":null,"timestamp":1500}`:                         {Timestamp: &timestamppb.Timestamp{Seconds: 1, Nanos: 5e8}},
		`{"timestamp":"1970-01-01T01:00+01:00"}`:                nil,
		`{"timestamp":"1970-01-01T01:00:02+01:00"}`:             {Timestamp: &timestamppb.Timestamp{Seconds: 2}},
		`{"headers":[{"key":"a"},{"key":"a","valueText":"b"}]}`: {Headers: []*moldauv1.Header{{Key: "a"}, {Key: "a", Value: []byte("b")}}},
		`{"valeu":"YQ=="}`:                                      nil,
		`{"value":"not base64"}`:                                nil,
		`{"value":"YQ==","valueText":"a"}`:                      nil,
		`{"value":7}`:                                           nil,
		`{} {}`:                                                 nil,
		`hello`:                                                 nil,
		"{\"valueText\":\"\xff\"}":                              nil,
		`["a"]`:                                                 nil,
	} {
		l, err := parseLine([]byte(text))
		var got *moldauv1.Record
		if err == nil {
			got, err = l.record()
		}
		switch {
		case want == nil && err == nil:
			t.Errorf("%s should be refused", text)
		case want == nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: the error has lines: %v", text, err)
		case want != nil && !proto.Equal(got, want):
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
}
