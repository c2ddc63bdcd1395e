package kafka

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// IncrementalAlterConfigs changes overrides of topics one by one (KIP-339).
//
// Versions 0–1. SET, DELETE, and for lists APPEND and SUBTRACT, which start
// from the default where nothing is set.
//
// Gaps: broker configs cannot be changed, and no other resource has any.
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
		if counts[r] == told {
			continue
		}
		err := twice(counts, r)
		if err == nil {
			err = c.s.alter(ctx, r, req.ValidateOnly, func(t *metadataclient.Topic) (map[string]string, error) {
				return changed(t.Configs, req.Resources[i].Configs)
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
	if topicConfigs[name].kind != kmsg.ConfigTypeList {
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
	for _, e := range topicconfig.Effective(overrides) {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// alterTries bounds how often a change is made anew because another one came
// in between.
const alterTries = 10

// alter makes edit's result the overrides of a topic.
func (s *Server) alter(ctx context.Context, r resource, validateOnly bool, edit func(t *metadataclient.Topic) (map[string]string, error)) error {
	switch r.kind {
	case kmsg.ConfigResourceTypeTopic:
	case kmsg.ConfigResourceTypeBroker:
		if err := s.checkBroker(r.name); err != nil {
			return err
		}
		return errcode.New(errcode.InvalidArgument, "broker configs are set where the gateway starts, and do not change while it runs")
	default:
		return errcode.New(errcode.InvalidArgument, "resources of type %d have no configs here", r.kind)
	}
	if err := topicconfig.ValidateName(r.name); err != nil {
		return err
	}
	if topicconfig.IsInternal(r.name) {
		return errcode.New(errcode.PolicyViolation, "%s belongs to the platform", r.name)
	}
	for try := 1; ; try++ {
		changes := s.meta.Changed()
		t := s.meta.View().Topics[r.name]
		if t == nil {
			return errcode.New(errcode.UnknownTopic, "no topic is named %q", r.name)
		}
		next, err := edit(t)
		if err != nil {
			return err
		}
		err = s.alterTo(ctx, t, next, validateOnly)
		if !errcode.Is(err, errcode.StaleRevision) || try == alterTries {
			return err
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return errcode.Of(ctx.Err())
		}
	}
}

// alterTo changes what is different, if the topic is still as it was seen.
func (s *Server) alterTo(ctx context.Context, t *metadataclient.Topic, next map[string]string, validateOnly bool) error {
	req := &metadatav1.AlterTopicRequest{Name: t.Name, Version: t.Version, ValidateOnly: validateOnly, Set: map[string]string{}}
	for name, value := range next {
		if have, set := t.Configs[name]; !set || have != value {
			req.Set[name] = value
		}
	}
	for name := range t.Configs {
		if _, stays := next[name]; !stays {
			req.Reset_ = append(req.Reset_, name)
		}
	}
	made, err := s.meta.AlterTopic(ctx, req)
	if err != nil {
		return err
	}
	s.follow(ctx, made.GetRevision(), validateOnly)
	return nil
}
