package metadata

import (
	"testing"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

func unfencedNodes(n int) func(v *metadataclient.View) bool {
	return func(v *metadataclient.View) bool {
		live := 0
		for _, node := range v.Nodes {
			if !node.Fenced {
				live++
			}
		}
		return live == n
	}
}

func (w *town) create(name string, partitions int32) {
	w.Helper()
	w.createAs(&metadatav1.CreateTopicRequest{Name: name, PartitionCount: partitions})
}

func (w *town) createAs(req *metadatav1.CreateTopicRequest) {
	w.Helper()
	if _, err := w.door.CreateTopic(w.Context(), req); err != nil {
		w.Fatal(err)
	}
	w.await("the topic is seen", func(v *metadataclient.View) bool { return v.Topics[req.Name] != nil })
}

func threeNodes(w *town) [3]*model {
	nodes := [3]*model{w.start(1), w.start(2), w.start(3)}
	w.await("three nodes serve", unfencedNodes(3))
	return nodes
}

func TestDeathOfANodeMovesItsLeaders(t *testing.T) {
	bubble(t, func(w *town) {
		nodes := threeNodes(w)
		w.create("t", 12)
		if p := w.door.View().Topics["t"].Partitions[0]; p.MinISR != 2 || len(p.ISR) != 3 {
			w.Fatalf("created as %+v", p)
		}
		nodes[0].kill()
		w.await("others lead", func(v *metadataclient.View) bool {
			_, leaders := holding(v)
			return leaders[1] == 0 && leaders[2] == 6 && leaders[3] == 6
		})
		w.start(1, clean(nodes[0]))
		w.await("all are in sync again", allInSync)
		w.await("preferred leaders lead again", func(v *metadataclient.View) bool {
			_, leaders := holding(v)
			return leaders[1] == 4 && leaders[2] == 4 && leaders[3] == 4
		})
	})
}

// TestControlledShutdown: a node leads nothing any more before it stops, and
// comes back as itself (N5).
func TestControlledShutdown(t *testing.T) {
	bubble(t, func(w *town) {
		nodes := threeNodes(w)
		w.create("t", 3)
		nodes[2].shutDown()
		if err := w.door.WaitRevision(w.Context(), nodes[2].stopped); err != nil {
			w.Fatal(err)
		}
		_, leaders := holding(w.door.View())
		if leaders[3] != 0 || leaders[-1] != 0 {
			w.Fatalf("stopped while leaders were %v", leaders)
		}
		w.start(3, clean(nodes[2]))
		w.await("all are in sync again", allInSync)
	})
}

func TestDrainedNodeCanBeRemoved(t *testing.T) {
	bubble(t, func(w *town) {
		nodes := threeNodes(w)
		w.create("t", 40)
		if _, err := w.door.DrainNode(w.Context(), &metadatav1.DrainNodeRequest{NodeId: 1}); !errcode.Is(err, errcode.PolicyViolation) {
			w.Fatalf("drained with nowhere to go: %v", err)
		}
		w.start(4)
		w.await("four nodes serve", unfencedNodes(4))
		r, err := w.door.DrainNode(w.Context(), &metadatav1.DrainNodeRequest{NodeId: 1})
		if err != nil || r.ReplicasLeft != 40 {
			w.Fatalf("drain: %v, %v", r, err)
		}
		moving := 0
		w.await("nothing is on node 1", func(v *metadataclient.View) bool {
			n := 0
			for _, p := range v.Topics["t"].Partitions {
				if len(p.Removing) > 0 {
					n++
				}
			}
			moving = max(moving, n)
			replicas, _ := holding(v)
			return replicas[1] == 0
		})
		if moving == 0 || moving > 20 {
			w.Errorf("%d partitions moved at once", moving)
		}
		if _, err := w.door.RemoveNode(w.Context(), &metadatav1.RemoveNodeRequest{NodeId: 1}); !errcode.Is(err, errcode.PolicyViolation) {
			w.Errorf("removed in service: %v", err)
		}
		nodes[0].shutDown()
		if _, err := w.door.RemoveNode(w.Context(), &metadatav1.RemoveNodeRequest{NodeId: 1}); err != nil {
			w.Fatal(err)
		}
		w.await("node 1 is forgotten", func(v *metadataclient.View) bool { return v.Nodes[1] == nil && allInSync(v) })
	})
}

func TestNewNodeGetsItsShare(t *testing.T) {
	bubble(t, func(w *town) {
		threeNodes(w)
		w.create("t", 24)
		w.start(4)
		w.await("replicas and leaders are even", func(v *metadataclient.View) bool {
			replicas, leaders := holding(v)
			return allInSync(v) && replicas[4] >= 15 && replicas[4] <= 20 && leaders[4] >= 4 && leaders[4] <= 8
		})
	})
}

func TestRebalanceNow(t *testing.T) {
	bubble(t, func(w *town) {
		threeNodes(w)
		w.start(4)
		w.await("four nodes serve", unfencedNodes(4))
		all := &metadatav1.CreateTopicRequest{Name: "t"}
		for range 12 {
			all.Assignment = append(all.Assignment, &metadatav1.ReplicaList{Replicas: []int32{1, 2, 3}})
		}
		w.createAs(all)
		plan, err := w.door.Rebalance(w.Context(), &metadatav1.RebalanceRequest{ValidateOnly: true})
		if err != nil || len(plan.Reassignments) < 6 || !allInSync(w.door.View()) {
			w.Fatalf("plan: %v, %v", plan, err)
		}
		if _, err := w.door.Rebalance(w.Context(), &metadatav1.RebalanceRequest{}); err != nil {
			w.Fatal(err)
		}
		w.await("node 4 has replicas", func(v *metadataclient.View) bool {
			replicas, _ := holding(v)
			return allInSync(v) && replicas[4] >= 6
		})
	})
}

func TestElectionsAndMovesByHand(t *testing.T) {
	bubble(t, func(w *town) {
		threeNodes(w)
		w.create("t", 1)
		id := w.door.View().Topics["t"].ID
		leader := w.door.View().Topics["t"].Partitions[0].Leader
		next := leader%3 + 1
		move := func(replicas ...int32) *metadatav1.AlterPartitionResult {
			r, err := w.door.AlterReassignments(w.Context(), &metadatav1.AlterReassignmentsRequest{
				Reassignments: []*metadatav1.Reassignment{{TopicId: id[:], Replicas: replicas}},
			})
			if err != nil {
				w.Fatal(err)
			}
			return r.Results[0]
		}
		if r := move(9); r.Error.GetReason() != string(errcode.InvalidReplicaAssignment) || r.State == nil {
			w.Errorf("to a stranger: %v", r)
		}
		if r := move(); r.Error.GetReason() != string(errcode.NoReassignment) {
			w.Errorf("cancel of nothing: %v", r)
		}
		if r := move(next, leader); r.Error != nil || len(r.State.Replicas) != 2 || r.State.MinInsyncReplicas != 2 {
			w.Errorf("fewer replicas: %v", r)
		}
		e, err := w.door.ElectLeaders(w.Context(), &metadatav1.ElectLeadersRequest{})
		if err != nil || len(e.Results) != 1 || e.Results[0].State.Leader != next {
			w.Errorf("preferred leaders: %v, %v", e, err)
		}
		e, err = w.door.ElectLeaders(w.Context(), &metadatav1.ElectLeadersRequest{
			Unclean: true, Elections: []*metadatav1.LeaderElection{{TopicId: id[:], Replica: -1}},
		})
		if err != nil || e.Results[0].Error.GetReason() != string(errcode.ElectionNotNeeded) {
			w.Errorf("with loss beside a leader: %v, %v", e, err)
		}
	})
}

// TestDamageIsReported: whoever is suspect leaves, and only an operator may
// make it lead (N6, R13).
func TestDamageIsReported(t *testing.T) {
	bubble(t, func(w *town) {
		n := w.start(1)
		w.await("a node serves", unfencedNodes(1))
		w.createAs(&metadatav1.CreateTopicRequest{Name: "t", ReplicationFactor: 1})
		id := w.door.View().Topics["t"].ID
		report := &metadatav1.ReportReplicasRequest{NodeId: 1, NodeEpoch: n.epoch, Replicas: []*metadatav1.SuspectReplica{{TopicId: id[:], Why: "a bad CRC"}}}
		if _, err := n.door.ReportReplicas(w.Context(), report); err != nil {
			w.Fatal(err)
		}
		w.await("nobody leads", func(v *metadataclient.View) bool {
			p := v.Topics["t"].Partitions[0]
			return p.Leader == -1 && len(p.ELR) == 0 && len(p.LastKnownELR) == 1
		})
		e, err := w.door.ElectLeaders(w.Context(), &metadatav1.ElectLeadersRequest{
			Unclean: true, Elections: []*metadatav1.LeaderElection{{TopicId: id[:], Replica: 1}},
		})
		if err != nil || e.Results[0].Error != nil || !e.Results[0].State.Recovering {
			w.Errorf("with loss: %v, %v", e, err)
		}
		report.NodeEpoch--
		if _, err := n.door.ReportReplicas(w.Context(), report); !errcode.Is(err, errcode.StaleNodeEpoch) {
			w.Errorf("a stale report: %v", err)
		}
	})
}

func TestDeletedTopicIsForgottenOnceNobodyHoldsIt(t *testing.T) {
	bubble(t, func(w *town) {
		nodes := threeNodes(w)
		w.create("t", 3)
		id := w.door.View().Topics["t"].ID
		nodes[1].kill()
		if _, err := w.door.DeleteTopic(w.Context(), &metadatav1.DeleteTopicRequest{Name: "t"}); err != nil {
			w.Fatal(err)
		}
		w.await("two nodes serve", unfencedNodes(2))
		if _, there := w.door.View().Deleted[id]; !there {
			w.Fatal("forgotten while a node sleeps")
		}
		w.start(2, clean(nodes[1]))
		w.await("it is forgotten", func(v *metadataclient.View) bool { return len(v.Deleted) == 0 })
	})
}
