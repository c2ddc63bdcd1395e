package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

// feature is one whose level a cluster can change; level 0 is off.
type feature struct {
	name         string
	least, most  int32
	ofNewCluster int32
}

// features is THE table, by name. Names and levels are those of Kafka 4.3.
var features = []feature{
	{"eligible.leader.replicas.version", 1, 1, 1},
	{"group.version", 0, 1, 1},
	{"metadata.version", 7, 30, 30},
	{"transaction.version", 0, 2, 2},
}

func newFeatures() map[string]int32 {
	levels := map[string]int32{}
	for _, f := range features {
		levels[f.name] = f.ofNewCluster
	}
	return levels
}

// UpdateFeatures changes feature levels, all or none.
type UpdateFeatures struct {
	Levels         map[string]int32 // 0 switches a feature off
	AllowDowngrade bool
}

func (c UpdateFeatures) apply(s *State, d *Delta) error {
	levels := newFeatures()
	maps.Copy(levels, s.Settings.GetFeatures())
	before := maps.Clone(levels)
	for _, name := range slices.Sorted(maps.Keys(c.Levels)) {
		if err := c.check(name, before[name], c.Levels[name]); err != nil {
			return err
		}
		levels[name] = c.Levels[name]
	}
	if maps.Equal(levels, s.Settings.GetFeatures()) {
		return nil
	}
	d.Settings = true
	s.Settings = &metadatav1.ClusterSettings{
		Configs: s.Settings.GetConfigs(), BrokerConfigs: s.Settings.GetBrokerConfigs(), Features: levels,
	}
	return nil
}

func (c UpdateFeatures) check(name string, now, next int32) error {
	bad := func(format string, args ...any) error {
		return errcode.New(errcode.FeatureUpdateFailed, format, args...).WithField("levels." + name)
	}
	i := slices.IndexFunc(features, func(f feature) bool { return f.name == name })
	switch {
	case i < 0:
		return bad("feature %q is not known", name)
	case next < features[i].least || next > features[i].most:
		return bad("level %d of %s is not within %d to %d", next, name, features[i].least, features[i].most)
	case next < now && !c.AllowDowngrade:
		return bad("level %d of %s is below the present %d, and lowering it was not allowed", next, name, now)
	}
	return nil
}
