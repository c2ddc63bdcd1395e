package kafka

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

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

// layer is one place that a config can be set in.
type layer struct {
	name   string // there
	value  string
	source kmsg.ConfigSource
}

// inForce describes a config by the layers that set it, the strongest first;
// the last one is the default.
func inForce(name string, kind kmsg.ConfigType, about string, layers []layer) kmsg.DescribeConfigsResponseResourceConfig {
	cfg := kmsg.NewDescribeConfigsResponseResourceConfig()
	cfg.Name, cfg.ConfigType, cfg.Documentation = name, kind, &about
	cfg.Value, cfg.Source, cfg.IsDefault = &layers[0].value, layers[0].source, layers[0].source == kmsg.ConfigSourceDefaultConfig
	for i := range layers {
		if layers[i].name == "" {
			continue
		}
		syn := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		syn.Name, syn.Value, syn.Source = layers[i].name, &layers[i].value, layers[i].source
		cfg.ConfigSynonyms = append(cfg.ConfigSynonyms, syn)
	}
	return cfg
}

// describeTopic shows the configs of a topic with overrides.
func (s *Server) describeTopic(overrides map[string]string) (out []kmsg.DescribeConfigsResponseResourceConfig) {
	for _, e := range topicconfig.Effective(overrides) {
		known := topicConfigs[e.Name]
		var layers []layer
		if e.Overridden {
			layers = append(layers, layer{e.Name, e.Value, kmsg.ConfigSourceDynamicTopicConfig})
		}
		if d := findBrokerConfig(known.broker); d != nil {
			layers = append(layers, s.layers(d)...)
		} else {
			layers = append(layers, layer{known.broker, e.Default, kmsg.ConfigSourceDefaultConfig})
		}
		out = append(out, inForce(e.Name, known.kind, e.Documentation, layers))
	}
	return out
}

// layers are what sets a broker config of this gateway.
func (s *Server) layers(d *brokerConfig) (out []layer) {
	settings := s.meta.View().Settings
	if settings == nil {
		settings = &metadataclient.Settings{}
	}
	if value, set := settings.Brokers[s.cfg.NodeID][d.name]; set && d.scope == ofOneBroker {
		out = append(out, layer{d.name, value, kmsg.ConfigSourceDynamicBrokerConfig})
	}
	if value, set := settings.Configs[d.name]; set && d.scope != ofTheFile {
		out = append(out, layer{d.name, value, kmsg.ConfigSourceDynamicDefaultBrokerConfig})
	}
	if d.static != nil {
		if value := d.static(s); value != d.preset {
			out = append(out, layer{d.name, value, kmsg.ConfigSourceStaticBrokerConfig})
		}
	}
	return append(out, layer{d.name, d.preset, kmsg.ConfigSourceDefaultConfig})
}

// describeBroker shows all configs of this gateway as a broker.
func (s *Server) describeBroker() (out []kmsg.DescribeConfigsResponseResourceConfig) {
	for i := range brokerConfigs {
		d := &brokerConfigs[i]
		cfg := inForce(d.name, d.kind, d.about, s.layers(d))
		cfg.ReadOnly = d.scope == ofTheFile
		out = append(out, cfg)
	}
	return out
}

// describeDefaults shows what is set for all brokers.
func (s *Server) describeDefaults() (out []kmsg.DescribeConfigsResponseResourceConfig) {
	settings := s.meta.View().Settings
	for i := range brokerConfigs {
		d := &brokerConfigs[i]
		if settings == nil || d.scope == ofTheFile {
			continue
		}
		if value, set := settings.Configs[d.name]; set {
			out = append(out, inForce(d.name, d.kind, d.about, []layer{{d.name, value, kmsg.ConfigSourceDynamicDefaultBrokerConfig}}))
		}
	}
	return out
}

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
