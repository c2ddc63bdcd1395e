package cluster

import (
	"maps"
	"strings"
	"testing"

	"moldau.dev/services/errcode"
)

func TestSettings(t *testing.T) {
	long := strings.Repeat("x", maxSettingsBytes)
	tests := []struct {
		name   string
		change AlterClusterConfigs
		reason errcode.Reason
	}{
		{"of the cluster", AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"num.partitions": "7"}}, ""},
		{"of a broker that is not there yet", AlterClusterConfigs{BrokerID: 5, Set: map[string]string{"log.cleaner.threads": "2"}}, ""},
		{"of an impossible broker", AlterClusterConfigs{BrokerID: -2}, errcode.InvalidArgument},
		{"set and reset at once", AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"a": "b"}, Reset: []string{"a"}}, errcode.InvalidArgument},
		{"without a name", AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"": "b"}}, errcode.InvalidConfig},
		{"too long", AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"a": long}}, errcode.InvalidConfig},
		{"no number", AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"min.insync.replicas": "two"}}, errcode.InvalidConfig},
		{"too small", AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"default.replication.factor": "0"}}, errcode.InvalidConfig},
		{"too large", AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"offsets.topic.num.partitions": "10001"}}, errcode.InvalidConfig},
		{"no switch", AlterClusterConfigs{BrokerID: -1, Set: map[string]string{"auto.leader.rebalance.enable": "maybe"}}, errcode.InvalidConfig},
		{"of one broker what is the cluster's", AlterClusterConfigs{BrokerID: 1, Set: map[string]string{"num.partitions": "7"}}, errcode.InvalidConfig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New("c")
			next, d, err := s.Apply(tt.change)
			if errcode.ReasonOf(err) != tt.reason || d.Settings != (err == nil) {
				t.Fatalf("got %v, delta %+v", err, d)
			}
			if err == nil && !maps.Equal(next.brokerConfigs(tt.change.BrokerID), tt.change.Set) {
				t.Errorf("settings %v", next.Settings)
			}
			if len(s.Settings.Configs)+len(s.Settings.BrokerConfigs) > 0 {
				t.Error("the old state changed")
			}
		})
	}
}

func TestSettingsDecide(t *testing.T) {
	s := after(t, AlterClusterConfigs{BrokerID: -1, Set: map[string]string{
		"num.partitions": "7", "default.replication.factor": "3", "auto.leader.rebalance.enable": "false",
	}}, AlterClusterConfigs{BrokerID: 3, Set: map[string]string{"a": "b"}})
	if s.NewTopicPartitions() != 7 || s.NewTopicReplicas() != 3 || s.BalanceLeaders() != nil {
		t.Errorf("got %d partitions, %d replicas", s.NewTopicPartitions(), s.NewTopicReplicas())
	}
	s, _, _ = s.Apply(AlterClusterConfigs{BrokerID: -1, Reset: []string{"num.partitions", "auto.leader.rebalance.enable"}})
	s, _, _ = s.Apply(AlterClusterConfigs{BrokerID: 3, Reset: []string{"a"}})
	if s.NewTopicPartitions() != 1 || s.BalanceLeaders() == nil || len(s.Settings.BrokerConfigs) > 0 {
		t.Errorf("after a reset: %v", s.Settings)
	}
}

func TestFeatures(t *testing.T) {
	tests := []struct {
		name   string
		change UpdateFeatures
		reason errcode.Reason
		want   int32 // of transaction.version
	}{
		{"lower without leave", UpdateFeatures{Levels: map[string]int32{"transaction.version": 1}}, errcode.FeatureUpdateFailed, 2},
		{"lower", UpdateFeatures{Levels: map[string]int32{"transaction.version": 1}, AllowDowngrade: true}, "", 1},
		{"off", UpdateFeatures{Levels: map[string]int32{"transaction.version": 0}, AllowDowngrade: true}, "", 0},
		{"as it is", UpdateFeatures{Levels: map[string]int32{"transaction.version": 2}}, "", 2},
		{"above what is known", UpdateFeatures{Levels: map[string]int32{"transaction.version": 3}}, errcode.FeatureUpdateFailed, 2},
		{"unknown", UpdateFeatures{Levels: map[string]int32{"x.version": 1}}, errcode.FeatureUpdateFailed, 2},
		{"all or none", UpdateFeatures{Levels: map[string]int32{"group.version": 0, "transaction.version": 3}, AllowDowngrade: true}, errcode.FeatureUpdateFailed, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next, _, err := New("c").Apply(tt.change)
			if errcode.ReasonOf(err) != tt.reason || next.Settings.Features["transaction.version"] != tt.want {
				t.Errorf("got %v and %v", err, next.Settings.Features)
			}
			if err != nil && next.Settings.Features["group.version"] != 1 {
				t.Error("half done")
			}
		})
	}
}
