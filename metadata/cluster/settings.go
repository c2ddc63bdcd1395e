package cluster

import (
	"maps"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// The settings that the controller acts on, by Kafka's names.
const (
	minInsyncReplicas = "min.insync.replicas"
	numPartitions     = "num.partitions"
	defaultReplicas   = "default.replication.factor"
	offsetsPartitions = "offsets.topic.num.partitions"
	leaderRebalance   = "auto.leader.rebalance.enable"
	replicaRebalance  = "moldau.auto.replica.rebalance.enable"

	wholeCluster     = int32(-1)
	maxSettingsBytes = 128 << 10 // of all together: they are one value in the store
)

// AlterClusterConfigs changes settings of the whole cluster or of one broker.
// Reset happens before Set.
type AlterClusterConfigs struct {
	BrokerID int32 // -1: of the whole cluster
	Set      map[string]string
	Reset    []string
}

func (c AlterClusterConfigs) apply(s *State, d *Delta) error {
	if c.BrokerID < wholeCluster {
		return errcode.New(errcode.InvalidArgument, "broker id %d is neither -1 nor one of a broker", c.BrokerID).WithField("broker_id")
	}
	old := s.brokerConfigs(c.BrokerID)
	configs := make(map[string]string, len(old)+len(c.Set))
	maps.Copy(configs, old)
	for _, name := range c.Reset {
		if _, both := c.Set[name]; both {
			return errcode.New(errcode.InvalidArgument, "config %s is both set and reset", name).WithField("reset")
		}
		delete(configs, name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		if err := s.checkSetting(name, c.Set[name], c.BrokerID); err != nil {
			return err
		}
		configs[name] = c.Set[name]
	}
	if maps.Equal(configs, old) {
		return nil
	}
	least := s.configuredMin(nil)
	if err := s.putConfigs(d, c.BrokerID, configs); err != nil {
		return err
	}
	if now := s.configuredMin(nil); now != least {
		s.settleAll(d, func(t *metadatav1.TopicState, p *metadatav1.PartitionState) goal {
			return goal{minISR: effectiveMin(p, s.configuredMin(t.Configs))}
		})
	}
	return nil
}

func (s *State) brokerConfigs(broker int32) map[string]string {
	if broker == wholeCluster {
		return s.Settings.GetConfigs()
	}
	for _, b := range s.Settings.GetBrokerConfigs() {
		if b.GetBrokerId() == broker {
			return b.GetConfigs()
		}
	}
	return nil
}

func (s *State) putConfigs(d *Delta, broker int32, configs map[string]string) error {
	next := &metadatav1.ClusterSettings{
		Configs: s.Settings.GetConfigs(), Features: s.Settings.GetFeatures(), BrokerConfigs: s.Settings.GetBrokerConfigs(),
	}
	if broker == wholeCluster {
		next.Configs = configs
	} else {
		next.BrokerConfigs = slices.DeleteFunc(slices.Clone(next.BrokerConfigs), func(b *metadatav1.BrokerConfigs) bool { return b.GetBrokerId() == broker })
		if len(configs) > 0 {
			next.BrokerConfigs = append(next.BrokerConfigs, &metadatav1.BrokerConfigs{BrokerId: broker, Configs: configs})
		}
		slices.SortFunc(next.BrokerConfigs, func(a, b *metadatav1.BrokerConfigs) int { return int(a.GetBrokerId()) - int(b.GetBrokerId()) })
	}
	if n := proto.Size(next); n > maxSettingsBytes {
		return errcode.New(errcode.InvalidConfig, "all settings together would take %d bytes, more than %d", n, maxSettingsBytes).WithField("set")
	}
	s.Settings, d.Settings = next, true
	return nil
}

// checkSetting checks what the controller acts on. The meaning of all others,
// and which there are, is known to the services that act on them.
func (s *State) checkSetting(name, value string, broker int32) error {
	bad := func(format string, args ...any) error {
		return errcode.New(errcode.InvalidConfig, "config "+name+": "+format, args...).WithField("configs." + name)
	}
	if name == "" {
		return errcode.New(errcode.InvalidConfig, "a setting has a name").WithField("set")
	}
	most := int64(1<<31 - 1)
	switch name {
	default:
		return nil
	case leaderRebalance, replicaRebalance:
		if _, err := strconv.ParseBool(value); err != nil {
			return bad("%q is neither true nor false", value)
		}
	case offsetsPartitions:
		most = MaxShards
		if len(s.Shards) > 0 {
			return bad("the coordinators have %d shards, for ever", len(s.Shards))
		}
		fallthrough
	case numPartitions, defaultReplicas, minInsyncReplicas:
		if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < 1 || n > most {
			return bad("%q is not within 1 to %d", value, most)
		}
	}
	if broker != wholeCluster {
		return bad("it is of the whole cluster, not of one broker")
	}
	return nil
}

// setting returns a number that the cluster's settings hold, or what else it is.
func (s *State) setting(name string, otherwise int32) int32 {
	if n, err := strconv.ParseInt(s.Settings.GetConfigs()[name], 10, 32); err == nil {
		return int32(n)
	}
	return otherwise
}

// enabled tells whether a switch is on, as it is unless it was set off.
func (s *State) enabled(name string) bool {
	on, err := strconv.ParseBool(s.Settings.GetConfigs()[name])
	return err != nil || on
}

// NewTopicPartitions is the number of partitions of a topic that does not say.
func (s *State) NewTopicPartitions() int32 { return s.setting(numPartitions, s.Defaults.Partitions) }

// NewTopicReplicas is the replication factor of a topic that does not say.
func (s *State) NewTopicReplicas() int32 {
	return s.setting(defaultReplicas, s.Defaults.ReplicationFactor)
}

// configuredMin is the min.insync.replicas of a topic with those overrides.
func (s *State) configuredMin(configs map[string]string) int32 {
	if n, err := strconv.ParseInt(configs[minInsyncReplicas], 10, 32); err == nil {
		return int32(n)
	}
	return s.setting(minInsyncReplicas, s.Defaults.MinInsyncReplicas)
}
