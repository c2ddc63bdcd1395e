//go:build scale

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/metadata/metadataclient"
	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/test/testcluster"
)

const (
	scaleGroups      = 1000
	scaleMembers     = 5 // of each group
	scalePartitions  = 20
	beatEvery        = 3 * time.Second
	scaleCommitters  = 64
	commitFor        = 15 * time.Second
	longJournalBytes = 320 << 20
)

// groupScaleReport is what TestAThousandGroupsOnOneCoordinator prints. Times are
// in seconds.
type groupScaleReport struct {
	Groups           int       `json:"groups"`
	Members          int       `json:"members"`
	ResidentEmpty    int64     `json:"resident_bytes_empty"`
	ResidentJoined   int64     `json:"resident_bytes_all_joined"`
	ResidentPeak     int64     `json:"resident_bytes_peak"`
	JoinAll          float64   `json:"all_join_at_once"`
	JoinErrors       counts    `json:"joins_refused_and_tried_again"`
	RebalanceClassic quantiles `json:"rebalance_classic"` // one member more, until it has its share
	RebalanceNext    quantiles `json:"rebalance_next_generation"`
	Beats            int64     `json:"heartbeats_during_the_commits"`
	BeatsFailed      int64     `json:"heartbeats_failed"`
	CommitsPerSecond float64   `json:"commits_per_second"`
	Commit           quantiles `json:"commit"`
	Takeover         float64   `json:"killed_until_another_answers_for_all"`
	Restart          float64   `json:"killed_and_started_until_it_answers_for_all"`
	LongJournal      int64     `json:"journal_bytes_before_compaction"`
	LongLoad         float64   `json:"journal_load_before_compaction"`
	ShortJournal     int64     `json:"journal_bytes_after_compaction"`
	ShortLoad        float64   `json:"journal_load_after_compaction"`
}

// counts of errors by reason.
type counts map[errcode.Reason]int

// quantiles of some durations, in seconds.
type quantiles struct{ Median, P99, Longest float64 }

func quantilesOf(list []float64) quantiles {
	if len(list) == 0 {
		return quantiles{}
	}
	slices.Sort(list)
	return quantiles{list[len(list)/2], list[len(list)*99/100], list[len(list)-1]}
}

// TestAThousandGroupsOnOneCoordinator measures what 1,000 groups of 5 members
// each, half of them of either protocol, cost one coordinator, how long others
// take to answer in its place, and how long a journal takes to load. It requires
// that each group works throughout.
func TestAThousandGroupsOnOneCoordinator(t *testing.T) {
	c := testcluster.StartShape(t, testcluster.Shape{Metadata: 1, StorageNodes: 1, Coordinators: 1, Gateways: 1})
	c.CreateTopic(t, "scale", scalePartitions, keepForever)
	meta, err := metadataclient.Dial(testcluster.Context(t), c.MetadataAddr(t, testcluster.Member{Role: "metadata", ID: 1}), metadataclient.Options{Watcher: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = meta.Close() }()
	door := coordinatorclient.New(meta, coordinatorclient.Options{})
	defer func() { _ = door.Close() }()
	for changed := meta.Changed(); len(meta.View().Shards) == 0; changed = meta.Changed() {
		<-changed
	}
	w := &groupScale{T: t, clk: clock.Real(), meta: meta, door: door, refused: counts{}}
	coordinator := testcluster.Member{Role: "coordinator", ID: 1}
	resident := func() int64 { return c.Member(t, coordinator).ResidentBytes(t) }
	r := groupScaleReport{Groups: scaleGroups, Members: scaleGroups * scaleMembers}
	t.Cleanup(func() {
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			t.Error(err)
		}
	})
	w.untilAllAnswer()
	r.ResidentEmpty = resident()

	ctx, stop := context.WithCancel(testcluster.Context(t))
	r.JoinAll = w.seconds(func() { w.joinAll(ctx) })
	r.ResidentJoined, r.JoinErrors = resident(), w.refusals()
	r.RebalanceClassic, r.RebalanceNext = w.oneMoreEach(ctx, 0, 100), w.oneMoreEach(ctx, 1, 100)
	before := w.beats.Load()
	r.CommitsPerSecond, r.Commit = w.commit()
	r.Beats, r.BeatsFailed = w.beats.Load()-before, w.failed.Load()
	stop()
	w.alive.Wait()
	r.ResidentPeak = c.Member(t, coordinator).PeakBytes(t)

	c.Member(t, coordinator).Kill()
	r.Restart = w.seconds(func() { c.StartMember(t, coordinator); w.untilAllAnswer() })
	second := c.AddMember(t, "coordinator")
	w.untilOwned(second)
	c.Member(t, coordinator).Kill()
	r.Takeover = w.seconds(w.untilAllAnswer)

	shard := coordinatorclient.ShardOf("long", len(meta.View().Shards))
	folder := fmt.Sprintf("%s-%d", meta.View().Topics["__consumer_offsets"].ID, shard)
	journal := func() int64 { return bytesUnder(t, c.DataDir(), folder) }
	for journal() < longJournalBytes {
		w.commitMany("long")
	}
	load := func() float64 {
		c.Member(t, second).Kill()
		c.StartMember(t, second)
		began := w.clk.Now()
		w.untilAnswers("long")
		return w.clk.Now().Sub(began).Seconds()
	}
	r.LongJournal, r.LongLoad = journal(), load()
	for journal() > longJournalBytes/2 && testcluster.Context(t).Err() == nil {
		w.pause()
	}
	r.ShortJournal, r.ShortLoad = journal(), load()
}

// bytesUnder sums the files of all folders of a name.
func bytesUnder(t *testing.T, root, folder string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(path)) != folder {
			return nil // it may just have been deleted
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// groupScale is the members of all groups.
type groupScale struct {
	*testing.T
	clk   clock.Clock
	meta  metadataclient.Client
	door  coordinatorclient.Client
	alive sync.WaitGroup // the members

	beats, failed atomic.Int64

	mu      sync.Mutex
	refused counts
}

// refusals are the errors so far.
func (w *groupScale) refusals() counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.refused)
}

// scaleMember is one member. Even groups are classic.
type scaleMember struct {
	w       *groupScale
	group   int
	classic bool
	mu      sync.Mutex
	id      string
	epoch   int32 // or generation
	holds   *coordinatorv1.Ownership
}

func scaleGroup(i int) string { return fmt.Sprint("group-", i) }

func (w *groupScale) seconds(work func()) float64 {
	began := w.clk.Now()
	work()
	return w.clk.Now().Sub(began).Seconds()
}

func (w *groupScale) pause() {
	select {
	case <-w.clk.NewTimer(10 * time.Millisecond).C():
	case <-testcluster.Context(w).Done():
		w.Fatal("out of time")
	}
}

// untilAnswers asks for a group's offsets until its coordinator answers.
func (w *groupScale) untilAnswers(group string) {
	for {
		ctx, cancel := context.WithTimeout(testcluster.Context(w), 300*time.Millisecond)
		resp, err := w.door.FetchOffsets(ctx, &coordinatorv1.FetchOffsetsRequest{Groups: []*coordinatorv1.FetchGroupOffsets{{GroupId: group, MemberEpoch: -1, All: true}}})
		cancel()
		if err == nil && resp.GetGroups()[0].GetError().GetReason() == "" {
			return
		}
		w.pause()
	}
}

// untilAllAnswer waits until a group of each shard is answered for, and with it
// all.
func (w *groupScale) untilAllAnswer() {
	var all sync.WaitGroup
	asked := map[int32]bool{}
	for i := range scaleGroups {
		shard := coordinatorclient.ShardOf(scaleGroup(i), len(w.meta.View().Shards))
		if !asked[shard] {
			asked[shard] = true
			all.Go(func() { w.untilAnswers(scaleGroup(i)) })
		}
	}
	all.Wait()
}

// untilOwned waits until a coordinator owns its share of the shards.
func (w *groupScale) untilOwned(m testcluster.Member) {
	for {
		changed, owned := w.meta.Changed(), 0
		for _, s := range w.meta.View().Shards {
			if s.Owner == int32(m.ID) {
				owned++
			}
		}
		if owned >= len(w.meta.View().Shards)/2 {
			w.untilAllAnswer()
			return
		}
		<-changed
	}
}

// joinAll lets all members of all groups join at once, and returns once each
// group is stable with all of its own.
func (w *groupScale) joinAll(ctx context.Context) {
	for i := range scaleGroups * scaleMembers {
		w.alive.Go(func() { (&scaleMember{w: w, group: i % scaleGroups, classic: i%2 == 0}).live(ctx) })
	}
	for i := range scaleGroups {
		w.untilStable(i, scaleMembers)
	}
}

// untilStable waits until a group has so many members, who all have their share.
func (w *groupScale) untilStable(group, members int) {
	for {
		resp, err := w.door.DescribeGroups(testcluster.Context(w), &coordinatorv1.DescribeGroupsRequest{GroupIds: []string{scaleGroup(group)}})
		if err == nil && resp.GetGroups()[0].GetState() == "Stable" && len(resp.GetGroups()[0].GetMembers()) == members {
			return
		}
		w.pause()
	}
}

// join returns once the member has joined.
func (m *scaleMember) join(ctx context.Context) {
	for ctx.Err() == nil {
		err := m.joinOnce(ctx)
		if err == nil {
			return
		}
		m.w.mu.Lock()
		m.w.refused[errcode.ReasonOf(err)]++
		m.w.mu.Unlock()
		m.w.pause()
	}
}

func (m *scaleMember) joinOnce(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.classic {
		return m.beatNext(ctx)
	}
	joined, err := m.w.door.JoinGroup(ctx, &coordinatorv1.JoinGroupRequest{
		GroupId: scaleGroup(m.group), MemberId: m.id, SessionTimeoutMs: 30_000, RebalanceTimeoutMs: 60_000, ProtocolType: "scale",
		Protocols: []*coordinatorv1.Protocol{{Name: "range", Metadata: make([]byte, 64)}},
	})
	if errcode.Is(err, errcode.UnknownMember) {
		m.id = ""
	}
	if err != nil {
		return err
	}
	m.id, m.epoch = joined.GetMemberId(), joined.GetGeneration()
	sync := &coordinatorv1.SyncGroupRequest{GroupId: scaleGroup(m.group), Generation: m.epoch, MemberId: m.id}
	for _, x := range joined.GetMembers() {
		sync.Assignments = append(sync.Assignments, &coordinatorv1.MemberAssignment{MemberId: x.GetMemberId(), Assignment: make([]byte, 100)})
	}
	_, err = m.w.door.SyncGroup(ctx, sync)
	return err
}

// beatNext beats under the next-generation protocol.
func (m *scaleMember) beatNext(ctx context.Context) error {
	q := &coordinatorv1.HeartbeatMemberRequest{GroupId: scaleGroup(m.group), MemberId: m.id, MemberEpoch: m.epoch, RebalanceTimeoutMs: 60_000, Owned: m.holds}
	if m.id == "" {
		m.id = fmt.Sprintf("%p", m)
		q.MemberId = m.id
	}
	q.Subscription = &coordinatorv1.Subscription{HasTopics: true, Topics: []string{"scale"}}
	resp, err := m.w.door.HeartbeatMember(ctx, q)
	if err != nil {
		return err
	}
	m.epoch = resp.GetMemberEpoch()
	if resp.GetAssignment() != nil {
		m.holds = &coordinatorv1.Ownership{Partitions: resp.GetAssignment().GetPartitions()}
	}
	return nil
}

// live joins, and beats until ctx ends.
func (m *scaleMember) live(ctx context.Context) {
	m.join(ctx)
	timer := m.w.clk.NewTimer(beatEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		}
		if err := m.beat(ctx); err != nil && ctx.Err() == nil {
			m.w.failed.Add(1)
		}
		m.w.beats.Add(1)
		timer.Reset(beatEvery)
	}
}

func (m *scaleMember) beat(ctx context.Context) error {
	if !m.classic {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.beatNext(ctx)
	}
	m.mu.Lock()
	q := &coordinatorv1.HeartbeatGroupRequest{GroupId: scaleGroup(m.group), Generation: m.epoch, MemberId: m.id}
	m.mu.Unlock()
	if _, err := m.w.door.HeartbeatGroup(ctx, q); err != nil {
		m.join(ctx) // the group rebalances
	}
	return nil
}

// oneMoreEach adds a member to some groups of one protocol, one group after the
// other in each of ten lanes, and measures until all members of the group have
// their share: most of it is until they beat.
func (w *groupScale) oneMoreEach(ctx context.Context, protocol, groups int) quantiles {
	var mu sync.Mutex
	var took []float64
	var lanes sync.WaitGroup
	for lane := range 10 {
		lanes.Go(func() {
			for i := lane; i < groups; i += 10 {
				m := &scaleMember{w: w, group: 2*i + protocol, classic: protocol == 0}
				s := w.seconds(func() {
					w.alive.Go(func() { m.live(ctx) })
					w.untilStable(m.group, scaleMembers+1)
				})
				mu.Lock()
				took = append(took, s)
				mu.Unlock()
			}
		})
	}
	lanes.Wait()
	return quantilesOf(took)
}

// commit lets members commit one offset after the other.
func (w *groupScale) commit() (perSecond float64, q quantiles) {
	ctx, cancel := context.WithTimeout(testcluster.Context(w), commitFor)
	defer cancel()
	var mu sync.Mutex
	var took []float64
	var all sync.WaitGroup
	for i := range scaleCommitters {
		all.Go(func() {
			var own []float64
			for n := i; ctx.Err() == nil; n += scaleCommitters {
				group := fmt.Sprint("commits-", n%scaleGroups)
				s := w.seconds(func() {
					resp, err := w.door.CommitOffsets(testcluster.Context(w), &coordinatorv1.CommitOffsetsRequest{GroupId: group, Generation: -1, Offsets: []*coordinatorv1.Offset{{Topic: "scale", Partition: int32(n % scalePartitions), Offset: int64(n), LeaderEpoch: -1}}})
					if err != nil || resp.GetErrors()[0].GetReason() != "" {
						w.Errorf("commit: %v, %v", resp, err)
					}
				})
				own = append(own, s)
			}
			mu.Lock()
			took = append(took, own...)
			mu.Unlock()
		})
	}
	seconds := w.seconds(all.Wait)
	return float64(len(took)) / seconds, quantilesOf(took)
}

// commitMany commits 20 offsets with 4,000 bytes of metadata each, over and over
// the same ones.
func (w *groupScale) commitMany(group string) {
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			q := &coordinatorv1.CommitOffsetsRequest{GroupId: group, Generation: -1}
			for p := range int32(scalePartitions) {
				q.Offsets = append(q.Offsets, &coordinatorv1.Offset{Topic: "scale", Partition: p, LeaderEpoch: -1, Metadata: string(make([]byte, 4000))})
			}
			if _, err := w.door.CommitOffsets(testcluster.Context(w), q); err != nil {
				w.Errorf("commit: %v", err)
			}
		})
	}
	all.Wait()
}
