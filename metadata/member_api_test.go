package metadata

import (
	"testing"
	"testing/synctest"
	"time"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

func coordinatorBeat(id int32, incarnation, address string) *metadatav1.HeartbeatRequest {
	return &metadatav1.HeartbeatRequest{NodeId: -1, Coordinator: &metadatav1.CoordinatorState{CoordinatorId: id, Incarnation: incarnation, Address: address}}
}

func gatewayBeat(id int32, incarnation, address string) *metadatav1.HeartbeatRequest {
	return &metadatav1.HeartbeatRequest{NodeId: -1, Gateway: &metadatav1.GatewayState{BrokerId: id, Incarnation: incarnation, KafkaAddress: address, LocalNodes: []int32{1}}}
}

func (w *town) beat(req *metadatav1.HeartbeatRequest) error {
	_, err := w.door.Heartbeat(w.Context(), req)
	return err
}

// keep beats every half second until the test ends or stop is called.
func (w *town) keep(req *metadatav1.HeartbeatRequest) (stop func()) {
	w.Helper()
	if err := w.beat(req); err != nil {
		w.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = w.beat(req)
			case <-done:
				return
			}
		}
	}()
	stop = func() {
		select {
		case <-done:
		default:
			close(done)
			<-ended
		}
	}
	w.Cleanup(stop)
	return stop
}

func owners(v *metadataclient.View) map[int32]int {
	n := map[int32]int{}
	for _, s := range v.Shards {
		n[s.Owner]++
	}
	return n
}

func TestCoordinatorsShareTheShards(t *testing.T) {
	bubble(t, func(w *town) {
		threeNodes(w)
		w.keep(coordinatorBeat(1, "a", "c:1"))
		w.await("the first has all", func(v *metadataclient.View) bool { return owners(v)[1] == 8 })
		w.await("their topics are there", func(v *metadataclient.View) bool {
			a, b := v.Topics["__consumer_offsets"], v.Topics["__transaction_state"]
			return a != nil && b != nil && len(a.Partitions) == 8 && len(b.Partitions) == 8 && len(a.Partitions[0].Replicas) == 3 &&
				a.Partitions[0].MinISR == 2 && a.Configs["cleanup.policy"] == "compact"
		})
		second := w.keep(coordinatorBeat(2, "a", "c:2"))
		w.await("the second has half", func(v *metadataclient.View) bool { return owners(v)[2] == 4 })
		before := w.door.View().Shards
		second()
		w.await("the first has all again", func(v *metadataclient.View) bool { return owners(v)[1] == 8 && v.Coordinators[2].Fenced })
		for i, s := range w.door.View().Shards {
			if (s.Epoch != before[i].Epoch) != (before[i].Owner == 2) {
				w.Errorf("shard %d: %+v became %+v", i, before[i], s)
			}
		}
	})
}

func TestCoordinatorThatLeavesGivesUpItsShardsAtOnce(t *testing.T) {
	bubble(t, func(w *town) {
		stop := w.keep(coordinatorBeat(1, "a", "c:1"))
		w.keep(coordinatorBeat(2, "a", "c:2"))
		w.await("both have half", func(v *metadataclient.View) bool { return owners(v)[2] == 4 })
		stop()
		leave := coordinatorBeat(1, "a", "c:1")
		leave.Draining = true
		if err := w.beat(leave); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		if n := owners(w.door.View()); n[2] != 8 {
			w.Errorf("owners %v", n)
		}
	})
}

// TestIncarnations: of two that use one id, the older stays while it lives, and
// the former self of one at the same address is gone.
func TestIncarnations(t *testing.T) {
	for name, beat := range map[string]func(int32, string, string) *metadatav1.HeartbeatRequest{"coordinator": coordinatorBeat, "gateway": gatewayBeat} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *town) {
				stop := w.keep(beat(1, "a", "here:1"))
				err := w.beat(beat(1, "b", "elsewhere:1"))
				if !errcode.Is(err, errcode.NodeUnavailable) || errcode.Of(err).RetryAfter <= 0 {
					w.Errorf("beside one that lives: %v", err)
				}
				if err := w.beat(beat(1, "c", "here:1")); err != nil {
					w.Errorf("started anew: %v", err)
				}
				if err := w.beat(beat(1, "a", "here:1")); !errcode.Is(err, errcode.StaleNodeEpoch) {
					w.Errorf("the former self: %v", err)
				}
				stop()
				time.Sleep(5 * time.Second)
				if err := w.beat(beat(1, "b", "elsewhere:1")); err != nil {
					w.Errorf("after the other fell silent: %v", err)
				}
			})
		})
	}
}

func TestGatewaysAreListedWhileTheyLive(t *testing.T) {
	bubble(t, func(w *town) {
		w.keep(gatewayBeat(5, "a", "g:5"))
		stop := w.keep(gatewayBeat(6, "a", "g:6"))
		w.await("both are listed", func(v *metadataclient.View) bool { return v.Gateways[5] != nil && v.Gateways[6] != nil })
		if a, b := w.door.View().Gateways[5], w.door.View().Gateways[6]; a.Epoch == b.Epoch || a.KafkaAddress != "g:5" || len(b.LocalNodes) != 1 {
			w.Errorf("%+v, %+v", a, b)
		}
		revision := w.door.View().Revision
		time.Sleep(time.Minute)
		if now := w.door.View().Revision; now != revision {
			w.Errorf("%d changes by heartbeats alone", now-revision)
		}
		stop()
		w.await("the silent one is fenced", func(v *metadataclient.View) bool { return v.Gateways[6].Fenced && !v.Gateways[5].Fenced })
		w.await("and forgotten", func(v *metadataclient.View) bool { return v.Gateways[6] == nil })
	})
}

func TestSettingsAndFeaturesAreSeen(t *testing.T) {
	bubble(t, func(w *town) {
		if got := w.door.View().Settings.Features["transaction.version"]; got != 2 {
			w.await("the first state", func(v *metadataclient.View) bool { return v.Settings.Features["transaction.version"] == 2 })
		}
		for _, req := range []*metadatav1.AlterClusterConfigsRequest{
			{BrokerId: -1, Set: map[string]string{"num.partitions": "5"}}, {BrokerId: 7, Set: map[string]string{"a": "b"}},
			{BrokerId: -1, Set: map[string]string{"num.partitions": "6"}, ValidateOnly: true},
		} {
			if _, err := w.door.AlterClusterConfigs(w.Context(), req); err != nil {
				w.Fatal(err)
			}
		}
		if _, err := w.door.UpdateFeatures(w.Context(), &metadatav1.UpdateFeaturesRequest{Levels: map[string]int32{"group.version": 0}}); !errcode.Is(err, errcode.FeatureUpdateFailed) {
			w.Errorf("downgrade: %v", err)
		}
		if _, err := w.door.UpdateFeatures(w.Context(), &metadatav1.UpdateFeaturesRequest{Levels: map[string]int32{"group.version": 0}, AllowDowngrade: true}); err != nil {
			w.Error(err)
		}
		w.await("all is seen", func(v *metadataclient.View) bool {
			s := v.Settings
			return s.Configs["num.partitions"] == "5" && s.Brokers[7]["a"] == "b" && s.Features["group.version"] == 0 && s.Features["transaction.version"] == 2
		})
		threeNodes(w)
		w.create("t", 0)
		w.await("and decides", func(v *metadataclient.View) bool { return v.Topics["t"] != nil && len(v.Topics["t"].Partitions) == 5 })
	})
}
