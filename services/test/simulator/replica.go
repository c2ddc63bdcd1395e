package simulator

import (
	"encoding/binary"
	"fmt"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/services/record"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/producer"
	"moldau.dev/storage-node/replication"
	"moldau.dev/storage-node/vfs"
)

// replica is one partition on one node: its log and producers, and the core of
// the role that it has.
type replica struct {
	n         *node
	part      int
	log       *commitlog.Log
	producers *producer.State
	hw        int64
	dirty     bool

	// owner is the highest epoch of the shard whose journal this is that was seen
	// here in this life, ownedFrom where the log ended then.
	owner, ownedFrom int64

	epoch      int32 // leader epoch of the role; -1: none yet
	leaderNode int32
	leader     *replication.Leader
	follower   *replication.Follower
	session    uint64
	senders    map[int32]*sender
	incoming   []incoming // Data that waits for the Append before it
	writing    bool
	waiting    []waiting // appends that are not committed yet
	wakes      int       // of the core; an earlier Wake is void
}

// incoming is a Data frame with its batches.
type incoming struct {
	data    replication.Data
	batches []byte
}

// waiting is an append that is answered once the high watermark passes it.
type waiting struct {
	end  int64
	done func(ok bool)
}

func (n *node) path(part int) string { return fmt.Sprintf("%s/p%d", n.dir(), part) }

var logConfig = commitlog.Config{SegmentBytes: 4 << 10, IndexIntervalBytes: 512}

// open recovers a replica from the disk.
func (n *node) open(part int) *replica {
	r := &replica{n: n, part: part, epoch: -1, leaderNode: cluster.NoLeader, senders: map[int32]*sender{}}
	l, _, err := commitlog.Open(n.disk, n.path(part), logConfig, commitlog.NewFileCache(64))
	if err != nil {
		n.w.fail("node %d cannot open its log: %v", n.id, err)
	}
	if _, err := l.Sync(); err != nil { // after a mere kill it may be in the page cache only (N3a)
		n.w.fail("node %d: sync: %v", n.id, err)
	}
	r.log = l
	r.replay()
	r.hw = min(max(r.loadHW(), l.StartOffset()), l.EndOffset())
	n.w.checkRecovered(r)
	return r
}

// replay rebuilds what is known of producers (invariant 27).
func (r *replica) replay() {
	r.producers = producer.New(1000, r.n.w.firstGuard())
	r.each(r.log.StartOffset(), r.log.EndOffset(), func(batch []byte, h *record.Header) {
		r.producers.Apply(batch, h, 0)
	})
}

// each calls do with the batches of [from, to).
func (r *replica) each(from, to int64, do func(batch []byte, h *record.Header)) {
	for from < to {
		b, err := r.log.Read(from, to, 64<<10, true, nil)
		if err != nil {
			r.n.w.fail("node %d, partition %d: read at %d: %v", r.n.id, r.part, from, err)
		}
		if len(b) == 0 {
			return
		}
		for len(b) > 0 {
			batch, rest, h, err := record.Next(b)
			if err != nil {
				r.n.w.fail("node %d, partition %d: %v", r.n.id, r.part, err)
			}
			do(batch, &h)
			b, from = rest, h.NextOffset()
		}
	}
}

func (r *replica) hwFile() string { return r.n.path(r.part) + "/hw" }

func (r *replica) loadHW() int64 {
	b, err := vfs.ReadFile(r.n.disk, r.hwFile())
	if err != nil || len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

// saveHW keeps the high watermark for the next start, which may take an older
// one.
func (r *replica) saveHW() {
	if err := vfs.WriteFile(r.n.disk, r.hwFile(), binary.BigEndian.AppendUint64(nil, uint64(r.hw))); err != nil {
		r.n.w.fail("save the high watermark: %v", err)
	}
}

func (r *replica) local() replication.Local {
	return replication.Local{
		Node: r.n.id, NodeEpoch: r.n.epoch, Log: r.log,
		End: r.log.EndOffset(), DurableEnd: r.log.DurableEnd(), HighWatermark: r.hw,
	}
}

// assume takes on the role that a view gives the replica.
func (r *replica) assume(i *image) {
	p, seen := i.parts[r.part], i.seen(r.part)
	if p.LeaderEpoch == r.epoch {
		if r.leader != nil {
			r.stepLeader(replication.Metadata{Partition: seen})
		} else if r.follower != nil {
			r.stepFollower(replication.Metadata{Partition: seen})
		}
		return
	}
	if p.LeaderEpoch < r.epoch {
		return // metadata went back (C11)
	}
	r.resign()
	former := r.former(i)
	r.epoch, r.leaderNode = p.LeaderEpoch, p.Leader
	r.n.w.note("role", int(r.n.id), r.part, int(r.epoch), int(r.leaderNode))
	switch p.Leader {
	case r.n.id:
		r.lead(seen, former)
	case cluster.NoLeader:
	default:
		r.follower = replication.NewFollower(r.n.w.config, r.local(), seen, r.session)
		if c := r.n.peers[p.Leader].conn; c != nil {
			r.stepFollower(replication.Attached{})
		}
	}
}

// former are the nodes that may have led before and are not known to be gone.
func (r *replica) former(i *image) (nodes []int32) {
	p := i.parts[r.part]
	for _, id := range p.Replicas {
		if id != r.n.id && i.live(id) && p.LeaderEpoch > 0 {
			nodes = append(nodes, id)
		}
	}
	return nodes
}

// resign gives up the role; whoever waits is told that it is not known how it
// went.
func (r *replica) resign() {
	for _, w := range r.waiting {
		w.done(false)
	}
	r.waiting, r.incoming, r.writing = nil, nil, false
	r.senders = map[int32]*sender{}
	r.leader, r.follower = nil, nil
	r.wakes++
}

func (r *replica) lead(seen replication.Partition, former []int32) {
	r.n.w.checkLeader(r)
	if err := r.log.StartEpoch(r.epoch, r.log.EndOffset()); err != nil {
		r.n.w.fail("node %d: start epoch: %v", r.n.id, err)
	}
	var out []replication.Effect
	r.leader, out = replication.NewLeader(r.n.now(), r.n.w.config, r.local(), seen, former)
	r.carry(out)
}

func (r *replica) stepLeader(e replication.Event)   { r.carry(r.leader.Step(r.n.now(), e)) }
func (r *replica) stepFollower(e replication.Event) { r.carry(r.follower.Step(r.n.now(), e)) }

// sync makes the log durable, and tells the core.
func (r *replica) sync() {
	end, err := r.log.Sync()
	if err != nil {
		r.n.w.fail("node %d: sync: %v", r.n.id, err)
	}
	switch {
	case r.leader != nil:
		r.stepLeader(replication.Flushed{End: end})
	case r.follower != nil:
		r.stepFollower(replication.Flushed{End: end})
	}
}

func (r *replica) soon() time.Duration { return r.n.w.upTo(500 * time.Microsecond) }
