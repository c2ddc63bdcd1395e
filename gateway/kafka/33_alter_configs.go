package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/errcode"
)

// AlterConfigs replaces all overrides of topics, of a broker or of all brokers.
//
// Versions 0–2. What is not named goes back to its default.
func alterConfigsAPI() api {
	return api{
		key: 33, name: "AlterConfigs", max: 2, flexible: 2,
		shape: shape{listOf(always(anInt8), always(aString), listOf(always(aString), always(aString))), always(aBool)},
		serve: coded(alterConfigs),
	}
}

func alterConfigs(c *conn, ctx context.Context, req *kmsg.AlterConfigsRequest) *kmsg.AlterConfigsResponse {
	resp := kmsg.NewPtrAlterConfigsResponse()
	key := func(i int) resource { return resource{req.Resources[i].ResourceType, req.Resources[i].ResourceName} }
	counts := counted(len(req.Resources), key)
	for i := range req.Resources {
		r := key(i)
		if counts[r] == told {
			continue
		}
		err := twice(counts, r)
		if err == nil {
			err = c.s.alter(ctx, r, req.ValidateOnly, func(map[string]string) (map[string]string, error) {
				return replaced(req.Resources[i].Configs)
			})
		}
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.kind, r.name
		out.ErrorCode, out.ErrorMessage = adminCodeOf(err), textOf(err)
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

func replaced(in []kmsg.AlterConfigsRequestResourceConfig) (map[string]string, error) {
	next := make(map[string]string, len(in))
	for _, c := range in {
		if _, again := next[c.Name]; again {
			return nil, errcode.New(errcode.InvalidArgument, "config %s is named twice", c.Name)
		}
		if c.Value == nil {
			return nil, errcode.New(errcode.InvalidArgument, "config %s has no value", c.Name)
		}
		next[c.Name] = *c.Value
	}
	return next, nil
}
