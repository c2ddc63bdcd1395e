package kafka

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// topicConfig is what Kafka's tools want to know of a topic config beyond
// topicconfig's table.
type topicConfig struct {
	kind   kmsg.ConfigType
	broker string // the broker config that is its default; empty: none
}

// topicConfigs has a row for each topic config; a test holds that.
var topicConfigs = map[string]topicConfig{
	"cleanup.policy":                  {kmsg.ConfigTypeList, "log.cleanup.policy"},
	"compression.type":                {kmsg.ConfigTypeString, "compression.type"},
	"delete.retention.ms":             {kmsg.ConfigTypeLong, "log.cleaner.delete.retention.ms"},
	"file.delete.delay.ms":            {kmsg.ConfigTypeLong, "log.segment.delete.delay.ms"},
	"index.interval.bytes":            {kmsg.ConfigTypeInt, "log.index.interval.bytes"},
	"max.compaction.lag.ms":           {kmsg.ConfigTypeLong, "log.cleaner.max.compaction.lag.ms"},
	"max.message.bytes":               {kmsg.ConfigTypeInt, "message.max.bytes"},
	"message.timestamp.after.max.ms":  {kmsg.ConfigTypeLong, "log.message.timestamp.after.max.ms"},
	"message.timestamp.before.max.ms": {kmsg.ConfigTypeLong, "log.message.timestamp.before.max.ms"},
	"message.timestamp.type":          {kmsg.ConfigTypeString, "log.message.timestamp.type"},
	"min.cleanable.dirty.ratio":       {kmsg.ConfigTypeDouble, "log.cleaner.min.cleanable.ratio"},
	"min.compaction.lag.ms":           {kmsg.ConfigTypeLong, "log.cleaner.min.compaction.lag.ms"},
	"min.insync.replicas":             {kmsg.ConfigTypeInt, "min.insync.replicas"},
	"moldau.durability":               {kmsg.ConfigTypeString, ""},
	"retention.bytes":                 {kmsg.ConfigTypeLong, "log.retention.bytes"},
	"retention.ms":                    {kmsg.ConfigTypeLong, "log.retention.ms"},
	"segment.bytes":                   {kmsg.ConfigTypeInt, "log.segment.bytes"},
	"segment.ms":                      {kmsg.ConfigTypeLong, "log.roll.ms"},
}

func sourceOf(e topicconfig.Entry) kmsg.ConfigSource {
	if e.Overridden {
		return kmsg.ConfigSourceDynamicTopicConfig
	}
	return kmsg.ConfigSourceDefaultConfig
}

// brokerConfig is one config of this gateway as a broker.
type brokerConfig struct {
	name, value string
	kind        kmsg.ConfigType
	preset      bool // the value is the default's
	about       string
}

// brokerConfigs are those that are in force here, by name. None can be changed
// while the gateway runs.
func (s *Server) brokerConfigs() []brokerConfig {
	number := func(name string, value int64, about string) brokerConfig {
		return brokerConfig{name: name, value: strconv.FormatInt(value, 10), kind: kmsg.ConfigTypeLong, about: about}
	}
	addr := "PLAINTEXT://" + s.Address()
	all := []brokerConfig{
		number("node.id", int64(s.cfg.NodeID), "The id of this broker."),
		number("broker.id", int64(s.cfg.NodeID), "The id of this broker."),
		{name: "advertised.listeners", value: addr, kind: kmsg.ConfigTypeList, about: "Where clients are sent to."},
		{name: "auto.create.topics.enable", value: strconv.FormatBool(s.cfg.AutoCreateTopics), kind: kmsg.ConfigTypeBoolean, about: "Whether asking for an unknown topic may create it."},
		number("connections.max.idle.ms", s.cfg.IdleTimeout.Milliseconds(), "How long a connection may be without requests, in milliseconds."),
		number("max.connections", int64(s.cfg.MaxConnections), "How many clients may be connected."),
		number("socket.request.max.bytes", int64(s.cfg.MaxRequestBytes), "The largest request, in bytes."),
		number("fetch.max.bytes", maxFetchBytes, "The most bytes of a fetch."),
		number("max.incremental.fetch.session.cache.slots", maxSessions, "How many fetch sessions are kept."),
	}
	for _, d := range topicconfig.Definitions() {
		if c := topicConfigs[d.Name]; c.broker != "" {
			all = append(all, brokerConfig{c.broker, d.Default, c.kind, true, d.Documentation})
		}
	}
	slices.SortFunc(all, func(a, b brokerConfig) int { return cmp.Compare(a.name, b.name) })
	return all
}

// resource names what configs belong to.
type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

// checkBroker requires that a broker resource is this gateway, or the default
// of all.
func (s *Server) checkBroker(name string) error {
	if id, err := strconv.ParseInt(name, 10, 32); name != "" && (err != nil || int32(id) != s.cfg.NodeID) {
		return errcode.New(errcode.InvalidArgument, "Unexpected broker id, expected %d or empty string, but received %s", s.cfg.NodeID, name)
	}
	return nil
}
