package kafka

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// scope tells where a broker config can be set.
type scope uint8

const (
	// ofTheFile is set where the gateway starts, and read only.
	ofTheFile scope = iota
	// ofTheCluster is set for all brokers, while they run.
	ofTheCluster
	// ofOneBroker is set for all brokers or for one, while they run.
	ofOneBroker
)

// brokerConfig is one config of gateways as brokers, by Kafka's name.
type brokerConfig struct {
	name   string
	kind   kmsg.ConfigType
	scope  scope
	preset string // the default
	check  func(value string) bool
	about  string
	// static, where set, is what this gateway was started with.
	static func(s *Server) string
}

// brokerConfigs is THE table, by name. What is in it is acted on: by gateways,
// by coordinators, by the controller. Names and defaults are Kafka's.
var brokerConfigs = func() []brokerConfig {
	all := append(ownConfigs(), clusterConfigs()...)
	for _, d := range topicconfig.Definitions() {
		c := topicConfigs[d.Name]
		if known := slices.ContainsFunc(all, func(b brokerConfig) bool { return b.name == c.broker }); c.broker != "" && !known {
			all = append(all, brokerConfig{name: c.broker, kind: c.kind, preset: d.Default, about: d.Documentation})
		}
	}
	slices.SortFunc(all, func(a, b brokerConfig) int { return cmp.Compare(a.name, b.name) })
	return all
}()

// findBrokerConfig returns the row of that name, or nil.
func findBrokerConfig(name string) *brokerConfig {
	i, known := slices.BinarySearchFunc(brokerConfigs, name, func(b brokerConfig, name string) int { return cmp.Compare(b.name, name) })
	if !known {
		return nil
	}
	return &brokerConfigs[i]
}

// The names of what gateways act on themselves.
const (
	autoCreateEnable = "auto.create.topics.enable"
	maxIdleMs        = "connections.max.idle.ms"
	maxConnections   = "max.connections"
	maxPerIP         = "max.connections.per.ip"
)

// ownConfigs are those that gateways act on.
func ownConfigs() []brokerConfig {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	file := func(name string, kind kmsg.ConfigType, preset string, static func(*Server) string, about string) brokerConfig {
		return brokerConfig{name: name, kind: kind, preset: preset, static: static, about: about}
	}
	one := func(name string, kind kmsg.ConfigType, preset string, check func(string) bool, static func(*Server) string, about string) brokerConfig {
		return brokerConfig{name, kind, ofOneBroker, preset, check, about, static}
	}
	id := func(s *Server) string { return number(int64(s.cfg.NodeID)) }
	return []brokerConfig{
		file("node.id", kmsg.ConfigTypeInt, "-1", id, "The id of this broker."),
		file("broker.id", kmsg.ConfigTypeInt, "-1", id, "The id of this broker."),
		file("broker.rack", kmsg.ConfigTypeString, "", func(s *Server) string { return s.cfg.Rack }, "Where this broker stands, for clients that read nearby."),
		file("advertised.listeners", kmsg.ConfigTypeList, "", func(s *Server) string { return "PLAINTEXT://" + s.Address() }, "Where clients are sent to."),
		file("socket.request.max.bytes", kmsg.ConfigTypeInt, "104857600", func(s *Server) string { return number(int64(s.cfg.MaxRequestBytes)) }, "The largest request, in bytes."),
		file("fetch.max.bytes", kmsg.ConfigTypeInt, number(maxFetchBytes), nil, "The most bytes of a fetch."),
		file("max.incremental.fetch.session.cache.slots", kmsg.ConfigTypeInt, number(maxSessions), nil, "How many fetch sessions are kept."),
		one(autoCreateEnable, kmsg.ConfigTypeBoolean, "true", isBool, func(s *Server) string { return strconv.FormatBool(s.cfg.AutoCreateTopics) }, "Whether asking for an unknown topic may create it."),
		one(maxIdleMs, kmsg.ConfigTypeLong, "600000", within(1, math.MaxInt64), func(s *Server) string { return number(s.cfg.IdleTimeout.Milliseconds()) }, "How long a connection may be without requests, in milliseconds."),
		one(maxConnections, kmsg.ConfigTypeInt, "2147483647", within(0, math.MaxInt32), func(s *Server) string { return number(int64(s.cfg.MaxConnections)) }, "How many clients may be connected."),
		one(maxPerIP, kmsg.ConfigTypeInt, "2147483647", within(0, math.MaxInt32), nil, "How many clients of one address may be connected."),
	}
}

// clusterConfigs are those that the controller and coordinators act on.
func clusterConfigs() []brokerConfig {
	set := func(name string, kind kmsg.ConfigType, preset string, check func(string) bool, about string) brokerConfig {
		return brokerConfig{name: name, kind: kind, scope: ofTheCluster, preset: preset, check: check, about: about}
	}
	count, millis, anyMillis := within(1, math.MaxInt32), within(1, math.MaxInt64), within(0, math.MaxInt32)
	return []brokerConfig{
		set("num.partitions", kmsg.ConfigTypeInt, "1", count, "Partitions of a topic that is created without a number."),
		set("default.replication.factor", kmsg.ConfigTypeInt, "1", count, "Replicas of a topic that is created without a number."),
		set("min.insync.replicas", kmsg.ConfigTypeInt, "1", count, "Replicas that must be in sync for acks=all to succeed, in topics that do not say."),
		set("auto.leader.rebalance.enable", kmsg.ConfigTypeBoolean, "true", isBool, "Whether preferred leaders are made to lead again."),
		set("moldau.auto.replica.rebalance.enable", kmsg.ConfigTypeBoolean, "true", isBool, "Whether replicas are moved so that nodes hold equally many."),
		set("offsets.topic.num.partitions", kmsg.ConfigTypeInt, "50", count, "Shards of groups and transactions; fixed once the first coordinator came."),
		set("offsets.retention.minutes", kmsg.ConfigTypeInt, "10080", count, "How long offsets of a group without members are kept, in minutes."),
		set("offsets.retention.check.interval.ms", kmsg.ConfigTypeLong, "600000", millis, "How often expired offsets are looked for, in milliseconds."),
		set("offset.metadata.max.bytes", kmsg.ConfigTypeInt, "4096", anyMillis, "The longest text that a client may keep with an offset, in bytes."),
		set("group.min.session.timeout.ms", kmsg.ConfigTypeInt, "6000", anyMillis, "The shortest session timeout of a classic member, in milliseconds."),
		set("group.max.session.timeout.ms", kmsg.ConfigTypeInt, "1800000", anyMillis, "The longest session timeout of a classic member, in milliseconds."),
		set("group.initial.rebalance.delay.ms", kmsg.ConfigTypeInt, "3000", anyMillis, "How long an empty group waits for more members, in milliseconds."),
		set("group.max.size", kmsg.ConfigTypeInt, "2147483647", count, "How many members a classic group may have."),
		set("group.consumer.session.timeout.ms", kmsg.ConfigTypeInt, "45000", count, "Silence that removes a member of a consumer group, in milliseconds."),
		set("group.consumer.heartbeat.interval.ms", kmsg.ConfigTypeInt, "5000", count, "How often members of consumer groups beat, in milliseconds."),
		set("group.consumer.max.size", kmsg.ConfigTypeInt, "2147483647", count, "How many members a consumer group may have."),
		set("group.consumer.assignors", kmsg.ConfigTypeList, "uniform,range", eachOf("uniform", "range"), "The assignors of consumer groups, the default first."),
		set("group.consumer.migration.policy", kmsg.ConfigTypeString, "bidirectional", oneOf("bidirectional", "upgrade", "downgrade", "disabled"), "Which way groups with members may change their protocol."),
		set("transaction.max.timeout.ms", kmsg.ConfigTypeInt, "900000", count, "The longest that a client may keep a transaction open, in milliseconds."),
		set("transactional.id.expiration.ms", kmsg.ConfigTypeInt, "604800000", count, "How long a transactional id is remembered that nobody uses, in milliseconds."),
	}
}

func isBool(v string) bool { return v == "true" || v == "false" }

func within(least, most int64) func(string) bool {
	return func(v string) bool {
		n, err := strconv.ParseInt(v, 10, 64)
		return err == nil && n >= least && n <= most
	}
}

func oneOf(words ...string) func(string) bool {
	return func(v string) bool { return slices.Contains(words, v) }
}

func eachOf(words ...string) func(string) bool {
	return func(v string) bool {
		list := strings.Split(v, ",")
		for i, word := range list {
			if !slices.Contains(words, word) || slices.Contains(list[:i], word) {
				return false
			}
		}
		return true
	}
}

// checkSetting refuses what cannot be set: for one broker, or for all.
func checkSetting(name, value string, forOne bool) error {
	d := findBrokerConfig(name)
	switch {
	case d == nil:
		return errcode.New(errcode.InvalidConfig, "broker config %q is not known", name)
	case d.scope == ofTheFile:
		return errcode.New(errcode.InvalidArgument, "Cannot update these configs dynamically: Set(%s)", name)
	case d.scope == ofTheCluster && forOne:
		return errcode.New(errcode.InvalidArgument, "Cannot update these configs at per broker level: Set(%s)", name)
	case !d.check(value):
		return errcode.New(errcode.InvalidConfig, "Invalid value %s for configuration %s: %s", value, name, d.about)
	}
	return nil
}
