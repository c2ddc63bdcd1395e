package coordinator

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/coordinator/group"
	"moldau.dev/coordinator/shard"
	"moldau.dev/services/telemetry"
)

// collector asks the shards what they have, at scrape.
type collector struct{ s *Service }

// scrapePatience bounds a scrape: a shard that waits for its journal is left
// out.
const scrapePatience = time.Second

var (
	descGroups     = desc("groups", "Groups of the shards owned here.", "type")
	descMembers    = desc("group_members", "Members of the groups of the shards owned here.")
	descOffsets    = desc("offsets", "Committed offsets of the shards owned here.")
	descRebalances = desc("group_rebalances_total", "Rebalances begun, or group epochs raised.")
	descCommits    = desc("offset_commits_total", "Offsets committed.")
	descExpired    = desc("offset_expirations_total", "Offsets that have expired.")
	descShards     = desc("shards", "Shards owned here, by what they do and how far they are.", "machine", "state")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(telemetry.Namespace, "coordinator", name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descGroups, descMembers, descOffsets, descRebalances, descCommits, descExpired, descShards} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer c.s.clk.AfterFunc(scrapePatience, cancel).Stop()
	var sum group.Counts
	for _, s := range c.s.groupShards() {
		if n, err := shard.Ask[group.Counts](ctx, s, group.Count{}); err == nil {
			sum.Add(n)
		}
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	gauge(descGroups, sum.Classic, "classic")
	gauge(descGroups, sum.Consumer, "consumer")
	gauge(descMembers, sum.Members)
	gauge(descOffsets, sum.Offsets)
	for d, v := range map[*prometheus.Desc]int64{descRebalances: sum.Rebalances, descCommits: sum.Commits, descExpired: sum.Expired} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	for machine, shards := range map[string]map[int32]*shard.Shard{"group": c.s.groupShards(), "transaction": c.s.transactionShards()} {
		states := map[shard.State]int{}
		for _, s := range shards {
			states[s.State()]++
		}
		for _, state := range []shard.State{shard.Loading, shard.Serving, shard.Lost} {
			gauge(descShards, states[state], machine, state.String())
		}
	}
}
