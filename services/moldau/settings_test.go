package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moldau.dev/metadata"
)

func TestMetadataIsToldEverySetting(t *testing.T) {
	for name, value := range map[string]string{
		"STORE": "memory", "FENCE_TIMEOUT": "7s", "ACK_TIMEOUT": "8s", "NUM_PARTITIONS": "6",
		"DEFAULT_REPLICATION_FACTOR": "3", "MIN_INSYNC_REPLICAS": "2", "COORDINATOR_SHARDS": "11",
		"BALANCE_INTERVAL": "1m", "MAX_MOVES": "4",
	} {
		t.Setenv("MOLDAU_METADATA_"+name, value)
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s, err := loadSettings(defaultSettings(), "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := metadata.Default()
	want.StoreKind, want.FenceTimeout, want.AckTimeout = metadata.StoreMemory, 7*time.Second, 8*time.Second
	want.NumPartitions, want.DefaultReplicationFactor, want.MinInsyncReplicas = 6, 3, 2
	want.CoordinatorShards, want.BalanceInterval, want.MaxMoves = 11, time.Minute, 4
	if diff := cmp.Diff(want, s.Metadata.config()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(metadata.Default(), defaultSettings().Metadata.config()); diff != "" {
		t.Errorf("who sets nothing has other settings (-want +got):\n%s", diff)
	}
}
