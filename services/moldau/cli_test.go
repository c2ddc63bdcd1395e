package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
)

func TestRolesStandBelowThoseThatCallThem(t *testing.T) {
	if err := checkRiver(roles); err != nil {
		t.Error(err)
	}
	if checkRiver([]role{roles[len(roles)-1]}) == nil {
		t.Error("a gateway alone in the table should be an error")
	}
}

func TestPositionsAreRead(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]string{
		"start": "start:true", "end": "end:true", "0": "offset:0", "42": "offset:42", "-3": "before_end:3",
		"@-1h": "time:{seconds:1767319445}", "@1000": "time:{seconds:1}", "@1970-01-01T00:00:02Z": "time:{seconds:2}",
	} {
		got, err := parsePosition(text, now)
		if squeezed := strings.ReplaceAll(got.String(), "  ", " "); err != nil || squeezed != want {
			t.Errorf("%s: %s, %v, want %s", text, squeezed, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "-0", "@", "@noon", "1.5"} {
		if _, err := parsePosition(text, now); err == nil {
			t.Errorf("%q should be refused", text)
		}
	}
}

func TestTemplatesPrintAsKcatDoes(t *testing.T) {
	rec := &moldauv1.Record{Key: []byte("k"), Value: []byte("v"), Offset: 7, Timestamp: timestamppb.New(time.UnixMilli(9)), Headers: []*moldauv1.Header{{Key: "a", Value: []byte("b")}}}
	show, err := templatePrinter(`%t[%p]@%o %T %k=%v %h 100%%\n`)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if err := errors.Join(show(w, place{"river", 2, rec}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if want := "river[2]@7 9 k=v a=b 100%\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	for _, bad := range []string{"%", "%x"} {
		if _, err := templatePrinter(bad); err == nil {
			t.Errorf("%q should be refused", bad)
		}
	}
}

// TestLinesComeOutAsTheyWentIn reads odd bytes as produce does and writes them
// as consume does.
func TestLinesComeOutAsTheyWentIn(t *testing.T) {
	in := "plain\n\n\x00\xff\r\n" + strings.Repeat("x", 1<<20) + "\nno newline"
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	lines := newInput(strings.NewReader(in), func(line []byte) (*moldauv1.Record, *int32, error) {
		return &moldauv1.Record{Value: line}, nil, nil
	})
	for {
		chunks, err := lines.read()
		for _, c := range chunks {
			for _, rec := range c.records {
				if err := printValue(w, place{record: rec}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil || out.String() != in+"\n" {
		t.Errorf("%d bytes came out of %d, %v", out.Len(), len(in), err)
	}
}

func TestWrongUsageIsOneLineAndCodeTwo(t *testing.T) {
	for _, args := range [][]string{
		{"prduce"}, {"topic", "creat"}, {"produce"}, {"consume", "t", "--form", "start"}, {"consume", "t", "--from", "yesterday"},
		{"consume", "t", "-o", "xml"}, {"produce", "t", "--acks", "some"}, {"run", "gatway"}, {"config", "print", "--set", "lgo.level=debug"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), &out, &errs)
		if code != exitUsage || strings.Count(errs.String(), "\n") != 1 || out.Len() > 0 {
			t.Errorf("%v: code %d, stdout %q, stderr %q", args, code, out.String(), errs.String())
		}
	}
}
