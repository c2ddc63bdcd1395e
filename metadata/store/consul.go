package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"moldau.dev/services/clock"
	"moldau.dev/services/discovery"
)

// The keys below the prefix of the cluster (C12).
const (
	consulLock  = "ctl/lock"  // held by the controller's session; value: holderValue
	consulEpoch = "ctl/epoch" // the last controller epoch, sealed
	consulPairs = "kv/"       // what Commit writes
)

const (
	requestPatience = 5 * time.Second  // for one request that does not block
	blockingWait    = 10 * time.Second // for which Consul holds a blocking query
	blockingGrace   = 5 * time.Second  // on top: Consul adds a sixteenth, and its answer may be slow
)

// Consul is a Store in the key-value store of a Consul cluster. Many processes
// share one truth: who holds the lock alone writes, and proves in each
// transaction that it still does (C1, C3).
type Consul struct {
	client *api.Client
	prefix string
	clk    clock.Clock
	rate   *pacer // of blocking queries that return at once (C13)

	closed context.Context
	close  context.CancelFunc
	keeps  sync.WaitGroup // of leases

	mu     sync.Mutex
	leases map[Fence]*consulLease // held, as far as is known here
}

// NewConsul returns a store that reaches Consul when first used.
func NewConsul(cfg discovery.ConsulConfig, clk clock.Clock) (*Consul, error) {
	client, err := cfg.Client()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	c := &Consul{client: client, prefix: cfg.Prefix, clk: clk, rate: newPacer(clk), leases: map[Fence]*consulLease{}}
	c.closed, c.close = context.WithCancel(context.Background())
	return c, nil
}

// List implements Store.
func (c *Consul) List(ctx context.Context, prefix string) ([]Pair, error) {
	ctx, cancel, err := c.begin(ctx, requestPatience)
	if err != nil {
		return nil, err
	}
	defer cancel()
	below := c.prefix + consulPairs
	list, _, err := c.client.KV().List(below+prefix, consistent(ctx))
	if err != nil {
		return nil, c.failure("list "+prefix, err)
	}
	pairs := make([]Pair, len(list))
	for i, p := range list {
		pairs[i] = Pair{Key: strings.TrimPrefix(p.Key, below), Value: p.Value, Index: int64(p.ModifyIndex)}
	}
	return pairs, nil
}

// Watch implements Store. An index below after tells that Consul was set back.
func (c *Consul) Watch(ctx context.Context, prefix string, after int64) (int64, error) {
	for wait := after; ; {
		index, err := c.watchOnce(ctx, prefix, wait)
		if err != nil || index != after {
			return index, err
		}
		// A restore ends the query with the index of before, and the next one
		// would wait for a higher one: so look without waiting.
		if wait == after {
			wait = 0
		} else {
			wait = after
		}
	}
}

func (c *Consul) watchOnce(ctx context.Context, prefix string, after int64) (int64, error) {
	ctx, cancel, err := c.begin(ctx, blockingWait+blockingGrace)
	if err != nil {
		return 0, err
	}
	defer cancel()
	if err := c.rate.pace(ctx); err != nil {
		return 0, c.failure("watch "+prefix, err)
	}
	_, meta, err := c.client.KV().Keys(c.prefix+consulPairs+prefix, "", blocking(ctx, uint64(max(after, 0))))
	if err != nil {
		return 0, c.failure("watch "+prefix, err)
	}
	return int64(meta.LastIndex), nil
}

// Holder implements Store.
func (c *Consul) Holder(ctx context.Context) (Holder, error) {
	ctx, cancel, err := c.begin(ctx, requestPatience)
	if err != nil {
		return Holder{}, err
	}
	defer cancel()
	lock, _, err := c.client.KV().Get(c.prefix+consulLock, consistent(ctx))
	if err != nil {
		return Holder{}, c.failure("read the lock", err)
	}
	return holderOf(lock), nil
}

// Depose implements Store: without its session, the holder holds nothing.
func (c *Consul) Depose(ctx context.Context, h Holder) error {
	if h.Fence.Session == "" {
		return nil
	}
	ctx, cancel, err := c.begin(ctx, requestPatience)
	if err != nil {
		return err
	}
	defer cancel()
	return c.destroy(ctx, h.Fence.Session)
}

// Close implements Store. Leases are given up, as far as Consul can be reached.
func (c *Consul) Close() error {
	c.mu.Lock()
	var held []*consulLease
	for _, l := range c.leases {
		held = append(held, l)
	}
	c.mu.Unlock()
	for _, l := range held {
		_ = l.Release(context.Background()) // the session ends by itself otherwise
	}
	c.close()
	c.keeps.Wait()
	return nil
}

// holderValue is the value of the lock: for people, and for those who must
// know where the controller is.
type holderValue struct {
	Candidate string `json:"candidate"`
	Epoch     int64  `json:"epoch"`
}

func holderOf(lock *api.KVPair) Holder {
	if lock == nil || lock.Session == "" {
		return Holder{}
	}
	var v holderValue
	_ = json.Unmarshal(lock.Value, &v) // what is unreadable is nobody that could be reached
	return Holder{Candidate: v.Candidate, Fence: Fence{Session: lock.Session, Epoch: v.Epoch}}
}

// begin returns a context for one request, which Close ends too.
func (c *Consul) begin(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc, error) {
	if c.closed.Err() != nil {
		return nil, nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	stop := context.AfterFunc(c.closed, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// failure is the error of a request that changed nothing.
func (c *Consul) failure(verb string, err error) error {
	if c.closed.Err() != nil {
		return ErrClosed
	}
	return fmt.Errorf("consul: %s: %w", verb, err)
}

// unsent tells whether a request surely never left this process.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func consistent(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

func blocking(ctx context.Context, after uint64) *api.QueryOptions {
	return (&api.QueryOptions{WaitIndex: after, WaitTime: blockingWait}).WithContext(ctx)
}
