package e2e

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// TestSecondStartOnTheSameDataIsRefused starts a second process on a data
// folder in use: it must say so and leave the first one alone.
func TestSecondStartOnTheSameDataIsRefused(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "good", 1, nil)
	second := c.StartRival(t)
	if code := second.Exit(t); code == 0 {
		t.Error("the second start ended with code 0")
	}
	if log := second.Log(); !strings.Contains(log, c.DataDir()) || !strings.Contains(log, "in use") {
		t.Errorf("the refusal should name the folder and say that it is in use: %s", log)
	}
	requireUnharmed(t, c)
}

// TestTermDrains asks a busy process to end: every produce that it took is
// answered, open reads are told to reconnect and where, and it ends well.
func TestTermDrains(t *testing.T) {
	c := testcluster.Start(t)
	c.CreateTopic(t, "good", 1, nil)
	ctx := testcluster.Context(t)
	stream, err := c.Read(t).Read(ctx, &pb.ReadRequest{Topics: []*pb.ReadTopic{{Topic: "good"}}})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || first.GetStarted() == nil {
		t.Fatalf("first frame: %v, %v", first, err)
	}
	acked := make(chan int)
	client := c.Produce(t)
	go func() {
		n := 0
		for ; ; n++ {
			resp, err := client.Produce(ctx, &pb.ProduceRequest{Topic: "good", Records: []*pb.Record{{Value: fmt.Append(nil, n)}}})
			if err != nil || resp.Results[0].Error != nil {
				break
			}
		}
		acked <- n
	}()
	resume := readUntilReconnect(t, stream, func() { c.Signal(t, syscall.SIGTERM) })
	if code := c.Exit(t); code != 0 {
		t.Errorf("ended with code %d after SIGTERM", code)
	}
	n := <-acked
	c.Restart(t)
	events := grpcDoor{c}.read(t, "good", 1)
	if len(events) != n {
		t.Errorf("%d records were acknowledged, %d are there", n, len(events))
	}
	if next := resume.Topics[0].Partitions[0].Position.GetOffset(); next < 1 || next > int64(len(events)) {
		t.Errorf("the stream resumes at %d of %d", next, len(events))
	}
}

// readUntilReconnect calls once when the first records came, and returns where
// the server said to go on.
func readUntilReconnect(t *testing.T, stream pb.ReadService_ReadClient, once func()) *pb.ReadRequest {
	t.Helper()
	var resume *pb.ReadRequest
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("a drained stream should end well: %v", err)
		}
		if frame.GetRecords() != nil && once != nil {
			once()
			once = nil
		}
		if r := frame.GetReconnect(); r != nil {
			resume = r.Resume
		}
	}
	if resume == nil || len(resume.Topics) != 1 || len(resume.Topics[0].Partitions) != 1 {
		t.Fatalf("the stream ended without saying where to go on: %v", resume)
	}
	return resume
}

// TestRolesRunAsProcessesOfTheirOwn runs each role in its own process and
// sends the access log through them; then each one is killed and comes back.
func TestRolesRunAsProcessesOfTheirOwn(t *testing.T) {
	const partitions = 6
	c := testcluster.StartSplit(t)
	c.CreateTopic(t, "river", partitions, keepForever)
	events := eventsOf(accessLog(t))
	half := len(events) / 2
	grpcDoor{c}.produce(t, "river", events[:half])
	c.Kill()
	c.Restart(t)
	connectDoor{c}.produce(t, "river", events[half:])
	want := placed(events, partitions)
	for _, d := range doorsOf(c) {
		t.Run(d.name(), func(t *testing.T) { sameEvents(t, want, d.read(t, "river", partitions)) })
	}
}
