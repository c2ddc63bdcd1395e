package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "moldau.dev/proto/gen/moldau/v1"
)

// event is a record as a test gives it and wants it back.
type event struct {
	key, value []byte // nil is null
	headers    []header
	timeMs     int64
	partition  int32
	offset     int64
}

type header struct {
	key   string
	value []byte // nil is null
}

// String shows every byte, so that two events are equal if their strings are.
func (e event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d@%d t=%d key=%s value=%s", e.partition, e.offset, e.timeMs, quote(e.key), quote(e.value))
	for _, h := range e.headers {
		fmt.Fprintf(&b, " %q=%s", h.key, quote(h.value))
	}
	return b.String()
}

func quote(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%q", b)
}

func (e event) record() *pb.Record {
	r := &pb.Record{Key: e.key, Value: e.value, Timestamp: timestamppb.New(time.UnixMilli(e.timeMs))}
	for _, h := range e.headers {
		r.Headers = append(r.Headers, &pb.Header{Key: h.key, Value: h.value})
	}
	return r
}

func eventOf(partition int32, r *pb.Record) event {
	e := event{key: r.Key, value: r.Value, timeMs: r.Timestamp.AsTime().UnixMilli(), partition: partition, offset: r.Offset}
	for _, h := range r.Headers {
		e.headers = append(e.headers, header{h.Key, h.Value})
	}
	return e
}

// accessLog returns the lines of a web server's access log, without their
// line ends: the file named by MOLDAU_TEST_DATA, else the one that lies beside
// the checkout, else lines made alike.
func accessLog(t testing.TB) [][]byte {
	t.Helper()
	path := os.Getenv("MOLDAU_TEST_DATA")
	if path == "" {
		path = filepath.Join(moduleRoot(t), "..", "shared", "data", "access.log")
		if _, err := os.Stat(path); err != nil {
			return madeLines(10_000)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read the access log: %v", err)
	}
	var lines [][]byte
	s := bufio.NewScanner(bytes.NewReader(text))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		lines = append(lines, bytes.Clone(s.Bytes()))
	}
	if s.Err() != nil || len(lines) == 0 {
		t.Fatalf("the access log has %d lines, then: %v", len(lines), s.Err())
	}
	return lines
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("the tests do not run inside the module")
	return ""
}

const logTime = "02/Jan/2006:15:04:05 -0700"

func madeLines(n int) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2015, 5, 17, 10, 5, 0, 0, time.UTC)
	paths := []string{"/", "/blog/tags/puppet", "/images/web/2009/banner.png", "/?flav=rss20", "/café", `/a"b`}
	lines := make([][]byte, n)
	for i := range lines {
		lines[i] = fmt.Appendf(nil, `%d.%d.9.%d - - [%s] "GET %s HTTP/1.1" 200 %d "-" "Mozilla/5.0 (X11; Linux x86_64)"`,
			rng.IntN(220)+1, rng.IntN(8), rng.IntN(4), start.Add(time.Duration(i)*time.Second).Format(logTime),
			paths[rng.IntN(len(paths))], rng.IntN(100_000))
	}
	return lines
}

// eventsOf makes an event of each line: keyed by client address, stamped with
// the line's own time, with headers that show what headers can be.
func eventsOf(lines [][]byte) []event {
	events := make([]event, len(lines))
	for i, line := range lines {
		key, _, _ := bytes.Cut(line, []byte(" "))
		events[i] = event{
			key:    key,
			value:  line,
			timeMs: timeOf(line) + int64(i%1000),
			headers: []header{
				{"line", fmt.Appendf(nil, "%d", i)},
				{"tag", []byte{0, 0xff, byte(i)}},
				{"tag", []byte{}},
				{"nothing", nil},
			},
		}
	}
	return events
}

func timeOf(line []byte) int64 {
	_, rest, _ := bytes.Cut(line, []byte("["))
	text, _, _ := bytes.Cut(rest, []byte("]"))
	when, err := time.Parse(logTime, string(text))
	if err != nil {
		return 1_431_857_100_000 // an odd line, as real logs have
	}
	return when.UnixMilli()
}

// placed returns the events as they must lie in n partitions: each where its
// key hashes to, in the order given.
func placed(events []event, n int32) []event {
	next := make([]int64, n)
	out := slices.Clone(events)
	for i := range out {
		p := int32(murmur2(out[i].key)&0x7fffffff) % n
		out[i].partition, out[i].offset = p, next[p]
		next[p]++
	}
	byPlace(out)
	return out
}

func byPlace(events []event) {
	slices.SortFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
}

// sameEvents requires that got is want, event for event, byte for byte.
func sameEvents(t testing.TB, want, got []event) {
	t.Helper()
	byPlace(got)
	for i := range min(len(want), len(got)) {
		if w, g := want[i].String(), got[i].String(); w != g {
			t.Fatalf("event %d of %d:\nwant %s\ngot  %s", i, len(want), w, g)
		}
	}
	if len(want) != len(got) {
		t.Fatalf("got %d events, want %d", len(got), len(want))
	}
}

// murmur2 is the hash with which Kafka's Java client places keys
// (org.apache.kafka.common.utils.Utils.murmur2), written anew so that the
// gateway's is not checked against itself.
func murmur2(data []byte) int32 {
	const m = uint32(0x5bd1e995)
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return int32(h ^ h>>15)
}

func TestMurmur2IsKafkas(t *testing.T) {
	// From Kafka's UtilsTest.testMurmur2.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "abc": 479470107,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
	} {
		if got := murmur2([]byte(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
	}
}
