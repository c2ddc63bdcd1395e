package transactions

import (
	"context"
	"sync"
	"testing"
	"time"

	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/journal/journaltest"
	"moldau.dev/coordinator/txn"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

const (
	transactionalID = "app"
	groupID         = "app"
	inputs          = 3 // records to be consumed, one a transaction
	struck          = 1 // in whose transaction the fault strikes
)

// world is a cluster of processes: two storage nodes with a partition of the
// output each, one that keeps the journals, an owner of the transactions, one
// of the groups, gateways as they are needed.
type world struct {
	*testing.T
	c    crash
	meta *journaltest.Metadata

	nodes       []*node
	journal     *journaltest.Storage
	journalNode *process
	topic       topicid.ID // of the output
	input       topicid.ID

	mu      sync.Mutex
	epochs  map[string]int64
	owners  map[string]*coordinator
	all     []*coordinator
	nextPID int64
	armed   bool            // the fault may strike
	struck  map[string]bool // points at which it has
}

func newWorld(t *testing.T, c crash) *world {
	w := &world{
		T: t, c: c, meta: journaltest.NewMetadata(txn.Topic, group.OffsetsTopic), journal: journaltest.NewStorage(), journalNode: &process{},
		epochs: map[string]int64{}, owners: map[string]*coordinator{}, nextPID: 1000, struck: map[string]bool{},
	}
	w.topic, w.input = w.meta.Create("out", 2), w.meta.Create("in", 1)
	w.meta.Change(func(v *metadataclient.View) {
		out := *v.Topics["out"]
		out.Partitions = append([]metadataclient.Partition(nil), out.Partitions...)
		out.Partitions[0].Leader, out.Partitions[1].Leader = 0, 1
		v.Topics["out"], v.TopicsByID[out.ID] = &out, &out
	})
	w.nodes = []*node{newNode(w, 0), newNode(w, 1)}
	if c.point == "epoch overflow" {
		w.seed(txn.Identity{ProducerID: 7, Epoch: 32763}) // the struck transaction is at the last epoch
	}
	w.startCoordinator(txn.Topic)
	w.startCoordinator(group.OffsetsTopic)
	return w
}

// seed writes that the transactional id is held by a producer of long ago.
func (w *world) seed(who txn.Identity) {
	j, err := journal.Open(w.Context(), journal.Config{Topic: txn.Topic, OwnerEpoch: 1, CallTimeout: time.Second}, w.journalDeps(), func(journal.Record) error { return nil })
	if err != nil {
		w.Fatal(err)
	}
	r := &txn.Record{State: txn.Empty, Producer: who, Previous: txn.Nobody, Marker: txn.Nobody, TimeoutMs: 60_000, UpdateMs: time.Now().UnixMilli(), Ended: txn.Ended{Producer: txn.Nobody}}
	if err := j.Append(w.Context(), []journal.Record{journal.Put(txn.Kind, r.Proto(), transactionalID)}); err != nil {
		w.Fatal(err)
	}
	w.epochs[txn.Topic] = 1
}

func (w *world) owner(what string) *coordinator {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.owners[what]
}

func (w *world) allocate() txn.ProducerIDs {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextPID += 1000
	return txn.ProducerIDs{First: w.nextPID - 1000, Count: 1000}
}

// arm lets the fault strike from now on.
func (w *world) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = true
}

// reach is called where a point of T19 is reached, with the process that the
// fault strikes there; nil is the owner of the transactions.
func (w *world) reach(point string, at any) {
	w.mu.Lock()
	wanted := point == w.c.point || w.c.point == movedEverywhere && moves[point]
	strikes := w.armed && wanted && !w.struck[point]
	if strikes {
		w.struck[point] = true
	}
	w.mu.Unlock()
	if strikes {
		if at == nil {
			at = w.owner(txn.Topic)
		}
		w.strike(at)
	}
}

const (
	away     = 10 * time.Second // how long a pause and a partition last
	restarts = 2 * time.Second
	fenced   = 4 * time.Second // when others notice that a coordinator is silent
)

// strike lets the fault of the case happen to a process.
func (w *world) strike(at any) {
	w.Logf("%s of %T", w.c.fault, at)
	switch p := at.(type) {
	case *coordinator:
		w.strikeCoordinator(p)
	case *node:
		switch w.c.fault {
		case kill:
			p.kill()
			p.crash()
			time.AfterFunc(restarts, p.restart)
		case pause:
			p.pause(away)
		case partition:
			p.cutOff(away)
		}
	case *process: // a gateway
		switch w.c.fault {
		case kill:
			p.kill()
		case pause:
			p.pause(away)
		case partition:
			p.cutOff(away)
		}
	}
}

func (w *world) strikeCoordinator(c *coordinator) {
	switch w.c.fault {
	case kill:
		c.kill()
		time.AfterFunc(restarts, func() { w.startCoordinator(c.what) })
	case pause:
		c.pause(away)
		time.AfterFunc(fenced, func() { w.startCoordinator(c.what) })
	case partition:
		c.cutOff(away)
		time.AfterFunc(fenced, func() { w.startCoordinator(c.what) })
	}
	time.AfterFunc(away+time.Second, c.shard.Stop) // it hears that it owns nothing any more
}

// journalDeps are for a journal that no fault strikes.
func (w *world) journalDeps() journal.Deps {
	return journal.Deps{Clock: realClock, Log: quiet, Metadata: w.meta, Nodes: steady{w.journal}}
}

// steady is the journals' node without a process between.
type steady struct{ storageclient.Storage }

func (s steady) Node(int32) (storageclient.Storage, error) { return s, nil }

func unavailable() error { return errcode.New(errcode.CoordinatorUnavailable, "nobody answers") }

// within bounds one try of a client.
func (w *world) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.Context(), d)
}
