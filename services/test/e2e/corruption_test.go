package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/test/testcluster"
)

// damage is one way in which a file goes bad.
type damage struct {
	name      string
	beyondEnd bool // only adds bytes after what was written
	looksTorn bool // leaves what a crash in the middle of a write can leave
	do        func(b []byte) []byte
}

var damages = []damage{
	{"emptied", false, true, func([]byte) []byte { return nil }},
	{"cut in half", false, true, func(b []byte) []byte { return b[:len(b)/2] }},
	{"cut by a byte", false, true, func(b []byte) []byte { return b[:max(0, len(b)-1)] }},
	{"zeros inside", false, false, func(b []byte) []byte { return overwrite(b, len(b)/2, make([]byte, min(64, len(b)/4+1))) }},
	{"bit flipped at the start", false, false, func(b []byte) []byte { return flip(b, 0) }},
	{"bit flipped inside", false, false, func(b []byte) []byte { return flip(b, len(b)/2) }},
	{"bit flipped at the end", false, true, func(b []byte) []byte { return flip(b, len(b)-1) }},
	{"zeros at the end", true, false, func(b []byte) []byte { return append(b, make([]byte, 4096)...) }},
	{"noise at the end", true, false, func(b []byte) []byte { return append(b, strings.Repeat("\x93\x00\xff", 99)...) }},
}

func overwrite(b []byte, at int, with []byte) []byte {
	copy(b[min(at, len(b)):], with)
	return b
}

func flip(b []byte, at int) []byte {
	if len(b) > 0 {
		b[max(at, 0)] ^= 0x10
	}
	return b
}

// kindOf is a file's name without its numbers: files of one kind have one
// format.
func kindOf(path string) string {
	return regexp.MustCompile(`[0-9]+`).ReplaceAllString(filepath.Base(path), "N")
}

// harvest is a data folder at rest, and what it holds.
type harvest struct {
	dir    string
	events []event // of topic "river"
	files  []string
}

const (
	harvestPartitions = 2
	harvestSegment    = 32 << 10
)

// gather fills a data folder with several segments in each partition, written
// by an idempotent producer too, and lets go of it, by kill -9 or well.
func gather(t *testing.T, letGo func(*testcluster.Cluster)) harvest {
	t.Helper()
	c := testcluster.Start(t)
	c.CreateTopic(t, "river", harvestPartitions, map[string]string{"retention.ms": "-1", "segment.bytes": fmt.Sprint(harvestSegment)})
	events := eventsOf(accessLog(t)[:2000])
	for i := 0; i < len(events); i += 20 {
		grpcDoor{c}.produce(t, "river", events[i:i+20])
	}
	init, err := c.Produce(t).InitProducer(testcluster.Context(t), &pb.InitProducerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(harvestPartitions) {
		resp, err := c.Produce(t).Produce(testcluster.Context(t), &pb.ProduceRequest{Topic: "river", Partition: &p, Records: []*pb.Record{{Value: []byte("last")}},
			Producer: &pb.ProducerSequence{ProducerId: init.ProducerId, ProducerEpoch: init.ProducerEpoch}})
		requireAppended(t, resp, err)
	}
	h := harvest{dir: c.DataDir(), events: grpcDoor{c}.read(t, "river", harvestPartitions)}
	letGo(c)
	byPlace(h.events)
	h.files = filesOf(t, h.dir)
	return h
}

func filesOf(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, path) // path begins with dir
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

// damaged returns a copy of the data folder in which one file is damaged.
func (h harvest) damaged(t *testing.T, file string, d damage) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(h.dir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, file)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, d.do(b), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// victims returns, by kind, an old and the newest log of a partition and one
// file of each other kind.
func (h harvest) victims() map[string]string {
	victims := map[string]string{}
	logs := map[string][]string{} // by folder
	for _, f := range h.files {
		if strings.HasSuffix(f, ".log") {
			logs[filepath.Dir(f)] = append(logs[filepath.Dir(f)], f)
			continue
		}
		if _, seen := victims[kindOf(f)]; !seen {
			victims[kindOf(f)] = f
		}
	}
	for _, segments := range logs {
		if len(segments) > 2 {
			victims["log, old"], victims["log, active"] = segments[0], segments[len(segments)-1]
		}
	}
	return victims
}

// TestDamagedFiles damages each kind of file of a data folder in each way. The
// platform must then serve what it held, or say which data is damaged, or
// refuse to start and name the file; it never serves a byte that was not
// written, and a damaged index or snapshot costs no record.
func TestDamagedFiles(t *testing.T) {
	for name, letGo := range map[string]func(*testcluster.Cluster){
		"after kill": func(c *testcluster.Cluster) { c.Kill() },
		"after stop": func(c *testcluster.Cluster) { c.Stop(t) },
	} {
		t.Run(name, func(t *testing.T) {
			h := gather(t, letGo)
			victims := h.victims()
			if victims["log, old"] == "" {
				t.Fatalf("no partition has three segments: %v", h.files)
			}
			for kind, file := range victims {
				for _, d := range damages {
					t.Run(kind+"/"+d.name, func(t *testing.T) { h.requireHonest(t, kind, file, d) })
				}
			}
		})
	}
}

// requireHonest starts the platform on a copy with one file damaged and holds
// each partition to what it held.
func (h harvest) requireHonest(t *testing.T, kind, file string, d damage) {
	dir := h.damaged(t, file, d)
	c, serves := testcluster.Launch(t, testcluster.OnData(dir))
	if strings.Contains(c.Log(), "goroutine ") {
		t.Errorf("panicked on %s", file)
	}
	if !serves {
		// An emptied metadata.db is a new cluster's, to which this data does not belong.
		told := strings.Contains(c.Log(), filepath.Base(file)) || strings.Contains(c.Log(), "belongs to cluster")
		if strings.HasSuffix(file, ".log") || !told {
			t.Errorf("refused to start, needlessly or without naming %s", file)
		}
		return
	}
	touched := h.partitionOf(file)
	for p := range int32(harvestPartitions) {
		want := eventsAt(h.events, p)
		got, err := servedBy(t, c, p, want)
		lost := len(want) - len(got)
		t.Logf("partition %d: %d of %d records are served, then: %v", p, len(got), len(want), err)
		switch {
		case err != nil && errcode.FromStatus(status.Convert(err)).Reason != errcode.DataCorrupted:
			t.Errorf("partition %d: %v, want %s", p, err, errcode.DataCorrupted)
		case p != touched || !strings.HasPrefix(kind, "log, ") || kind == "log, active" && d.beyondEnd:
			if lost > 0 || err != nil {
				t.Errorf("partition %d: damage to %s costs %d records: %v", p, file, lost, err)
			}
		case kind == "log, active" && d.looksTorn:
			// On one node a torn tail and a damaged one look the same.
		case lost > 0 && err == nil:
			t.Errorf("partition %d lost %d records without a word", p, lost)
		}
	}
	if !c.Running() {
		t.Errorf("ended: damage to %s is no reason to", file)
	}
}

// partitionOf returns the partition whose folder holds file, or -1.
func (h harvest) partitionOf(file string) int32 {
	m := regexp.MustCompile(`-([0-9]+)$`).FindStringSubmatch(filepath.Dir(file))
	if m == nil {
		return -1
	}
	var p int32
	if _, err := fmt.Sscan(m[1], &p); err != nil {
		return -1
	}
	return p
}

func eventsAt(events []event, partition int32) []event {
	var out []event
	for _, e := range events {
		if e.partition == partition {
			out = append(out, e)
		}
	}
	return out
}

// servedBy reads a partition to its end or its first error. Each record that
// is served must be the one that was written at its offset.
func servedBy(t *testing.T, c *testcluster.Cluster, partition int32, want []event) ([]event, error) {
	t.Helper()
	var got []event
	for next := int64(0); ; {
		resp, err := c.Read(t).Fetch(testcluster.Context(t), &pb.FetchRequest{Topic: "river", Partition: partition,
			Position: &pb.Position{At: &pb.Position_Offset{Offset: next}}})
		if err != nil {
			return got, err
		}
		for _, r := range resp.Records {
			e := eventOf(partition, r)
			if e.offset >= int64(len(want)) || e.String() != want[e.offset].String() {
				t.Fatalf("partition %d serves %s at offset %d, which was never written there", partition, e, e.offset)
			}
			got = append(got, e)
		}
		if resp.NextOffset >= resp.HighWatermark {
			return got, nil
		}
		if resp.NextOffset <= next {
			t.Fatalf("partition %d: the fetch at %d of %d does not go on", partition, next, resp.HighWatermark)
		}
		next = resp.NextOffset
	}
}
