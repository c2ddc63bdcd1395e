package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/topicconfig"
)

// AlterTopic changes overrides. Reset happens before Set.
type AlterTopic struct {
	Name    string
	Set     map[string]string
	Reset   []string
	Version int64 // only if the topic is at this version; 0 is any
}

func (c AlterTopic) apply(s *State, d *Delta) error {
	t, err := s.topic(c.Name)
	if err != nil {
		return err
	}
	if c.Version != 0 && c.Version != t.Version {
		return errcode.New(errcode.StaleRevision, "topic %q is at version %d, not %d", c.Name, t.Version, c.Version).
			WithField("version").With("version", t.Version).WithHint("Describe the topic, decide again, and retry.")
	}
	configs := make(map[string]string, len(t.Configs)+len(c.Set))
	maps.Copy(configs, t.Configs)
	for _, name := range c.Reset {
		if _, both := c.Set[name]; both {
			return errcode.New(errcode.InvalidArgument, "config %s is both set and reset", name).WithField("reset")
		}
		if _, set := configs[name]; !set && !topicconfig.Known(name) {
			return errcode.New(errcode.InvalidConfig, "config %q is not known", name).WithField("configs." + name)
		}
		delete(configs, name)
	}
	maps.Copy(configs, c.Set)
	if err := s.checkConfigs(c.Name, configs); err != nil {
		return err
	}
	if maps.Equal(configs, t.Configs) {
		return nil
	}
	next := copyTopic(t)
	next.Configs, next.Version = configs, t.Version+1
	next.Partitions = s.requireInSync(t, configs)
	s.putTopic(d, next)
	return nil
}

// requireInSync returns a topic's partitions under other overrides (R11).
func (s *State) requireInSync(t *metadatav1.TopicState, configs map[string]string) []*metadatav1.PartitionState {
	least := s.configuredMin(configs)
	var changed []*metadatav1.PartitionState
	for i, p := range t.Partitions {
		next := s.settle(p, configs, goal{minISR: effectiveMin(p, least)})
		if next == p {
			continue
		}
		if changed == nil {
			changed = slices.Clone(t.Partitions)
		}
		changed[i] = next
	}
	if changed == nil {
		return t.Partitions
	}
	return changed
}

// checkConfigs checks the overrides of a topic. Those of services are durable
// and compacted for ever (R15).
func (s *State) checkConfigs(name string, configs map[string]string) error {
	parsed, err := topicconfig.Parse(configs)
	if err != nil || !topicconfig.IsInternal(name) {
		return err
	}
	if !parsed.CleanupCompact || parsed.CleanupDelete || !parsed.Durable {
		return errcode.New(errcode.PolicyViolation, "topic %q is of the coordinators: it must be compacted and durable", name).WithField("configs")
	}
	return nil
}
