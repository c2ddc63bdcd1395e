package metadata

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// town is a metadata process and the services that follow it, all in the time
// of a synctest bubble.
type town struct {
	*testing.T
	service *Service
	door    metadataclient.Client
	started atomic.Int64 // nodes; each is another incarnation, though no time may pass
}

// bubble runs f in a town; the cluster keeps three replicas by default, of which
// two must be in sync.
func bubble(t *testing.T, f func(*town)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := inMemory()
		cfg.DefaultReplicationFactor, cfg.MinInsyncReplicas, cfg.CoordinatorShards = 3, 2, 8
		s := serve(t, cfg, Deps{})
		f(&town{T: t, service: s, door: local(t, s, metadataclient.Options{})})
	})
}

// await waits until the view is as is wanted.
func (w *town) await(what string, is func(v *metadataclient.View) bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Hour)
	defer cancel()
	for {
		changed := w.door.Changed()
		if is(w.door.View()) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			v := w.door.View()
			for _, t := range v.Topics {
				w.Logf("%s: %+v", t.Name, t.Partitions)
			}
			w.Fatalf("never: %s", what)
		}
	}
}

// model is a storage node without storage: it beats, and what it leads it
// finds in sync.
type model struct {
	w     *town
	id    int32
	epoch int64
	door  metadataclient.Client
	stop  context.CancelFunc
	done  sync.WaitGroup
	// stopped is the revision at which the controller let the node stop.
	stopped int64

	mu       sync.Mutex
	draining bool
}

// start registers a node and lets it run until it is killed or the test ends.
func (w *town) start(id int32, edit ...func(*metadatav1.RegisterNodeRequest)) *model {
	w.Helper()
	n := &model{w: w, id: id, door: local(w.T, w.service, metadataclient.Options{})}
	req := &metadatav1.RegisterNodeRequest{NodeId: id, Incarnation: fmt.Sprint(id, "-", w.started.Add(1)), Address: fmt.Sprintf("node-%d:1", id)}
	for _, e := range edit {
		e(req)
	}
	for {
		r, err := n.door.RegisterNode(w.Context(), req)
		if err == nil {
			n.epoch = r.NodeEpoch
			break
		}
		if !errcode.Is(err, errcode.NodeUnavailable) {
			w.Fatal(err)
		}
		time.Sleep(errcode.Of(err).RetryAfter)
	}
	ctx, cancel := context.WithCancel(w.Context())
	n.stop = cancel
	n.done.Go(func() { n.run(ctx) })
	w.Cleanup(n.kill)
	return n
}

func clean(former *model) func(*metadatav1.RegisterNodeRequest) {
	return func(r *metadatav1.RegisterNodeRequest) {
		r.PreviousNodeEpoch, r.ClusterId = former.epoch, former.door.View().ClusterID
	}
}

// kill ends the node without a word.
func (n *model) kill() {
	n.stop()
	n.done.Wait()
}

// shutDown ends the node once the controller says that it may (N5).
func (n *model) shutDown() {
	n.mu.Lock()
	n.draining = true
	n.mu.Unlock()
	n.done.Wait()
}

func (n *model) run(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := n.door.Changed()
		n.mu.Lock()
		draining := n.draining
		n.mu.Unlock()
		v := n.door.View()
		req := &metadatav1.HeartbeatRequest{NodeId: n.id, NodeEpoch: n.epoch, Revision: v.Revision, Ready: !draining, Draining: draining}
		for id := range v.Deleted {
			req.DeletedTopics = append(req.DeletedTopics, id[:])
		}
		if resp, err := n.door.Heartbeat(ctx, req); draining && err == nil && resp.Fenced {
			n.stopped = resp.Revision
			return
		}
		n.grow(ctx, v)
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// grow proposes every live replica of what the node leads.
func (n *model) grow(ctx context.Context, v *metadataclient.View) {
	req := &metadatav1.AlterPartitionsRequest{NodeId: n.id, NodeEpoch: n.epoch}
	for id, t := range v.TopicsByID {
		for i, p := range t.Partitions {
			if p.Leader != n.id {
				continue
			}
			ask := &metadatav1.AlterPartition{TopicId: id[:], Partition: int32(i), LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch}
			grown := false
			for _, r := range p.Replicas {
				node := v.Nodes[r]
				if node == nil || node.Fenced || node.Draining {
					continue
				}
				grown = grown || !slices.Contains(p.ISR, r)
				ask.Isr = append(ask.Isr, &metadatav1.InSyncReplica{NodeId: r, NodeEpoch: node.Epoch})
			}
			if grown {
				req.Partitions = append(req.Partitions, ask)
			}
		}
	}
	if len(req.Partitions) > 0 {
		_, _ = n.door.AlterPartitions(ctx, req) // refused where the view was old
	}
}

// allInSync tells whether every replica of every partition is in sync and
// nothing moves.
func allInSync(v *metadataclient.View) bool {
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			if len(p.ISR) != len(p.Replicas) || len(p.Adding)+len(p.Removing) > 0 {
				return false
			}
		}
	}
	return true
}

// holding counts replicas and leaders by node.
func holding(v *metadataclient.View) (replicas, leaders map[int32]int) {
	replicas, leaders = map[int32]int{}, map[int32]int{}
	for _, t := range v.Topics {
		for _, p := range t.Partitions {
			leaders[p.Leader]++
			for _, r := range p.Replicas {
				replicas[r]++
			}
		}
	}
	return replicas, leaders
}
