package journal

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
	"moldau.dev/services/topicconfig"
	"moldau.dev/storage-node/storageclient"
)

// Config names a journal and its owner.
type Config struct {
	Topic      string
	Partition  int32
	OwnerEpoch int64
	// CallTimeout bounds one call to a storage node.
	CallTimeout time.Duration
}

// Nodes finds the door of a storage node; storageclient.Pool is one.
type Nodes interface {
	Node(id int32) (storageclient.Storage, error)
}

// Deps are what a journal stands on.
type Deps struct {
	Clock    clock.Clock
	Log      *slog.Logger
	Metadata metadataclient.Client
	Nodes    Nodes
}

const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// leader makes calls to whoever leads the partition.
type leader struct {
	cfg  Config
	deps Deps
}

type leaderCall func(ctx context.Context, node storageclient.Storage, id storageclient.PartitionID, epoch int32) error

// do makes a call until it succeeds, fails for a reason that does not pass, or
// ctx is done. A COORDINATOR_FENCED is ErrFenced.
func (l *leader) do(ctx context.Context, call leaderCall) error {
	pause := firstPause
	for {
		changed := l.deps.Metadata.Changed()
		err := l.once(ctx, call)
		switch {
		case err == nil:
			return nil
		case errcode.Is(err, errcode.CoordinatorFenced):
			return ErrFenced
		case !passes(err) || !l.wait(ctx, changed, pause):
			return err
		}
		l.deps.Log.Debug("the journal's leader did not do it; trying again",
			telemetry.Topic(l.cfg.Topic), telemetry.Partition(l.cfg.Partition), telemetry.Err(err))
		pause = min(2*pause, lastPause)
	}
}

// passes tells whether the same call may succeed later. A topic that is not
// there is one that metadata does not show yet: it is never deleted.
func passes(err error) bool {
	e := errcode.Of(err)
	return e.Retryable() || e.Reason == errcode.UnknownTopic || e.Reason == errcode.UnknownPartition
}

func (l *leader) once(ctx context.Context, call leaderCall) error {
	t := l.deps.Metadata.View().Topics[l.cfg.Topic]
	if t == nil {
		return errcode.New(errcode.UnknownTopic, "there is no topic %s yet", l.cfg.Topic)
	}
	if int(l.cfg.Partition) >= len(t.Partitions) {
		return errcode.New(errcode.UnknownPartition, "%s has %d partitions, %d is not one", t.Name, len(t.Partitions), l.cfg.Partition)
	}
	p := &t.Partitions[l.cfg.Partition]
	if p.Leader < 0 {
		return errcode.New(errcode.NodeUnavailable, "no node leads %s-%d", t.Name, l.cfg.Partition)
	}
	node, err := l.deps.Nodes.Node(p.Leader)
	if err != nil {
		return err
	}
	inTime, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.deps.Clock.AfterFunc(l.cfg.CallTimeout, cancel).Stop()
	err = call(inTime, node, storageclient.PartitionID{Topic: t.ID, Index: l.cfg.Partition}, p.LeaderEpoch)
	if errcode.Is(err, errcode.Canceled) && ctx.Err() == nil {
		return errcode.Wrap(err, errcode.RequestTimedOut, "storage node %d has not answered within %s", p.Leader, l.cfg.CallTimeout)
	}
	return err
}

func (l *leader) wait(ctx context.Context, changed <-chan struct{}, pause time.Duration) bool {
	timer := l.deps.Clock.NewTimer(pause/2 + rand.N(pause/2)) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C():
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// maxBatchBytes is what the topic allows; the default where it says nothing
// that can be understood.
func (l *leader) maxBatchBytes() int {
	cfg := topicconfig.Default()
	if t := l.deps.Metadata.View().Topics[l.cfg.Topic]; t != nil {
		if own, err := topicconfig.Parse(t.Configs); err == nil {
			cfg = own
		}
	}
	return int(cfg.MaxMessageBytes)
}
