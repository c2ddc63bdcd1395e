package storagenode

import (
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/topicid"
)

// measured starts a node whose metrics the test reads.
func measured(t *testing.T) (*cluster, *Service, *prometheus.Registry) {
	t.Helper()
	c, r := newCluster(t, newDisk()), prometheus.NewRegistry()
	cfg := DefaultConfig()
	cfg.NodeID, cfg.DataDir = 1, "/data"
	s, err := NewService(cfg, Deps{Clock: c.clock, Log: slog.New(slog.DiscardHandler), Metadata: c.meta, FS: c.fs, Registerer: r})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.node = s
	return c, s, r
}

// measure returns a metric's value, or count, by topic; "" where it has none.
func measure(t *testing.T, r *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			topic := ""
			for _, l := range m.GetLabel() {
				if l.GetName() == "topic" {
					topic = l.GetValue()
				}
			}
			out[topic] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestWhatGoesInAndOutIsCountedByTopic(t *testing.T) {
	c, s, r := measured(t)
	a, b := pid(c.meta.create("a", 2, nil), 0), pid(c.meta.create("b", 1, nil), 0)
	first, second := batch(t, 3, "a"), batch(t, 2, "aa")
	mustAppend(t, s, a, slices.Clone(first))
	mustAppend(t, s, a, slices.Clone(second))
	mustAppend(t, s, b, batch(t, 7, "b"))
	if res := fetchFrom(t, s, a, 0); res.Err != nil || len(res.Batches) != len(first)+len(second) {
		t.Fatalf("fetched %d bytes, %v", len(res.Batches), res.Err)
	}
	size := float64(len(first) + len(second))
	for name, want := range map[string]float64{
		"append_records_total": 5, "append_bytes_total": size, "fetch_records_total": 5, "fetch_bytes_total": size,
		"log_size_bytes": size, "log_start_offset": 0, "log_end_offset": 5,
	} {
		if got := measure(t, r, "moldau_storage_"+name); got["a"] != want || len(got) != 2 && name[0] != 'l' {
			t.Errorf("%s: %v, want %v of a", name, got, want)
		}
	}
	for name, want := range map[string]float64{"batch_bytes": 3, "batch_records": 3, "append_seconds": 3, "fetch_seconds": 1} {
		if got := measure(t, r, "moldau_storage_"+name)[""]; got != want {
			t.Errorf("%s: %v observed, want %v", name, got, want)
		}
	}
	for _, name := range []string{"fsync_seconds", "flush_partitions"} {
		if got := measure(t, r, "moldau_storage_"+name)[""]; got < 1 || got > 3 {
			t.Errorf("%s: %v observed for 3 durable appends", name, got)
		}
	}
}

// TestOnlyTopicsOfTheNodeHaveSeries: one that is deleted leaves none behind,
// one of the same name goes on counting, and one that lives elsewhere has none.
func TestOnlyTopicsOfTheNodeHaveSeries(t *testing.T) {
	c, s, r := measured(t)
	c.meta.put(&metadataclient.Topic{Name: "elsewhere", Partitions: []metadataclient.Partition{{Leader: 2, Replicas: []int32{2}, ISR: []int32{2}}}})
	old := pid(c.meta.create("t", 1, nil), 0)
	mustAppend(t, s, old, batch(t, 1, "x"))
	topics := func() []string {
		return slices.Sorted(maps.Keys(measure(t, r, "moldau_storage_append_records_total")))
	}
	if got := topics(); !slices.Equal(got, []string{"t"}) {
		t.Fatalf("series of %v", got)
	}
	again := pid(topicid.New(), 0)
	c.meta.change(func(v *metadataclient.View) { // at once: in between the series may go
		next := *v.Topics["t"]
		next.ID = again.Topic
		delete(v.TopicsByID, old.Topic)
		v.Deleted[old.Topic] = "t"
		v.Topics["t"], v.TopicsByID[next.ID] = &next, &next
	})
	s.reconcile()
	mustAppend(t, s, again, batch(t, 1, "x"))
	if got := measure(t, r, "moldau_storage_append_records_total"); got["t"] != 2 {
		t.Errorf("counted %v after the topic was created anew", got)
	}
	c.meta.remove("t", true)
	s.reconcile()
	if got := topics(); len(got) != 0 {
		t.Errorf("deleted topics have series: %v", got)
	}
	if got := measure(t, r, "moldau_storage_log_end_offset"); len(got) != 0 {
		t.Errorf("deleted partitions have series: %v", got)
	}
}
