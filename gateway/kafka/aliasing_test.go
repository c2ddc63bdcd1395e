package kafka_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// TestWhatCoordinatorsKeepOutlivesTheRequest hands in what coordinators keep,
// then fills the buffers of requests with other bytes: assignments that changed
// later would send members to topics that are none.
func TestWhatCoordinatorsKeepOutlivesTheRequest(t *testing.T) {
	_, s, c := withCoordinator(t)
	w := dial(t, s.KafkaAddr())
	ask := func(req kmsg.Request) {
		t.Helper()
		_, err := w.ask(req)
		check(t, err)
	}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group = "g"
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: []byte("mine")}}
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.Protocols = "g", []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("mine too")}}
	other := kmsg.NewPtrHeartbeatRequest()
	other.Group = strings.Repeat("x", 200)
	for range 50 {
		c.set(&coordinatorv1.SyncGroupResponse{}, nil)
		ask(sync)
		assigned := c.last().(*coordinatorv1.SyncGroupRequest)
		c.set(&coordinatorv1.JoinGroupResponse{}, nil)
		ask(join)
		joined := c.last().(*coordinatorv1.JoinGroupRequest)
		c.set(&coordinatorv1.HeartbeatGroupResponse{}, nil)
		ask(other)
		if got := string(assigned.GetAssignments()[0].GetAssignment()); got != "mine" {
			t.Fatalf("the assignment became %q", got)
		}
		if got := string(joined.GetProtocols()[0].GetMetadata()); got != "mine too" {
			t.Fatalf("the subscription became %q", got)
		}
	}
}
