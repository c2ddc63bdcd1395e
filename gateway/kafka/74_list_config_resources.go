package kafka

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListConfigResources lists what has configs (KIP-1142).
//
// Versions 0–1. Version 0 knows client metrics alone, of which there are none.
//
// Gaps: groups.
func listConfigResourcesAPI() api {
	return api{
		key: 74, name: "ListConfigResources", max: 1, flexible: 0,
		shape: shape{list(anInt8).from(1)},
		serve: coded(listConfigResources),
	}
}

func listConfigResources(c *conn, _ context.Context, req *kmsg.ListConfigResourcesRequest) *kmsg.ListConfigResourcesResponse {
	resp := kmsg.NewPtrListConfigResourcesResponse()
	if req.Version == 0 {
		return resp
	}
	types := req.ResourceTypes
	if len(types) == 0 {
		types = []int8{int8(kmsg.ConfigResourceTypeTopic), int8(kmsg.ConfigResourceTypeBroker)}
	}
	add := func(kind int8, name string) {
		out := kmsg.NewListConfigResourcesResponseConfigResource()
		out.Type, out.Name = kind, name
		resp.ConfigResources = append(resp.ConfigResources, out)
	}
	for _, kind := range types {
		switch kmsg.ConfigResourceType(kind) {
		case kmsg.ConfigResourceTypeTopic:
			for _, t := range c.s.allTopics() {
				add(kind, t.Name)
			}
		case kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger:
			add(kind, strconv.Itoa(int(c.s.cfg.NodeID)))
		case kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig:
		default:
			resp.ConfigResources, resp.ErrorCode = nil, kerr.UnsupportedVersion.Code
			return resp
		}
	}
	return resp
}
