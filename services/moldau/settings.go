package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"moldau.dev/metadata"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/config"
	"moldau.dev/services/discovery"
	"moldau.dev/services/telemetry"
	storagenode "moldau.dev/storage-node"
)

// Settings are all that a process can be told: by a file, by MOLDAU_*
// variables and by flags, the later over the earlier.
type Settings struct {
	// Addr is the gRPC door of a gateway, for the verbs.
	Addr string `koanf:"addr"`
	// DataDir holds all that the roles of this process keep; each role has a
	// folder in it.
	DataDir string `koanf:"data_dir"`
	// AdminListen is for metrics, health, profiles and this config; keep it on
	// loopback.
	AdminListen string `koanf:"admin_listen"`

	Log         telemetry.LogConfig   `koanf:"log"`
	Trace       telemetry.TraceConfig `koanf:"trace"`
	Consul      consulSettings        `koanf:"consul"`
	Metadata    metadataSettings      `koanf:"metadata"`
	StorageNode storageNodeSettings   `koanf:"storage_node"`
	Coordinator coordinatorSettings   `koanf:"coordinator"`
	Gateway     gatewaySettings       `koanf:"gateway"`
}

// consulSettings say which Consul holds metadata, where store is consul, and in
// which catalog all roles are announced. TLS is shaped by Consul's own variables.
type consulSettings struct {
	Address string        `koanf:"address"` // of this machine's agent; empty: no Consul
	Token   config.Secret `koanf:"token"`
	Prefix  string        `koanf:"prefix"` // of the cluster's keys, and so of its services' names
}

type metadataSettings struct {
	Listen string `koanf:"listen"`
	// Advertise is where others reach Listen, whose port a port 0 here stands
	// for; empty is Listen.
	Advertise string `koanf:"advertise"`
	// Target is where the other roles find metadata: gRPC targets of its
	// processes with commas between, or moldau:///metadata for Consul's catalog.
	Target       string        `koanf:"target"`
	Store        string        `koanf:"store"` // embedded, consul or memory
	FenceTimeout time.Duration `koanf:"fence_timeout"`
	AckTimeout   time.Duration `koanf:"ack_timeout"`
	// Partitions, Replicas and MinInsync are those of a topic that does not say.
	Partitions int32 `koanf:"num_partitions"`
	Replicas   int32 `koanf:"default_replication_factor"`
	MinInsync  int32 `koanf:"min_insync_replicas"` // at most the default replication factor
	// Shards is how many shards coordinators share groups and transactions out
	// by. The first coordinator of a cluster fixes it for ever.
	Shards int32 `koanf:"coordinator_shards"`
	// BalanceInterval is how often the controller looks whether leaders and
	// replicas are spread evenly; 0 is never.
	BalanceInterval time.Duration `koanf:"balance_interval"`
	MaxMoves        int           `koanf:"max_moves"` // of the controller's own, at once
}

type storageNodeSettings struct {
	ID     int32  `koanf:"id"` // never changes
	Rack   string `koanf:"rack"`
	Listen string `koanf:"listen"`
	// Advertise is where others reach Listen, whose port a port 0 here stands
	// for; empty is Listen.
	Advertise   string              `koanf:"advertise"`
	Replication replicationSettings `koanf:"replication"`
}

// replicationSettings are what a storage node's replicas go by.
type replicationSettings struct {
	// LagMax is how long a replica may lack what its leader has and stay in sync.
	LagMax time.Duration `koanf:"lag_max"`
	// Lease is how long a leader answers after the controller has last heard it; keep
	// it below metadata.fence_timeout.
	Lease time.Duration `koanf:"lease"`
	// WindowBytes of one partition, and StreamWindowBytes of all that one node leads,
	// may be under way to this one.
	WindowBytes       int64 `koanf:"window_bytes"`
	StreamWindowBytes int64 `koanf:"stream_window_bytes"`
	// CatchUpRate bounds the bytes of a second to replicas that are not in sync; 0 is
	// unbounded. Below the rate of producers they never catch up.
	CatchUpRate int64 `koanf:"catch_up_bytes_per_second"`
	// ScrubInterval between the beginnings of looks for damage on the disk, and the
	// bytes of a second that they read; 0 is unbounded.
	ScrubInterval time.Duration `koanf:"scrub_interval"`
	ScrubRate     int64         `koanf:"scrub_bytes_per_second"`
}

func defaultReplication(d storagenode.Config) replicationSettings {
	return replicationSettings{
		LagMax: d.Replication.LagMax, Lease: d.Replication.Lease,
		WindowBytes: d.ReplicaWindowBytes, StreamWindowBytes: d.StreamWindowBytes, CatchUpRate: d.CatchUpBytesPerSecond,
		ScrubInterval: d.ScrubInterval, ScrubRate: d.ScrubBytesPerSecond,
	}
}

// config is what a storage node takes, but who and where it is.
func (s replicationSettings) config() storagenode.Config {
	cfg := storagenode.DefaultConfig()
	cfg.Replication.LagMax, cfg.Replication.Lease = s.LagMax, s.Lease
	cfg.ReplicaWindowBytes, cfg.StreamWindowBytes, cfg.CatchUpBytesPerSecond = s.WindowBytes, s.StreamWindowBytes, s.CatchUpRate
	cfg.ScrubInterval, cfg.ScrubBytesPerSecond = s.ScrubInterval, s.ScrubRate
	return cfg
}

type coordinatorSettings struct {
	ID     int32  `koanf:"id"` // never changes
	Listen string `koanf:"listen"`
	// Advertise is where others reach Listen, whose port a port 0 here stands
	// for; empty is Listen.
	Advertise string `koanf:"advertise"`
	// Lease is how long it answers after the controller has last heard it; keep it
	// below metadata.fence_timeout.
	Lease time.Duration `koanf:"lease"`
}

type gatewaySettings struct {
	GRPCListen     string   `koanf:"grpc_listen"`
	HTTPListen     string   `koanf:"http_listen"`
	KafkaListen    string   `koanf:"kafka_listen"`
	GRPCAdvertise  string   `koanf:"grpc_advertised"`  // empty: where it listens
	KafkaAdvertise string   `koanf:"kafka_advertised"` // empty: where it listens
	NodeID         int32    `koanf:"node_id"`          // that Kafka clients see; never changes
	Rack           string   `koanf:"rack"`             // for clients that read nearby
	AutoCreate     bool     `koanf:"auto_create_topics"`
	AllowedOrigins []string `koanf:"allowed_origins"` // of browsers' pages
}

func defaultSettings() Settings {
	return Settings{
		Addr:        "127.0.0.1:9090",
		DataDir:     "data",
		AdminListen: "127.0.0.1:8081",
		Log:         telemetry.DefaultLog(),
		Trace:       telemetry.DefaultTrace(),
		Consul:      consulSettings{Prefix: "moldau/"},
		Metadata:    defaultMetadata(metadata.Default()),
		StorageNode: storageNodeSettings{ID: 1, Listen: "127.0.0.1:9192", Replication: defaultReplication(storagenode.DefaultConfig())},
		Coordinator: coordinatorSettings{ID: 1, Listen: "127.0.0.1:9193", Lease: 3 * time.Second},
		Gateway:     gatewaySettings{GRPCListen: "127.0.0.1:9090", HTTPListen: "127.0.0.1:8080", KafkaListen: "127.0.0.1:9092", NodeID: 1},
	}
}

func defaultMetadata(d metadata.Config) metadataSettings {
	return metadataSettings{
		Listen: "127.0.0.1:9191", Target: "127.0.0.1:9191", Store: d.StoreKind,
		FenceTimeout: d.FenceTimeout, AckTimeout: d.AckTimeout,
		Partitions: d.NumPartitions, Replicas: d.DefaultReplicationFactor, MinInsync: d.MinInsyncReplicas,
		Shards: d.CoordinatorShards, BalanceInterval: d.BalanceInterval, MaxMoves: d.MaxMoves,
	}
}

// config is what the metadata service takes, but where it is and keeps its data.
func (s metadataSettings) config() metadata.Config {
	cfg := metadata.Default()
	cfg.StoreKind, cfg.FenceTimeout, cfg.AckTimeout = s.Store, s.FenceTimeout, s.AckTimeout
	cfg.NumPartitions, cfg.DefaultReplicationFactor, cfg.MinInsyncReplicas = s.Partitions, s.Replicas, s.MinInsync
	cfg.CoordinatorShards, cfg.BalanceInterval, cfg.MaxMoves = s.Shards, s.BalanceInterval, s.MaxMoves
	return cfg
}

// Validate checks what no role checks itself.
func (s Settings) Validate() error {
	if s.DataDir == "" {
		return errors.New("data_dir: empty")
	}
	if s.Coordinator.Lease >= s.Metadata.FenceTimeout {
		return fmt.Errorf("coordinator.lease: %s is not below metadata.fence_timeout, %s", s.Coordinator.Lease, s.Metadata.FenceTimeout)
	}
	if s.Consul.Address == "" {
		for key, needs := range map[string]bool{
			"metadata.store":  s.Metadata.Store == metadata.StoreConsul,
			"metadata.target": s.Metadata.Target == discovery.Target(metadataclient.Role),
		} {
			if needs {
				return fmt.Errorf("consul.address: empty, and %s needs it", key)
			}
		}
	}
	return nil
}

// consul is what discovery and the metadata store take.
func (s Settings) consul() discovery.ConsulConfig {
	return discovery.ConsulConfig{Address: s.Consul.Address, Token: s.Consul.Token.Reveal(), Prefix: s.Consul.Prefix}
}

// loadSettings reads the file that the user names, else the user's profile.
func loadSettings(defaults Settings, file, profile string, flags map[string]any) (Settings, error) {
	if file != "" && profile != "" {
		return Settings{}, usagef("--config and --profile exclude each other")
	}
	src := config.Sources{Env: withoutProfile(os.Environ()), Flags: flags}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return Settings{}, usagef("read the config file: %w", err)
		}
		src.FileName, src.File = file, text
	} else if err := readProfile(&src, profile); err != nil {
		return Settings{}, err
	}
	s, err := config.Load(defaults, src)
	if err != nil {
		return Settings{}, usage(fmt.Errorf("config: %w", err))
	}
	return s, nil
}
