package metadata

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/metadata/controller"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
)

func newUnclean() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "moldau", Subsystem: "metadata", Name: "unclean_elections_total",
		Help: "Leaders that operators elected though records may be lost (R13).",
	})
}

func (s *Service) registerMetrics(r prometheus.Registerer) error {
	gauge := func(name, help string, value func(*controller.Image) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "moldau", Subsystem: "metadata", Name: name, Help: help}, func() float64 {
			if image := s.controller.Image(); image != nil {
				return float64(value(image))
			}
			return 0
		})
	}
	partitions := func(name, help string, counts func(p *metadatav1.PartitionState) bool) prometheus.Collector {
		return gauge(name, help, func(i *controller.Image) (n int) {
			for _, t := range i.State.Topics {
				for _, p := range t.Partitions {
					if counts(p) {
						n++
					}
				}
			}
			return n
		})
	}
	for _, c := range []prometheus.Collector{
		s.unclean,
		gauge("controller_epoch", "Epoch of the controller, 0 where this process is not it.", func(i *controller.Image) int { return int(i.Epoch) }),
		gauge("topics", "Topics of the cluster.", func(i *controller.Image) int { return len(i.State.Topics) }),
		partitions("partitions", "Partitions of the cluster.", func(*metadatav1.PartitionState) bool { return true }),
		partitions("partitions_without_leader", "Partitions that nobody leads.", func(p *metadatav1.PartitionState) bool { return p.Leader < 0 }),
		partitions("partitions_under_replicated", "Partitions with replicas out of sync.", func(p *metadatav1.PartitionState) bool { return len(p.Isr) < len(p.Replicas)-len(p.Adding) }),
		partitions("partitions_under_min_isr", "Partitions with fewer replicas in sync than min.insync.replicas.", func(p *metadatav1.PartitionState) bool { return len(p.Isr) < int(p.MinInsyncReplicas) }),
		partitions("partitions_moving", "Partitions that are being moved.", func(p *metadatav1.PartitionState) bool { return len(p.Adding)+len(p.Removing) > 0 }),
		partitions("partitions_without_preferred_leader", "Partitions that another than the preferred leader leads.", func(p *metadatav1.PartitionState) bool { return p.Leader != p.Replicas[0] }),
		gauge("nodes_in_service", "Storage nodes that are registered and not fenced.", inService),
		gauge("gateways_in_service", "Gateways that are registered and not fenced.", func(i *controller.Image) (n int) { return unfenced(i.State.Gateways) }),
		gauge("coordinators_in_service", "Coordinators that are registered and not fenced.", func(i *controller.Image) (n int) { return unfenced(i.State.Coordinators) }),
	} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metadata metrics: %w", err)
		}
	}
	return nil
}

func unfenced[T interface{ GetFenced() bool }](all map[int32]T) (n int) {
	for _, m := range all {
		if !m.GetFenced() {
			n++
		}
	}
	return n
}

func inService(i *controller.Image) (n int) {
	for id := range i.State.Nodes {
		if i.State.Live(id) {
			n++
		}
	}
	return n
}
