package kafka

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// IncrementalAlterConfigs changes overrides of topics, of a broker or of all
// brokers one by one (KIP-339).
//
// Versions 0–1. SET, DELETE, and for lists APPEND and SUBTRACT, which start
// from the default where nothing is set.
//
// Gaps: no other resource has configs.
func incrementalAlterConfigsAPI() api {
	return api{
		key: 44, name: "IncrementalAlterConfigs", max: 1, flexible: 1,
		shape: shape{listOf(always(anInt8), always(aString), listOf(always(aString), always(anInt8), always(aString))), always(aBool)},
		serve: coded(incrementalAlterConfigs),
	}
}

func incrementalAlterConfigs(c *conn, ctx context.Context, req *kmsg.IncrementalAlterConfigsRequest) *kmsg.IncrementalAlterConfigsResponse {
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	key := func(i int) resource { return resource{req.Resources[i].ResourceType, req.Resources[i].ResourceName} }
	counts := counted(len(req.Resources), key)
	for i := range req.Resources {
		r := key(i)
		var err error
		if n := counts[r]; n > 1 { // each of them is told
			err = errcode.New(errcode.InvalidArgument, "%v is named %d times", r, n)
		} else {
			err = c.s.alter(ctx, r, req.ValidateOnly, func(overrides map[string]string) (map[string]string, error) {
				return changed(overrides, req.Resources[i].Configs)
			})
		}
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = r.kind, r.name
		out.ErrorCode, out.ErrorMessage = adminCodeOf(err), textOf(err)
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// changed applies operations to overrides.
func changed(overrides map[string]string, ops []kmsg.IncrementalAlterConfigsRequestResourceConfig) (map[string]string, error) {
	next, seen := maps.Clone(overrides), map[string]bool{}
	if next == nil {
		next = map[string]string{}
	}
	for _, op := range ops {
		if seen[op.Name] {
			return nil, errcode.New(errcode.InvalidArgument, "config %s is named twice", op.Name)
		}
		seen[op.Name] = true
		if op.Op == kmsg.IncrementalAlterConfigOpDelete {
			delete(next, op.Name)
			continue
		}
		if op.Value == nil {
			return nil, errcode.New(errcode.InvalidArgument, "config %s has no value", op.Name)
		}
		value, err := operate(next, op.Name, *op.Value, op.Op)
		if err != nil {
			return nil, err
		}
		next[op.Name] = value
	}
	return next, nil
}

func operate(overrides map[string]string, name, value string, op kmsg.IncrementalAlterConfigOp) (string, error) {
	if op == kmsg.IncrementalAlterConfigOpSet {
		return value, nil
	}
	if op != kmsg.IncrementalAlterConfigOpAppend && op != kmsg.IncrementalAlterConfigOpSubtract {
		return "", errcode.New(errcode.InvalidArgument, "operation %d is not one", op)
	}
	if d := findBrokerConfig(name); topicConfigs[name].kind != kmsg.ConfigTypeList && (d == nil || d.kind != kmsg.ConfigTypeList) {
		return "", errcode.New(errcode.InvalidConfig, "Can't APPEND or SUBTRACT on %s: it is no list", name)
	}
	list := strings.Split(effective(overrides, name), ",")
	for item := range strings.SplitSeq(value, ",") {
		have := slices.Index(list, item)
		switch {
		case op == kmsg.IncrementalAlterConfigOpAppend && have < 0:
			list = append(list, item)
		case op == kmsg.IncrementalAlterConfigOpSubtract && have >= 0:
			list = slices.Delete(list, have, have+1)
		}
	}
	return strings.Join(list, ","), nil
}

func effective(overrides map[string]string, name string) string {
	if value, set := overrides[name]; set {
		return value
	}
	if d := findBrokerConfig(name); d != nil {
		return d.preset
	}
	for _, e := range topicconfig.Effective(nil) {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}
