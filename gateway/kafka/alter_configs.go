package kafka

import (
	"context"
	"maps"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// alterTries bounds how often a change is made anew because another one came
// in between.
const alterTries = 10

// edit makes overrides of the present ones.
type edit func(overrides map[string]string) (map[string]string, error)

// alter makes edit's result the overrides of a resource.
func (s *Server) alter(ctx context.Context, r resource, validateOnly bool, change edit) error {
	switch r.kind {
	case kmsg.ConfigResourceTypeTopic:
		return s.alterTopic(ctx, r.name, validateOnly, change)
	case kmsg.ConfigResourceTypeBroker:
		return s.alterBroker(ctx, r.name, validateOnly, change)
	default:
		return errcode.New(errcode.InvalidArgument, "resources of type %d have no configs here", r.kind)
	}
}

func (s *Server) alterTopic(ctx context.Context, name string, validateOnly bool, change edit) error {
	if err := topicconfig.ValidateName(name); err != nil {
		return err
	}
	if topicconfig.IsInternal(name) {
		return errcode.New(errcode.PolicyViolation, "%s belongs to the platform", name)
	}
	for try := 1; ; try++ {
		changes := s.meta.Changed()
		t := s.meta.View().Topics[name]
		if t == nil {
			return errcode.New(errcode.UnknownTopic, "no topic is named %q", name)
		}
		next, err := change(t.Configs)
		if err != nil {
			return err
		}
		err = s.alterTopicTo(ctx, t, next, validateOnly)
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

// alterTopicTo changes what is different, if the topic is still as it was seen.
func (s *Server) alterTopicTo(ctx context.Context, t *metadataclient.Topic, next map[string]string, validateOnly bool) error {
	req := &metadatav1.AlterTopicRequest{Name: t.Name, Version: t.Version, ValidateOnly: validateOnly}
	req.Set, req.Reset_ = difference(t.Configs, next)
	made, err := s.meta.AlterTopic(ctx, req)
	if err != nil {
		return err
	}
	s.follow(ctx, made.GetRevision(), validateOnly)
	return nil
}

// alterBroker changes the settings of this broker, or of all where the name is
// empty. Each is set by itself, so changes at once of different ones do not
// undo each other.
func (s *Server) alterBroker(ctx context.Context, name string, validateOnly bool, change edit) error {
	if err := s.checkBroker(name); err != nil {
		return err
	}
	req := &metadatav1.AlterClusterConfigsRequest{BrokerId: -1, ValidateOnly: validateOnly}
	var present map[string]string
	if settings := s.meta.View().Settings; settings != nil {
		present = settings.Configs
		if name != "" {
			present = settings.Brokers[s.cfg.NodeID]
		}
	}
	if name != "" {
		req.BrokerId = s.cfg.NodeID
	}
	present = shownSettings(present)
	next, err := change(present)
	if err != nil {
		return err
	}
	req.Set, req.Reset_ = difference(present, next)
	for config, value := range req.Set {
		if err := checkSetting(config, value, name != ""); err != nil {
			return err
		}
	}
	if len(req.Set)+len(req.Reset_) == 0 {
		return nil
	}
	done, err := s.meta.AlterClusterConfigs(ctx, req)
	if err != nil {
		return err
	}
	s.follow(ctx, done.GetRevision(), validateOnly)
	return nil
}

// shownSettings are those that clients know as configs: the others, such as
// quotas, are not for a replacement of all to drop.
func shownSettings(all map[string]string) map[string]string {
	shown := maps.Clone(all)
	maps.DeleteFunc(shown, func(name, _ string) bool { return findBrokerConfig(name) == nil })
	return shown
}

// difference is what to set and to drop to make next of present.
func difference(present, next map[string]string) (set map[string]string, drop []string) {
	set = map[string]string{}
	for name, value := range next {
		if have, there := present[name]; !there || have != value {
			set[name] = value
		}
	}
	for name := range present {
		if _, stays := next[name]; !stays {
			drop = append(drop, name)
		}
	}
	return set, drop
}
