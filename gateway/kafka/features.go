package kafka

import (
	"github.com/twmb/franz-go/pkg/kversion"

	"moldau.dev/services/errcode"
)

// kafkaRelease is the release whose versions and features are shown.
var kafkaRelease = kversion.V4_3_0()

// The features that are true here: what their levels switch is served.
const (
	elrVersion         = "eligible.leader.replicas.version"
	metadataVersion    = "metadata.version"
	transactionVersion = "transaction.version"
	groupVersion       = "group.version"
)

// feature is what clients are told of one.
type feature struct {
	name            string
	lowest, highest int16 // supported
	level           int16 // finalized; 0 is off
}

// knownFeatures are those of the release, at the levels of a new cluster.
var knownFeatures = func() map[string]feature {
	known := map[string]feature{}
	kafkaRelease.EachSupportedFeature(func(name string, lowest, highest int16) {
		known[name] = feature{name: name, lowest: lowest, highest: highest}
	})
	kafkaRelease.EachFinalizedFeature(func(name string, level int16) {
		f := known[name]
		f.level = level
		known[name] = f
	})
	return known
}()

// features are those that this gateway serves, by name.
func (s *Server) features() []feature {
	names := []string{elrVersion, groupVersion, metadataVersion, transactionVersion}
	if s.coordinators == nil {
		names = []string{elrVersion, metadataVersion}
	}
	out := make([]feature, len(names))
	for i, name := range names {
		out[i] = knownFeatures[name]
		out[i].level = s.featureLevel(name)
	}
	return out
}

// featureLevel is the finalized level of a feature.
func (s *Server) featureLevel(name string) int16 {
	if settings := s.meta.View().Settings; settings != nil {
		if level, set := settings.Features[name]; set {
			return int16(level)
		}
	}
	return knownFeatures[name].level
}

// consumerProtocol returns UNIMPLEMENTED while the cluster is at
// group.version=0.
func (s *Server) consumerProtocol() error {
	if s.featureLevel(groupVersion) >= 1 {
		return nil
	}
	return errcode.New(errcode.Unimplemented, "the consumer protocol is switched off: group.version is 0")
}
