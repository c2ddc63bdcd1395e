// Package transactions looks at transactions while what carries them is
// killed, paused and cut off, at each of the points of rule T19: real shards
// over real journals, the real marker sender, guard and producer states; the
// network, the disks and the processes around them are models, in the time of a
// bubble.
package transactions

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/shard"
	"moldau.dev/coordinator/txn"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fault is what happens to a process.
type fault string

const (
	kill      fault = "kill"
	pause     fault = "pause"
	partition fault = "partition"
)

// crash is one case of T19.
type crash struct {
	point string
	fault fault
}

// movedEverywhere is the point that stands for all moves of a coordinator, one
// at each of these.
const movedEverywhere = "coordinator moved between each pair"

var moves = map[string]bool{
	"add persisted": true, "add answered": true, "prepare appended": true, "prepare below the high watermark": true,
	"client answered": true, "marker sent": true, "all markers": true, "complete appended": true,
}

// points are those of T19, in its order.
var points = []string{
	"guard created", "add persisted", "add answered", "batch appended", "batch below the high watermark",
	"prepare appended", "prepare below the high watermark", "client answered", "marker sent", "marker appended on one of n",
	"all markers", "complete appended", "epoch overflow", movedEverywhere, "offset-commit partition moved",
	"gateway dies with the response in hand",
}

// TestExactlyOnceThroughEachCrash runs the 48 cases, each under both protocols,
// with a transaction that commits, with one that aborts, and with one whose
// client dies.
func TestExactlyOnceThroughEachCrash(t *testing.T) {
	for _, point := range points {
		for _, f := range []fault{kill, pause, partition} {
			for _, version := range []int8{1, 2} {
				for _, end := range []ending{commits, aborts, dies} {
					name := fmt.Sprintf("%s/%s/version %d/%s", point, f, version, end)
					t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							w := newWorld(t, crash{point, f})
							c := &client{w: w, g: gateway{&process{}, w}, version: version, end: end}
							c.run()
							w.settle()
							w.check(version)
						})
					})
				}
			}
		}
	}
}

// settle waits for all that a fault has left behind to come to its end
// (invariant 26), and ends every process.
func (w *world) settle() {
	time.Sleep(time.Minute)
	w.listing()
	w.mu.Lock()
	all := slices.Clone(w.all)
	w.mu.Unlock()
	for _, c := range all {
		c.retire()
	}
	time.Sleep(time.Minute) // calls that nobody waits for
}

// listing checks that no transaction hangs, and what the group has committed.
func (w *world) listing() {
	w.Helper()
	listed, err := shard.Ask[[]txn.Listed](w.Context(), w.owner(txn.Topic).shard, txn.List{LongerThanMs: -1})
	if err != nil {
		w.Fatal(err)
	}
	for _, l := range *listed {
		if l.State == txn.Ongoing || l.State == txn.PrepareCommit || l.State == txn.PrepareAbort {
			w.Errorf("the transaction hangs in %s", l.State)
		}
	}
	resp, err := shard.Ask[coordinatorv1.FetchOffsetsResponse](w.Context(), w.owner(group.OffsetsTopic).shard, &coordinatorv1.FetchOffsetsRequest{
		RequireStable: true, Groups: []*coordinatorv1.FetchGroupOffsets{{GroupId: groupID, MemberEpoch: -1, All: true}},
	})
	if err != nil {
		w.Fatal(err)
	}
	if o := resp.GetGroups()[0].GetOffsets(); len(o) != 1 || o[0].GetOffset() != inputs {
		w.Errorf("committed offsets: %v", resp)
	}
}

// check looks at the output: each input once, in order, and nothing left open
// (invariants 22 to 26).
func (w *world) check(version int8) {
	w.Helper()
	for i, n := range w.nodes {
		values, ended := n.committed()
		if want := []string{"0", "1", "2"}; !slices.Equal(values, want) {
			w.Errorf("output %d has %v, want %v", i, values, want)
		}
		if !ended {
			w.Errorf("a transaction is left open in output %d", i)
		}
	}
	if len(w.struck) == 0 {
		w.Error("the fault never struck")
	}
	if n := len(w.struck); w.c.point == movedEverywhere && n != len(moves) {
		w.Errorf("struck at %d of %d points: %v", n, len(moves), w.struck)
	}
}
