package storagenode

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/storage-node/commitlog"
	"moldau.dev/storage-node/replication"
)

const (
	// reportPause is how long after a failed report the next one is made.
	reportPause = time.Second
	// replacePauseMin is how long after a replica was replaced it may be again; the
	// pause doubles each time, up to replacePauseMax: a disk that goes on failing must
	// not fill itself with what it spoils.
	replacePauseMin = 10 * time.Second
	replacePauseMax = 10 * time.Minute
	// reopenPause is between tries to open a replica for which there was no room.
	reopenPause = time.Second
	// idlePause is between looks without any news.
	idlePause = time.Hour
)

// mender looks after replicas of this node that failed (rules N6 to N8): it tells
// the controller, which has others lead, and once nobody counts on a replica any
// more moves its files to quarantine and has it copied from the leader.
type mender struct {
	node *Service
	kick chan struct{} // holds one token where there is something new

	mu       sync.Mutex
	patients map[*partition]*patient
}

// patient is a replica that failed.
type patient struct {
	// full: the disk had no room, or the process no file left. Nothing is damaged, so nothing is replaced: another
	// one is to lead, and this one follows once there is room.
	full bool
	// reported is the metadata revision that holds the report; 0: none yet.
	reported int64
	told     bool // that it is kept as it is
	// notBefore is when it may be replaced, and pause what is added then.
	notBefore time.Time
	pause     time.Duration
}

func newMender(s *Service) *mender {
	return &mender{node: s, kick: make(chan struct{}, 1), patients: map[*partition]*patient{}}
}

// failed takes a replica on. It may be called under the partition's locks.
func (m *mender) failed(p *partition, full bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.patients[p]
	switch {
	case a == nil:
		a = &patient{}
		m.patients[p] = a
	case full && (a.full || p.fault.Load() != nil):
		return // is known
	}
	a.full, a.reported, a.told = full, 0, false
	wake(m.kick)
}

// run looks after them as metadata changes, until ctx ends.
func (m *mender) run(ctx context.Context) {
	for {
		changed := m.node.meta.Changed()
		again := m.round(ctx)
		if again == 0 {
			again = idlePause
		}
		timer := m.node.clock.NewTimer(again)
		select {
		case <-m.kick:
		case <-changed:
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// round does what can be done now, and returns after how long there may be more
// without any news; 0 is never.
func (m *mender) round(ctx context.Context) time.Duration {
	view, now := m.node.meta.View(), m.node.clock.Now()
	var suspects []*partition
	var again time.Duration
	for _, p := range m.list() {
		a := m.of(p)
		if a.full && p.log.Load() == nil { // it could not be opened
			p.attend(p.role.Load())
			again = sooner(again, reopenPause)
		}
		switch m.remedy(p, &a, view) {
		case replication.Report:
			suspects = append(suspects, p)
		case replication.Replace:
			if wait := a.notBefore.Sub(now); wait > 0 {
				again = sooner(again, wait)
			} else {
				m.replace(p)
			}
		case replication.Keep:
			m.keep(p)
		}
	}
	if len(suspects) > 0 && !m.report(ctx, suspects) {
		again = sooner(again, reportPause)
	}
	return again
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// list returns the patients in an order of their own.
func (m *mender) list() []*partition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Keys(m.patients), func(a, b *partition) int { return cmp.Compare(a.dir, b.dir) })
}

func (m *mender) of(p *partition) patient {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.patients[p]
}

func (m *mender) forget(p *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.patients, p)
}

// remedy for a patient by what a view says. It awaits what cannot be told yet.
func (m *mender) remedy(p *partition, a *patient, view *metadataclient.View) replication.Remedy {
	t := view.TopicsByID[p.id.Topic]
	switch {
	case p.isGone():
		m.forget(p)
		return replication.Await
	case !a.full && p.fault.Load() == nil: // was replaced, and is well since
		return replication.Await
	case t == nil || int(p.id.Index) >= len(t.Partitions) || view.Revision < a.reported:
		return replication.Await
	}
	in := &t.Partitions[p.id.Index]
	s := replication.Standing{Leader: in.Leader, Replicas: in.Replicas, ISR: in.ISR, ELR: in.ELR, MinISR: in.MinISR}
	if !a.full {
		return s.Remedy(m.node.cfg.NodeID, a.reported > 0)
	}
	if s.Yields(m.node.cfg.NodeID) {
		return replication.Report
	}
	if p.log.Load() != nil {
		m.relieve(p) // nobody waits for it, or nobody can do without it
	}
	return replication.Await
}

// relieve ends the care for a full disk; when the replica was last replaced is
// not forgotten.
func (m *mender) relieve(p *partition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.patients[p]; a.pause == 0 {
		delete(m.patients, p)
	} else {
		a.full = false
	}
}

// keep tells, once, of a replica that an operator must decide about.
func (m *mender) keep(p *partition) {
	m.mu.Lock()
	a := m.patients[p]
	told := a.told
	a.told = true
	m.mu.Unlock()
	if !told {
		m.node.log.Error("replica has failed and no other is known to hold what was committed: it stays as it is, out of service, until an operator decides",
			telemetry.Topic(p.role.Load().topic), telemetry.Partition(p.id.Index), telemetry.Path(p.dir), telemetry.Err(p.fault.Load()))
	}
}

// report tells the controller of replicas that it must not count on.
func (m *mender) report(ctx context.Context, suspects []*partition) bool {
	req := &metadatav1.ReportReplicasRequest{NodeId: m.node.cfg.NodeID, NodeEpoch: m.node.nodeEpoch.Load()}
	for _, p := range suspects {
		why := "the disk is full"
		if f := p.fault.Load(); f != nil {
			why = f.Error()
		}
		req.Replicas = append(req.Replicas, &metadatav1.SuspectReplica{TopicId: p.id.Topic[:], Partition: p.id.Index, Why: why})
	}
	ctx, cancel := m.node.within(ctx, controllerPatience)
	defer cancel()
	resp, err := m.node.meta.ReportReplicas(ctx, req)
	if err != nil {
		m.node.log.Warn("controller did not take the report of failed replicas; trying again", telemetry.Err(err))
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range suspects {
		m.patients[p].reported = max(resp.GetRevision(), 1)
	}
	return true
}

// replace moves a replica's files to quarantine, and begins it anew.
func (m *mender) replace(p *partition) {
	fault := p.fault.Load()
	to, err := p.quarantine(fault)
	m.mu.Lock()
	a := m.patients[p]
	a.pause = min(max(2*a.pause, replacePauseMin), replacePauseMax)
	a.notBefore = m.node.clock.Now().Add(a.pause)
	m.mu.Unlock()
	r := p.role.Load()
	if err != nil {
		m.node.log.Error("replica cannot be moved to quarantine; trying again", telemetry.Topic(r.topic), telemetry.Partition(p.id.Index),
			telemetry.Path(p.dir), telemetry.Err(err))
		wake(m.kick)
		return
	}
	m.node.metrics.quarantined.Inc()
	m.node.log.Warn("replica was moved to quarantine and is copied from the leader", telemetry.Topic(r.topic), telemetry.Partition(p.id.Index),
		telemetry.Path(to), "why", fault.Error())
	p.attend(r)
}

// failedBy is fail for what went wrong with a log that another may have taken the
// place of. The caller holds no lock of the partition.
func (p *partition) failedBy(l *commitlog.Log, err error) *errcode.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.Load() != l {
		return storageError(err)
	}
	return p.fail(err)
}

func (p *partition) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// errGone is why a partition that is being deleted is not replaced.
var errGone = errors.New("the partition is no longer on this node")
