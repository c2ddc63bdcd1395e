package storagenode

import (
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

// replicas are three nodes of one cluster, each with a disk that can lose power;
// they speak over loopback.
type replicas struct {
	t     testing.TB
	clock clock.Clock
	meta  *fakeController
	nodes map[int32]*hostedNode
	edit  func(*Config)
	local *storageclient.Peers // nil: over loopback
}

type hostedNode struct {
	id      int32
	disk    *vfs.Memory
	fs      vfs.FS // disk, or what stands before it
	service *Service
	server  *grpc.Server
	served  chan error
}

func newReplicas(t testing.TB) *replicas {
	c := &replicas{t: t, clock: clock.Real(), meta: newFakeController(), nodes: map[int32]*hostedNode{}}
	for _, id := range []int32{1, 2, 3} {
		disk := newDisk()
		c.nodes[id] = &hostedNode{id: id, disk: disk, fs: disk}
	}
	t.Cleanup(func() {
		for _, id := range []int32{1, 2, 3} {
			if c.nodes[id].service != nil {
				c.kill(id)
			}
		}
	})
	return c
}

func (c *replicas) start(ids ...int32) {
	c.t.Helper()
	for _, id := range ids {
		n := c.nodes[id]
		cfg := DefaultConfig()
		cfg.NodeID, cfg.DataDir, cfg.Advertise = id, "/data", "in-process"
		if c.edit != nil {
			c.edit(&cfg)
		}
		peers := c.local
		var lis net.Listener
		if peers == nil {
			var err error
			if lis, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				c.t.Fatal(err)
			}
			cfg.Advertise, peers = lis.Addr().String(), storageclient.NewPeers(transport.DialOptions{})
		}
		s, err := NewService(cfg, Deps{
			Clock: c.clock, Log: slog.New(slog.DiscardHandler), Metadata: c.meta.clientOf(id), FS: n.fs, Peers: peers,
		})
		if err != nil {
			c.t.Fatal(err)
		}
		n.service = s
		if lis != nil {
			n.server, n.served = transport.NewServer(transport.Options{MaxRecvBytes: 64 << 20, Log: slog.New(slog.DiscardHandler)}), make(chan error, 1)
			s.Register(n.server)
			go func() { n.served <- n.server.Serve(lis) }()
		} else {
			peers.AddLocal(id, s)
		}
		if err := s.Start(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, id := range ids {
		c.meta.awaitNode(c.t, id)
	}
}

// kill ends a node as the death of its process would; it writes nothing.
func (c *replicas) kill(id int32) {
	n := c.nodes[id]
	if n.server != nil {
		n.server.Stop()
		<-n.served
	}
	n.service.halt()
	_ = n.service.lock.Close()
	n.service, n.server = nil, nil
}

// door is the node that leads, as whoever asks over the network has it.
func (c *replicas) leader(topic topicid.ID) *Service {
	c.t.Helper()
	s := c.nodes[c.meta.partition(topic).Leader].service
	if s == nil {
		c.t.Fatalf("nobody leads: %+v", c.meta.partition(topic))
	}
	return s
}

// produce appends with acks all, again and again while the reason says that the
// caller is to try again. It returns the offset.
func (c *replicas) produce(topic topicid.ID, seq int32, value string) int64 {
	c.t.Helper()
	for {
		changed := c.meta.Changed()
		leader := c.meta.partition(topic).Leader
		if leader > 0 && c.nodes[leader].service != nil {
			r := appendTo(c.t, c.nodes[leader].service, pid(topic, 0), batch(c.t, 1, value, idempotent(7, 0, seq)), storageclient.AcksAll)
			if r.Err == nil {
				return r.BaseOffset
			}
			if e := errcode.Of(r.Err); !e.Retryable() {
				c.t.Fatal(r.Err)
			}
		}
		select {
		case <-changed:
		default:
			if c.t.Context().Err() != nil {
				c.t.Fatal("the test ended")
			}
		}
	}
}

// logOf is all that a replica's log holds, as bytes.
func (c *replicas) logOf(id int32, topic topicid.ID) []byte {
	c.t.Helper()
	p, err := c.nodes[id].service.partition(pid(topic, 0))
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := p.open()
	if err != nil {
		c.t.Fatal(err)
	}
	b, _, _, err := readLog(l, readRange{from: l.StartOffset(), bound: l.EndOffset(), limit: 1 << 30, wholeFirst: true}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// sameLogs holds all replicas' logs against each other, byte for byte.
func (c *replicas) sameLogs(topic topicid.ID, ids ...int32) {
	c.t.Helper()
	want := c.logOf(ids[0], topic)
	for _, id := range ids[1:] {
		if got := c.logOf(id, topic); !slices.Equal(got, want) {
			c.t.Errorf("node %d has %d bytes, node %d has %d; they differ", id, len(got), ids[0], len(want))
		}
	}
}

func TestThreeReplicasHoldWhatIsAcknowledged(t *testing.T) {
	for _, how := range []string{"over loopback", "in one process"} {
		t.Run(how, func(t *testing.T) {
			c := newReplicas(t)
			if how == "in one process" {
				c.local = storageclient.NewPeers(transport.DialOptions{})
			}
			c.start(1, 2, 3)
			for _, durability := range []string{"durable", "relaxed"} {
				topic := c.meta.create(durability, 2, map[string]string{"moldau.durability": durability}, 1, 2, 3)
				for i := range int32(20) {
					if got := c.produce(topic, i, "value"); got != int64(i) {
						t.Fatalf("appended at %d, want %d", got, i)
					}
				}
				c.sameLogs(topic, 1, 2, 3)
			}
		})
	}
}

func TestNothingAcknowledgedIsLostWhenTheLeaderDies(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 2, nil, 1, 2, 3)
	for i := range int32(5) {
		c.produce(topic, i, "before")
	}
	c.kill(1)
	c.meta.fence(1)
	for i := range int32(5) {
		if got := c.produce(topic, 5+i, "after"); got != int64(5+i) {
			t.Fatalf("appended at %d, want %d", got, 5+i)
		}
	}
	c.sameLogs(topic, 2, 3)
	c.start(1)
	c.meta.awaitISR(t, topic, 1, 2, 3)
	c.produce(topic, 10, "again")
	c.sameLogs(topic, 1, 2, 3)
	r := fetchFrom(t, c.leader(topic), pid(topic, 0), 0)
	if r.Err != nil || len(values(t, r.Batches)) != 11 {
		t.Fatalf("got %+v", r)
	}
}

// TestPlannedMoveFailsNoAppend: the new leader waits for the former one's word,
// not for its lease.
func TestPlannedMoveFailsNoAppend(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 2, nil, 1, 2, 3)
	for i := range int32(12) {
		c.produce(topic, i, "value")
		c.meta.move(topic, 1+i%3)
	}
	c.produce(topic, 12, "value")
	c.sameLogs(topic, 1, 2, 3)
	if r := fetchFrom(t, c.leader(topic), pid(topic, 0), 0); r.Err != nil || len(values(t, r.Batches)) != 13 {
		t.Fatalf("got %+v", r)
	}
}

// TestAnAppendUnderWayWhenTheLeaderMovesMayBeInTheLog: nobody is told NOT_LEADER
// of what is in the log, since that says that nothing was done. A gateway that
// believed it put a transaction's records into the log twice.
func TestAnAppendUnderWayWhenTheLeaderMovesMayBeInTheLog(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 2, nil, 1, 2, 3)
	c.produce(topic, 0, "before")
	c.kill(2)
	c.kill(3) // they are in sync still, so the next append waits for them
	placed, answered := make(chan struct{}), make(chan error, 1)
	go func() {
		resp, err := c.nodes[1].service.Append(t.Context(), &storageclient.AppendRequest{
			Acks: storageclient.AcksAll, Ordered: func() { close(placed) },
			Partitions: []storageclient.AppendPartition{{PartitionID: pid(topic, 0), LeaderEpoch: -1, Batch: batch(t, 1, "under way", idempotent(7, 0, 1))}},
		})
		if err == nil {
			err = resp.Results[0].Err
		}
		answered <- err
	}()
	<-placed
	c.meta.move(topic, 2)
	if err := <-answered; !errcode.Is(err, errcode.NotEnoughReplicasAfterAppend) {
		t.Errorf("it is answered %v", err)
	}
	if r := appendTo(t, c.nodes[1].service, pid(topic, 0), batch(t, 1, "later", idempotent(7, 0, 2)), storageclient.AcksAll); !errcode.Is(r.Err, errcode.NotLeader) {
		t.Errorf("what comes later is answered %v", r.Err)
	}
}

// TestWhatTheNewLeaderDoesNotHaveIsCutOff: the leader dies with a batch that
// nobody else has; when it comes back it follows, and cuts that off (R2, R3).
func TestWhatTheNewLeaderDoesNotHaveIsCutOff(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 1, nil, 1, 2, 3)
	c.produce(topic, 0, "kept")
	c.kill(2)
	c.kill(3)
	for i := range int32(3) {
		if r := appendTo(t, c.nodes[1].service, pid(topic, 0), batch(t, 1, "lost", idempotent(7, 0, 1+i)), storageclient.AcksLeader); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	c.kill(1)
	c.meta.fence(1)
	c.start(2, 3)
	c.produce(topic, 1, "instead")
	c.start(1)
	c.meta.awaitISR(t, topic, 1, 2, 3)
	c.produce(topic, 2, "more")
	c.sameLogs(topic, 1, 2, 3)
	r := fetchFrom(t, c.leader(topic), pid(topic, 0), 0)
	if got := values(t, r.Batches); len(got) != 3 || got[1] != "instead" || got[2] != "more" {
		t.Fatalf("got %v", got)
	}
	// The producer's state was cut too: on the one that was cut, the sequence goes on
	// from what all have (R3).
	c.meta.move(topic, 1)
	c.produce(topic, 3, "from the one that was cut")
}

// TestEveryNodeLosesPowerAtOnce: in a durable topic all that was acknowledged
// comes back (R15).
func TestEveryNodeLosesPowerAtOnce(t *testing.T) {
	c := newReplicas(t)
	c.start(1, 2, 3)
	topic := c.meta.create("orders", 2, nil, 1, 2, 3)
	for round := range int32(6) {
		for i := range int32(4) {
			c.produce(topic, 4*round+i, "value")
		}
		if r := appendTo(t, c.leader(topic), pid(topic, 0), batch(t, 1, "not acknowledged"), storageclient.AcksLeader); r.Err != nil {
			t.Fatal(r.Err)
		}
		for id := range int32(3) {
			c.kill(1 + id)
			c.nodes[1+id].disk.PowerLoss(rand.New(rand.NewPCG(uint64(round), uint64(id))))
			c.meta.fence(1 + id)
		}
		order := []int32{1 + round%3, 1 + (round+1)%3, 1 + (round+2)%3}
		c.start(order...)
		c.meta.awaitISR(t, topic, 1, 2, 3)
	}
	c.produce(topic, 24, "last")
	c.sameLogs(topic, 1, 2, 3)
	got := map[string]int{}
	for _, v := range values(t, fetchFrom(t, c.leader(topic), pid(topic, 0), 0).Batches) {
		got[v]++
	}
	if got["value"] != 24 || got["last"] != 1 {
		t.Fatalf("got %v", got)
	}
}
