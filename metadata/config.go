package metadata

import (
	"errors"
	"fmt"
	"time"

	"moldau.dev/metadata/cluster"
	"moldau.dev/metadata/controller"
	"moldau.dev/services/discovery"
)

// Kinds of store.
const (
	StoreEmbedded = "embedded" // a file in DataDir, for one process
	StoreMemory   = "memory"   // forgets everything when the process ends
	StoreConsul   = "consul"   // shared by several processes, of which one is active
)

// Config is all that an operator can set on a metadata process.
type Config struct {
	// ListenAddr is where the gRPC server listens; the process that calls
	// Register decides whether there is one.
	ListenAddr string
	// Advertise is where the other metadata processes and all clients reach this
	// one. Needed where the store is shared.
	Advertise string
	// StoreKind is StoreEmbedded, StoreMemory or StoreConsul. Unused where
	// Deps.Store is given.
	StoreKind string
	// Consul says where the store is, for StoreConsul.
	Consul discovery.ConsulConfig
	// DataDir is the folder of the embedded store.
	DataDir string
	// FenceTimeout is how long a node or gateway may be silent (C8).
	FenceTimeout time.Duration
	// AckTimeout is how long an admin call waits for live gateways to catch up.
	AckTimeout time.Duration
	// NumPartitions is num.partitions: what partition_count 0 means.
	NumPartitions int32
	// DefaultReplicationFactor is default.replication.factor: what
	// replication_factor 0 means.
	DefaultReplicationFactor int32
	// MinInsyncReplicas is min.insync.replicas of topics that do not say.
	MinInsyncReplicas int32
	// CoordinatorShards is offsets.topic.num.partitions: how many shards the
	// first coordinator of a cluster brings into being, for ever.
	CoordinatorShards int32
	// BalanceInterval is how often the controller looks whether leaders and
	// replicas are spread evenly; 0 is never.
	BalanceInterval time.Duration
	// MaxMoves is how many partitions the controller itself moves at once.
	MaxMoves int
}

// Default returns the configuration of an operator who sets nothing.
func Default() Config {
	return Config{
		ListenAddr:               "127.0.0.1:9190",
		StoreKind:                StoreEmbedded,
		DataDir:                  "data/metadata",
		FenceTimeout:             4 * time.Second,
		AckTimeout:               5 * time.Second,
		NumPartitions:            1,
		DefaultReplicationFactor: 1,
		MinInsyncReplicas:        1,
		CoordinatorShards:        50,
		BalanceInterval:          30 * time.Second,
		MaxMoves:                 20,
	}
}

// Validate returns every fault of c at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("metadata config: %s: %s", name, fmt.Sprintf(format, args...)))
	}
	switch c.StoreKind {
	case StoreMemory:
	case StoreEmbedded:
		if c.DataDir == "" {
			bad("data_dir", "the embedded store needs a folder")
		}
	case StoreConsul:
		if c.Advertise == "" {
			bad("advertise", "other metadata processes must reach this one")
		}
	default:
		bad("store_kind", "%q is none of %q, %q and %q", c.StoreKind, StoreEmbedded, StoreMemory, StoreConsul)
	}
	if c.FenceTimeout < 100*time.Millisecond {
		bad("fence_timeout", "%s is below 100ms", c.FenceTimeout)
	}
	if c.AckTimeout < 0 {
		bad("ack_timeout", "%s is negative", c.AckTimeout)
	}
	if c.NumPartitions < 1 || c.NumPartitions > 100_000 {
		bad("num_partitions", "%d is not within 1 to 100000", c.NumPartitions)
	}
	if c.DefaultReplicationFactor < 1 || c.DefaultReplicationFactor > 32_767 {
		bad("default_replication_factor", "%d is not within 1 to 32767", c.DefaultReplicationFactor)
	}
	if c.MinInsyncReplicas < 1 || c.MinInsyncReplicas > c.DefaultReplicationFactor {
		bad("min_insync_replicas", "%d is not within 1 to the default replication factor, %d", c.MinInsyncReplicas, c.DefaultReplicationFactor)
	}
	if c.CoordinatorShards < 1 || c.CoordinatorShards > cluster.MaxShards {
		bad("coordinator_shards", "%d is not within 1 to %d", c.CoordinatorShards, cluster.MaxShards)
	}
	if c.BalanceInterval < 0 {
		bad("balance_interval", "%s is negative", c.BalanceInterval)
	}
	if c.MaxMoves < 1 {
		bad("max_moves", "%d is below 1", c.MaxMoves)
	}
	return errors.Join(errs...)
}

func (c Config) controller() controller.Config {
	return controller.Config{
		Address:         c.Advertise,
		FenceTimeout:    c.FenceTimeout,
		AckTimeout:      c.AckTimeout,
		BalanceInterval: c.BalanceInterval,
		MaxMoves:        c.MaxMoves,
		Defaults: cluster.Defaults{
			Partitions: c.NumPartitions, ReplicationFactor: c.DefaultReplicationFactor,
			MinInsyncReplicas: c.MinInsyncReplicas, Shards: c.CoordinatorShards,
		},
	}
}
