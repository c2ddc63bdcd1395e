package storagenode

import (
	"errors"
	"fmt"
	"time"

	"moldau.dev/storage-node/replication"
)

// Config is everything an operator can set on a storage node.
type Config struct {
	// NodeID names the node in its cluster, at least 0. It never changes.
	NodeID int32
	// DataDir holds the node's partitions. One process uses it at a time.
	DataDir string
	// Rack or zone, for placement; may be empty.
	Rack string
	// Listen is where StorageService is served.
	Listen string
	// Advertise is the address that others reach Listen by; empty is Listen.
	Advertise string

	// HeartbeatInterval between signs of life to the controller, which fences a
	// node after 4 s of silence.
	HeartbeatInterval time.Duration
	// Replication is what the replicas go by.
	Replication replication.Config
	// ReplicaWindowBytes of one partition, and StreamWindowBytes of all partitions
	// that one node leads, may be under way to this one.
	ReplicaWindowBytes, StreamWindowBytes int64
	// CatchUpBytesPerSecond bounds what this node sends to replicas that are not in
	// sync, over all of them; 0 is unbounded. A rate below that of producers keeps
	// replicas from ever catching up.
	CatchUpBytesPerSecond int64
	// ReplicaWorkers write what leaders send.
	ReplicaWorkers int
	// ScrubInterval between the beginnings of looks at all that is on disk, and
	// ScrubBytesPerSecond that they read; 0 is unbounded.
	ScrubInterval       time.Duration
	ScrubBytesPerSecond int64
	// RetentionInterval between looks for segments to delete or compact.
	RetentionInterval time.Duration
	// ProducerExpiration is how long a silent producer's batches are known again.
	ProducerExpiration time.Duration
	// MaxProducers remembered by one partition.
	MaxProducers int

	// FlushParallelism bounds the fsyncs under way at once.
	FlushParallelism int
	// MaxOpenFiles bounds the log files held open.
	MaxOpenFiles int
	// MaxFetchBytes bounds one fetch, whatever it asks for.
	MaxFetchBytes int
	// MaxInFlightBytes bounds the batches that appends and fetches hold in memory,
	// each of the two.
	MaxInFlightBytes int64
}

// DefaultConfig is Kafka's where Kafka has the setting.
func DefaultConfig() Config {
	return Config{
		DataDir:            "data",
		Listen:             "127.0.0.1:9190",
		HeartbeatInterval:  500 * time.Millisecond,
		Replication:        replication.DefaultConfig(),
		ReplicaWindowBytes: 4 << 20,
		StreamWindowBytes:  64 << 20,
		ReplicaWorkers:     8,
		RetentionInterval:  5 * time.Minute,

		ScrubInterval:       24 * time.Hour,
		ScrubBytesPerSecond: 16 << 20,

		ProducerExpiration: 24 * time.Hour,
		MaxProducers:       100_000,
		FlushParallelism:   8,
		MaxOpenFiles:       4096,
		MaxFetchBytes:      55 << 20,
		MaxInFlightBytes:   256 << 20,
	}
}

// Validate names all settings that cannot be.
func (c Config) Validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("storage node: "+format, args...))
		}
	}
	need(c.NodeID >= 0, "node id %d is negative", c.NodeID)
	need(c.DataDir != "", "no data directory")
	need(c.Listen != "" || c.Advertise != "", "no address")
	need(c.HeartbeatInterval > 0 && c.HeartbeatInterval < 4*time.Second, "heartbeat interval %v is not within (0, 4s)", c.HeartbeatInterval)
	need(c.Replication.LagMax > 0, "replica lag time max %v", c.Replication.LagMax)
	need(c.Replication.RetryMin > 0 && c.Replication.RetryMin <= c.Replication.RetryMax, "replica retries from %v to %v", c.Replication.RetryMin, c.Replication.RetryMax)
	need(c.Replication.Lease > 0 && c.Replication.Lease < 4*time.Second, "leader lease %v is not within (0, 4s)", c.Replication.Lease)
	need(c.ReplicaWindowBytes > 0 && c.ReplicaWindowBytes <= c.StreamWindowBytes, "replica window bytes %d, stream window bytes %d", c.ReplicaWindowBytes, c.StreamWindowBytes)
	need(c.CatchUpBytesPerSecond >= 0, "catch-up bytes per second %d", c.CatchUpBytesPerSecond)
	need(c.ReplicaWorkers > 0, "replica workers %d", c.ReplicaWorkers)
	need(c.ScrubInterval > 0, "scrub interval %v", c.ScrubInterval)
	need(c.ScrubBytesPerSecond >= 0, "scrub bytes per second %d", c.ScrubBytesPerSecond)
	need(c.RetentionInterval > 0, "retention interval %v", c.RetentionInterval)
	need(c.ProducerExpiration > 0, "producer expiration %v", c.ProducerExpiration)
	need(c.MaxProducers > 0, "max producers %d", c.MaxProducers)
	need(c.FlushParallelism > 0, "flush parallelism %d", c.FlushParallelism)
	need(c.MaxOpenFiles >= 16, "max open files %d is below 16", c.MaxOpenFiles)
	need(c.MaxFetchBytes > 0, "max fetch bytes %d", c.MaxFetchBytes)
	need(c.MaxInFlightBytes >= int64(c.MaxFetchBytes), "max in-flight bytes %d is below max fetch bytes %d", c.MaxInFlightBytes, c.MaxFetchBytes)
	return errors.Join(errs...)
}

func (c *Config) address() string {
	if c.Advertise != "" {
		return c.Advertise
	}
	return c.Listen
}
