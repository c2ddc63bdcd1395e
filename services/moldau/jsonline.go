package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// line is a record as a line of JSON: what consume -o jsonl writes and
// produce -i jsonl reads back byte for byte. Bytes are base64 in key and value,
// as in the REST face, or text in keyText and valueText; where neither is
// there, there are no bytes (null), which an empty string is not.
type line struct {
	Topic     string       `json:"topic,omitempty"`
	Partition *int32       `json:"partition,omitempty"`
	Offset    *int64       `json:"offset,omitempty"`
	Timestamp *lineTime    `json:"timestamp,omitempty"`
	Key       []byte       `json:"key,omitzero"`
	KeyText   *string      `json:"keyText,omitempty"`
	Value     []byte       `json:"value,omitzero"`
	ValueText *string      `json:"valueText,omitempty"`
	Headers   []lineHeader `json:"headers,omitempty"`
}

type lineHeader struct {
	Key       string  `json:"key"`
	Value     []byte  `json:"value,omitzero"`
	ValueText *string `json:"valueText,omitempty"`
}

// lineTime is RFC 3339 with milliseconds; a number of milliseconds since 1970
// is read too.
type lineTime time.Time

func (t lineTime) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Time(t).UTC().Format(timeFormat))
}

func (t *lineTime) UnmarshalJSON(text []byte) error {
	if ms, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		*t = lineTime(time.UnixMilli(ms))
		return nil
	}
	return json.Unmarshal(text, (*time.Time)(t))
}

// lineOf returns p as a line, its bytes as text where text is asked for and
// they are text.
func lineOf(p place, text bool) line {
	rec := p.record
	offset := rec.GetOffset()
	l := line{Topic: p.topic, Partition: &p.partition, Offset: &offset}
	if rec.GetTimestamp() != nil {
		t := lineTime(rec.GetTimestamp().AsTime())
		l.Timestamp = &t
	}
	l.Key, l.KeyText = inLine(rec.GetKey(), text)
	l.Value, l.ValueText = inLine(rec.GetValue(), text)
	for _, h := range rec.GetHeaders() {
		out := lineHeader{Key: h.GetKey()}
		out.Value, out.ValueText = inLine(h.GetValue(), text)
		l.Headers = append(l.Headers, out)
	}
	return l
}

func inLine(b []byte, text bool) ([]byte, *string) {
	if b == nil || !text || !utf8.Valid(b) {
		return b, nil
	}
	s := string(b)
	return nil, &s
}

// parseLine reads a line. A field that it does not know is an error: a typo
// would lose the bytes that it holds.
func parseLine(text []byte) (line, error) {
	var l line
	if !utf8.Valid(text) {
		return l, errors.New("not UTF-8; bytes that are not text go into key and value as base64")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		if corrupt := new(json.UnmarshalTypeError); errors.As(err, &corrupt) {
			return l, fmt.Errorf("%s is no %s", corrupt.Field, corrupt.Type)
		}
		return l, fmt.Errorf("%w (key and value are base64; text goes into keyText and valueText)", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return l, errors.New("more than one JSON value")
	}
	return l, nil
}

// record returns the record that the line holds.
func (l *line) record() (*moldauv1.Record, error) {
	rec := &moldauv1.Record{}
	var err error
	if rec.Key, err = outOfLine("key", l.Key, l.KeyText); err != nil {
		return nil, err
	}
	if rec.Value, err = outOfLine("value", l.Value, l.ValueText); err != nil {
		return nil, err
	}
	if l.Timestamp != nil {
		rec.Timestamp = timestamppb.New(time.Time(*l.Timestamp))
	}
	for _, h := range l.Headers {
		value, err := outOfLine("value", h.Value, h.ValueText)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", h.Key, err)
		}
		rec.Headers = append(rec.Headers, &moldauv1.Header{Key: h.Key, Value: value})
	}
	return rec, nil
}

func outOfLine(field string, b []byte, text *string) ([]byte, error) {
	switch {
	case text == nil:
		return b, nil
	case b != nil:
		return nil, fmt.Errorf("%s and %sText exclude each other", field, field)
	default:
		return []byte(*text), nil
	}
}
