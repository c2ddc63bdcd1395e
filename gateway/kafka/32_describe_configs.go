package kafka

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// DescribeConfigs shows the configs of topics and of this broker.
//
// Versions 1–4, with sources, synonyms, types and documentation. A broker must
// be this one or "", the default of all, for which nothing is set.
//
// Gaps: broker loggers, client metrics and groups are refused with
// INVALID_REQUEST. Broker configs are those that are in force here, all read
// only.
func describeConfigsAPI() api {
	return api{
		key: 32, name: "DescribeConfigs", min: 1, max: 4, flexible: 4,
		shape: shape{listOf(always(anInt8), always(aString), list(aString)), always(aBool), since(3, aBool)},
		serve: coded(describeConfigs),
	}
}

func describeConfigs(c *conn, _ context.Context, req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		configs, err := c.s.configsOf(resource{in.ResourceType, in.ResourceName})
		out.ErrorCode, out.ErrorMessage = adminCodeOf(err), textOf(err)
		for _, cfg := range configs {
			if len(in.ConfigNames) > 0 && !slices.Contains(in.ConfigNames, cfg.Name) {
				continue
			}
			if !req.IncludeSynonyms {
				cfg.ConfigSynonyms = nil
			}
			if !req.IncludeDocumentation {
				cfg.Documentation = nil
			}
			out.Configs = append(out.Configs, cfg)
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

func (s *Server) configsOf(r resource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	switch r.kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := topicconfig.ValidateName(r.name); err != nil {
			return nil, err
		}
		t := s.meta.View().Topics[r.name]
		if t == nil {
			return nil, errcode.New(errcode.UnknownTopic, "no topic is named %q", r.name)
		}
		return describeTopic(t.Configs), nil
	case kmsg.ConfigResourceTypeBroker:
		if err := s.checkBroker(r.name); err != nil || r.name == "" {
			return nil, err
		}
		return s.describeBroker(), nil
	default:
		return nil, errcode.New(errcode.InvalidArgument, "resources of type %d have no configs here", r.kind)
	}
}

func describeTopic(overrides map[string]string) (out []kmsg.DescribeConfigsResponseResourceConfig) {
	for _, e := range topicconfig.Effective(overrides) {
		known := topicConfigs[e.Name]
		cfg := kmsg.NewDescribeConfigsResponseResourceConfig()
		cfg.Name, cfg.Value, cfg.Source, cfg.ConfigType = e.Name, kmsg.StringPtr(e.Value), sourceOf(e), known.kind
		cfg.IsDefault, cfg.Documentation = !e.Overridden, kmsg.StringPtr(e.Documentation)
		if e.Overridden {
			cfg.ConfigSynonyms = append(cfg.ConfigSynonyms, synonym(e.Name, e.Value, cfg.Source))
		}
		if known.broker != "" {
			cfg.ConfigSynonyms = append(cfg.ConfigSynonyms, synonym(known.broker, e.Default, kmsg.ConfigSourceDefaultConfig))
		}
		out = append(out, cfg)
	}
	return out
}

func synonym(name, value string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfigConfigSynonym {
	s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
	s.Name, s.Value, s.Source = name, &value, source
	return s
}

func (s *Server) describeBroker() (out []kmsg.DescribeConfigsResponseResourceConfig) {
	for _, b := range s.brokerConfigs() {
		cfg := kmsg.NewDescribeConfigsResponseResourceConfig()
		cfg.Name, cfg.Value, cfg.ConfigType, cfg.ReadOnly = b.name, kmsg.StringPtr(b.value), b.kind, true
		cfg.Source, cfg.Documentation = kmsg.ConfigSourceStaticBrokerConfig, kmsg.StringPtr(b.about)
		if b.preset {
			cfg.Source, cfg.IsDefault = kmsg.ConfigSourceDefaultConfig, true
		}
		cfg.ConfigSynonyms = append(cfg.ConfigSynonyms, synonym(b.name, b.value, cfg.Source))
		out = append(out, cfg)
	}
	return out
}
