package coordinator

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/errcode"
)

func TestTheFirstCoordinatorOwnsEverything(t *testing.T) {
	inCluster(t, func(c *cluster) {
		i := c.start(1)
		c.serving(i, shards)
		c.must(i.Ready())
		for n := range 10 {
			g := fmt.Sprintf("group-%d", n)
			c.must(c.commit(g, int64(n)))
			if got := c.committed(g); got != int64(n) {
				c.Errorf("%s: %d", g, got)
			}
		}
		listed, err := c.client.ListGroups(c.Context(), &coordinatorv1.ListGroupsRequest{})
		if err != nil || len(listed.GetGroups()) != 10 || len(listed.GetLoadingShards()) > 0 {
			c.Errorf("listed %v, %v", listed, err)
		}
	})
}

// TestNoCommittedOffsetIsLostWhenACoordinatorDies is invariant 20: writers go on
// while coordinators are killed, and start anew, and each reads what it has been
// told is committed.
func TestNoCommittedOffsetIsLostWhenACoordinatorDies(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.serving(c.start(1), shards)
		c.serving(c.start(2), shards/2)
		var writers sync.WaitGroup
		stop := make(chan struct{})
		for n := range 8 {
			writers.Go(func() {
				group, told := fmt.Sprintf("group-%d", n), int64(-1)
				for next := int64(0); ; next++ {
					select {
					case <-stop:
						if got := c.committed(group); got < told {
							c.Errorf("%s: was told %d, got %d", group, told, got)
						}
						return
					default:
					}
					if c.commit(group, next) == nil {
						told = next
					}
					if got := c.committed(group); got < told || got > next {
						c.Errorf("%s: was told %d, wrote %d, got %d", group, told, next, got)
					}
					time.Sleep(200 * time.Millisecond)
				}
			})
		}
		for n := range 4 {
			time.Sleep(2 * time.Second)
			id := int32(n%2 + 1)
			c.kill(c.coordinators[id])
			time.Sleep(8 * time.Second)
			c.serving(c.start(id), shards/2)
		}
		close(stop)
		writers.Wait()
	})
}

// TestAnotherTakesOverInTheMiddleOfARebalance: the members of the generation
// before are known to the next owner, join again, and go on.
func TestAnotherTakesOverInTheMiddleOfARebalance(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.serving(c.start(1), shards)
		a, b := &member{c: c, group: "g"}, &member{c: c, group: "g"}
		var joining sync.WaitGroup
		joining.Go(func() { a.join(2) })
		joining.Go(func() { b.join(2) })
		joining.Wait()
		if a.generation != b.generation || a.assignment == b.assignment {
			c.Fatalf("a: %+v, b: %+v", a, b)
		}
		c.must(c.commitAs(a, 7))
		before := a.generation

		// A third one begins a rebalance; nobody else has joined when all is lost.
		c.start(2)
		c.serving(c.coordinators[2], shards/2)
		d := &member{c: c, group: "g"}
		joining.Go(func() { d.join(3) })
		time.Sleep(time.Second)
		c.kill(c.owner("g"))
		joining.Go(func() { a.join(3) })
		joining.Go(func() { b.join(3) })
		joining.Wait()
		if a.generation <= before || a.generation != b.generation || a.generation != d.generation {
			c.Errorf("a: %+v, b: %+v, d: %+v", a, b, d)
		}
		if got := c.committed("g"); got != 7 {
			c.Errorf("committed 7, got %d", got)
		}
		c.must(c.commitAs(d, 8))
	})
}

// TestAZombieAnswersNothing: a coordinator that the controller does not hear any
// more, and that hears nothing itself, still reaches storage, and its clients
// reach it. It stops answering before another begins to, and nothing that it is
// told then is lost or believed.
func TestAZombieAnswersNothing(t *testing.T) {
	inCluster(t, func(c *cluster) {
		zombie := c.start(1)
		c.serving(zombie, shards)
		c.must(c.commit("g", 1))
		zombie.meta.freeze()
		heir := c.start(2)
		c.neverBoth("g", zombie, heir)
		c.must(c.commit("g", 2))
		for _, what := range []error{
			errOf(zombie.FetchOffsets(c.Context(), fetchOne("g"))),
			errOf(zombie.CommitOffsets(c.Context(), &coordinatorv1.CommitOffsetsRequest{
				GroupId: "g", Generation: -1, Offsets: []*coordinatorv1.Offset{{Topic: "t", Offset: 99}},
			})),
		} {
			if !errcode.Is(what, errcode.NotCoordinator) {
				c.Errorf("the zombie said %v", what)
			}
		}
		if zombie.Ready() == nil {
			c.Error("the zombie takes itself for ready")
		}
		if got := c.committed("g"); got != 2 {
			c.Errorf("got %d", got)
		}
	})
}

// neverBoth waits until heir answers for a group, and requires that from then
// on the former owner does not, whose clients still ask it.
func (c *cluster) neverBoth(group string, former, heir *instance) {
	c.Helper()
	answers := func(i *instance) bool {
		_, err := i.FetchOffsets(c.Context(), fetchOne(group))
		return err == nil
	}
	last := false
	for range 200 {
		synctest.Wait()
		last = answers(heir)
		if last && answers(former) {
			c.Fatal("both answer")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !last {
		c.Fatal("the heir does not answer")
	}
}

func errOf[A any](_ A, err error) error { return err }

// TestShardsMoveToANewcomerWithoutALoss: the former owner lives, and must have
// let go before the newcomer answers.
func TestShardsMoveToANewcomerWithoutALoss(t *testing.T) {
	inCluster(t, func(c *cluster) {
		first := c.start(1)
		c.serving(first, shards)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for next := int64(1); ; next++ {
				select {
				case <-stop:
					return
				default:
				}
				for c.commit("moving", next) != nil {
					time.Sleep(10 * time.Millisecond)
				}
				if got := c.committed("moving"); got != next {
					c.Errorf("committed %d, got %d", next, got)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		second := c.start(2)
		c.serving(second, shards/2)
		c.serving(first, shards/2)
		// The first one leaves in peace.
		first.server.Stop()
		c.must(first.Drain(c.Context()))
		c.serving(second, shards)
		close(stop)
		<-done
	})
}

// TestAnOwnerThatIsHeardButHearsNothingStopsInTime: its watch is stuck and
// nobody reaches it but its clients, while its heartbeats are confirmed. The
// lease counts only what it has seen.
func TestAnOwnerThatIsHeardButHearsNothingStopsInTime(t *testing.T) {
	inCluster(t, func(c *cluster) {
		deaf := c.start(1)
		c.serving(deaf, shards)
		deaf.meta.frozen.Store(deaf.meta.Client.View())
		deaf.server.Stop()
		heir := c.start(2)
		c.neverBoth(c.inherited(heir), deaf, heir)
	})
}

// TestAnOwnerLetsGoWhenItIsAsked: its news are late, and the new owner's
// question comes before them.
func TestAnOwnerLetsGoWhenItIsAsked(t *testing.T) {
	inCluster(t, func(c *cluster) {
		late := c.start(1)
		c.serving(late, shards)
		late.meta.frozen.Store(late.meta.Client.View())
		heir := c.start(2)
		c.neverBoth(c.inherited(heir), late, heir)
		if n := len(late.groupShards()); n != shards/2 {
			c.Errorf("the former owner still has %d shards", n)
		}
	})
}

// inherited is a group of which the balance gives the shard to a newcomer.
func (c *cluster) inherited(heir *instance) string {
	for {
		for _, g := range []string{"a", "b", "c", "d"} { // of each shard one
			if c.owner(g) == heir {
				return g
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestATransactionsOffsetsCountOnceItCommits goes from a group's shard to that
// of the transaction and back by its marker (T13).
func TestATransactionsOffsetsCountOnceItCommits(t *testing.T) {
	inCluster(t, func(c *cluster) {
		c.start(1)
		c.start(2)
		c.serving(c.coordinators[1], shards/2)
		c.serving(c.coordinators[2], shards/2)
		for n := range 8 {
			id, group := fmt.Sprintf("tx-%d", n), fmt.Sprintf("group-%d", n)
			p, err := c.client.InitProducer(c.Context(), &coordinatorv1.InitProducerRequest{
				TransactionalId: id, TransactionTimeoutMs: 60_000, ProducerId: -1, ProducerEpoch: -1,
			})
			c.must(err)
			r, err := c.client.CommitTransactionOffsets(c.Context(), &coordinatorv1.CommitTransactionOffsetsRequest{
				TransactionalId: id, ProducerId: p.GetProducerId(), ProducerEpoch: p.GetProducerEpoch(), GroupId: group, Generation: -1,
				Offsets: []*coordinatorv1.Offset{{Topic: "t", Offset: 5}}, ImplicitAdd: true,
			})
			if err != nil || r.GetErrors()[0].GetReason() != "" {
				c.Fatalf("%v, %v", r, err)
			}
			if got := c.committed(group); got != -1 {
				c.Errorf("an open transaction's offset is told: %d", got)
			}
			_, err = c.client.EndTransaction(c.Context(), &coordinatorv1.EndTransactionRequest{
				TransactionalId: id, ProducerId: p.GetProducerId(), ProducerEpoch: p.GetProducerEpoch(), Commit: true, TransactionVersion: 2,
			})
			c.must(err)
			stable := fetchOne(group)
			stable.RequireStable = true
			for range 100 {
				f, err := c.client.FetchOffsets(c.Context(), stable)
				c.must(err)
				if f.GetGroups()[0].GetErrors()[0].GetReason() == "" {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if got := c.committed(group); got != 5 {
				c.Errorf("a committed transaction's offset is %d", got)
			}
		}
	})
}

func TestGroupsOfDifferentShardsAreRefusedByOne(t *testing.T) {
	inCluster(t, func(c *cluster) {
		i := c.start(1)
		c.serving(i, shards)
		ids := []string{"group-1", "group-2"} // in different shards
		if _, err := i.DescribeGroups(c.Context(), &coordinatorv1.DescribeGroupsRequest{GroupIds: ids}); !errcode.Is(err, errcode.InvalidArgument) {
			c.Errorf("got %v", err)
		}
		r, err := c.client.DescribeGroups(c.Context(), &coordinatorv1.DescribeGroupsRequest{GroupIds: ids})
		if err != nil || len(r.GetGroups()) != 2 || r.GetGroups()[1].GetGroupId() != ids[1] {
			c.Errorf("got %v, %v", r, err)
		}
		if _, err := i.HeartbeatMember(c.Context(), &coordinatorv1.HeartbeatMemberRequest{GroupId: "g\xff"}); !errcode.Is(err, errcode.InvalidArgument) {
			c.Errorf("a text that is not UTF-8: %v", err)
		}
		_, err = i.CommitOffsets(c.Context(), &coordinatorv1.CommitOffsetsRequest{
			GroupId: "g", Generation: -1, Offsets: []*coordinatorv1.Offset{{Topic: "t", Offset: 1, Metadata: "a\xffb"}},
		})
		c.must(err)
		f, err := i.FetchOffsets(c.Context(), fetchOne("g"))
		if err != nil || f.GetGroups()[0].GetOffsets()[0].GetMetadata() != "a\uFFFDb" {
			c.Errorf("got %v, %v", f, err)
		}
	})
}

// member is a classic member.
type member struct {
	c          *cluster
	group, id  string
	generation int32
	assignment string
}

// join joins and syncs until the member is in a generation of so many.
func (m *member) join(of int) {
	for range 200 {
		if m.tryJoin(of) {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	m.c.Errorf("no generation of %d came", of)
}

func (m *member) tryJoin(of int) bool {
	r, err := m.c.client.JoinGroup(m.c.Context(), &coordinatorv1.JoinGroupRequest{
		GroupId: m.group, MemberId: m.id, ClientId: "c", SessionTimeoutMs: 30_000, RebalanceTimeoutMs: 5_000, ProtocolType: "mine",
		Protocols: []*coordinatorv1.Protocol{{Name: "p"}},
	})
	if errcode.Is(err, errcode.UnknownMember) {
		m.id = ""
	}
	if err != nil {
		return false
	}
	m.id, m.generation = r.GetMemberId(), r.GetGeneration()
	q := &coordinatorv1.SyncGroupRequest{GroupId: m.group, MemberId: m.id, Generation: m.generation}
	for n, x := range r.GetMembers() {
		q.Assignments = append(q.Assignments, &coordinatorv1.MemberAssignment{MemberId: x.GetMemberId(), Assignment: fmt.Appendf(nil, "%d of %d", n, len(r.GetMembers()))})
	}
	s, err := m.c.client.SyncGroup(m.c.Context(), q)
	if err != nil {
		return false
	}
	m.assignment = string(s.GetAssignment())
	var n, all int
	_, _ = fmt.Sscanf(m.assignment, "%d of %d", &n, &all)
	return all == of
}

func (c *cluster) commitAs(m *member, offset int64) error {
	r, err := c.client.CommitOffsets(context.Background(), &coordinatorv1.CommitOffsetsRequest{
		GroupId: m.group, MemberId: m.id, Generation: m.generation, Offsets: []*coordinatorv1.Offset{{Topic: "t", Offset: offset}},
	})
	if err == nil && r.GetErrors()[0].GetReason() != "" {
		err = errcode.New(errcode.Reason(r.GetErrors()[0].GetReason()), "")
	}
	return err
}
