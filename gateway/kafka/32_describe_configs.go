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
// be this one or "", which is what is set for all of them.
//
// Gaps: broker loggers, client metrics and groups are refused with
// INVALID_REQUEST.
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
		return s.describeTopic(t.Configs), nil
	case kmsg.ConfigResourceTypeBroker:
		if err := s.checkBroker(r.name); err != nil {
			return nil, err
		}
		if r.name == "" {
			return s.describeDefaults(), nil
		}
		return s.describeBroker(), nil
	default:
		return nil, errcode.New(errcode.InvalidArgument, "resources of type %d have no configs here", r.kind)
	}
}
