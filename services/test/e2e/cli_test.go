package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// cliDoor is the command line.
type cliDoor struct{ c *testcluster.Cluster }

func (cliDoor) name() string { return "cli" }

// produce gives all records the same header, and the gateway stamps them: that
// is all the verb can say of a line.
func (d cliDoor) produce(t testing.TB, topic string, events []event) []event {
	t.Helper()
	var stdin bytes.Buffer
	sent := make([]event, len(events))
	for i, e := range events {
		fmt.Fprintf(&stdin, "%s\t%s\n", e.key, e.value)
		sent[i] = event{key: e.key, value: e.value, timeMs: anyTime, headers: []header{{"source", []byte("access=log")}}}
	}
	r := d.c.Command(t, &stdin, "produce", topic, "--key-separator", "\t", "-H", "source=access=log")
	if r.Code != 0 {
		t.Fatalf("produce: code %d: %s", r.Code, r.Stderr)
	}
	return sent
}

func (d cliDoor) read(t testing.TB, topic string, _ int32) []event {
	t.Helper()
	return d.consume(t, topic, "--from", "start", "--until-end")
}

func (d cliDoor) consume(t testing.TB, topic string, args ...string) []event {
	t.Helper()
	r := d.c.Command(t, nil, append([]string{"consume", topic, "-o", "jsonl"}, args...)...)
	if r.Code != 0 {
		t.Fatalf("consume: code %d: %s", r.Code, r.Stderr)
	}
	var events []event
	for line := range bytes.Lines(r.Stdout) {
		var place struct{ Partition int32 }
		rec := new(pb.Record)
		if err := json.Unmarshal(line, &place); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, rec); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		events = append(events, eventOf(place.Partition, rec))
	}
	return events
}
