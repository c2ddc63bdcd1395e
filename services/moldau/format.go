package main

import (
	"bufio"
	"encoding/json"
	"strconv"
	"strings"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

// place is a record with the partition that it came from.
type place struct {
	topic     string
	partition int32
	record    *moldauv1.Record
}

// printer writes one record.
type printer func(w *bufio.Writer, p place) error

// printValue writes the value and a newline, so that what produce read line by
// line comes out as it went in.
func printValue(w *bufio.Writer, p place) error {
	_, _ = w.Write(p.record.GetValue()) // a bufio.Writer keeps its error
	return w.WriteByte('\n')
}

// jsonPrinter returns a printer of lines of JSON, with bytes as text where text
// is asked for and they are text.
func jsonPrinter(text bool) printer {
	return func(w *bufio.Writer, p place) error {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(lineOf(p, text))
	}
}

var escapes = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\t`, "\t", `\r`, "\r", `\0`, "\x00")

// templatePrinter returns a printer for kcat's format: %k key, %v or %s value,
// %K and %S how many bytes they have (-1: null), %o offset, %p partition, %t
// topic, %T milliseconds since 1970, %h headers, %%, and \n \t \r \0 \\.
func templatePrinter(template string) (printer, error) {
	parts, err := splitTemplate(escapes.Replace(template))
	if err != nil {
		return nil, err
	}
	return func(w *bufio.Writer, p place) error {
		for _, part := range parts {
			part(w, p)
		}
		_, err := w.Write(nil) // tells of any error before
		return err
	}, nil
}

func splitTemplate(s string) ([]func(*bufio.Writer, place), error) {
	var parts []func(*bufio.Writer, place)
	for s != "" {
		text, rest, found := strings.Cut(s, "%")
		if text != "" {
			parts = append(parts, func(w *bufio.Writer, _ place) { _, _ = w.WriteString(text) })
		}
		if !found {
			break
		}
		if rest == "" {
			return nil, usagef("-f: the template ends in %%; write %%%% for a percent sign")
		}
		part, ok := verbs[rest[0]]
		if !ok {
			return nil, usagef("-f: %%%c is not one of %%k %%K %%v %%s %%S %%o %%p %%t %%T %%h %%%%", rest[0])
		}
		parts, s = append(parts, part), rest[1:]
	}
	return parts, nil
}

var verbs = map[byte]func(*bufio.Writer, place){
	'k': func(w *bufio.Writer, p place) { _, _ = w.Write(p.record.GetKey()) },
	'v': func(w *bufio.Writer, p place) { _, _ = w.Write(p.record.GetValue()) },
	's': func(w *bufio.Writer, p place) { _, _ = w.Write(p.record.GetValue()) },
	'K': func(w *bufio.Writer, p place) { writeLength(w, p.record.GetKey()) },
	'S': func(w *bufio.Writer, p place) { writeLength(w, p.record.GetValue()) },
	'o': func(w *bufio.Writer, p place) { _, _ = w.WriteString(strconv.FormatInt(p.record.GetOffset(), 10)) },
	'p': func(w *bufio.Writer, p place) { _, _ = w.WriteString(itoa(p.partition)) },
	't': func(w *bufio.Writer, p place) { _, _ = w.WriteString(p.topic) },
	'T': func(w *bufio.Writer, p place) {
		_, _ = w.WriteString(strconv.FormatInt(p.record.GetTimestamp().AsTime().UnixMilli(), 10))
	},
	'h': writeHeaders,
	'%': func(w *bufio.Writer, _ place) { _ = w.WriteByte('%') },
}

func writeLength(w *bufio.Writer, b []byte) {
	n := len(b)
	if b == nil {
		n = -1
	}
	_, _ = w.WriteString(strconv.Itoa(n))
}

func writeHeaders(w *bufio.Writer, p place) {
	for i, h := range p.record.GetHeaders() {
		if i > 0 {
			_ = w.WriteByte(',')
		}
		_, _ = w.WriteString(h.GetKey() + "=")
		_, _ = w.Write(h.GetValue())
	}
}
