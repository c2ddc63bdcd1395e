package bench

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewaytest"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
)

// door opens a gateway over a cluster in memory.
func door(t *testing.T) (addr string, meta *gatewaytest.Metadata) {
	t.Helper()
	meta = gatewaytest.NewMetadata()
	cfg := gateway.DefaultConfig()
	cfg.GRPCListen, cfg.HTTPListen, cfg.KafkaListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	s, err := gateway.NewService(cfg, gateway.Deps{Metadata: meta, Nodes: gatewaytest.NewNodes(gatewaytest.NewStorage(clock.Real()))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s.GRPCAddr(), meta
}

func small(addr string) Config {
	return Config{
		Addr: addr, Partitions: 3, Durability: "relaxed", RecordBytes: 100, BatchBytes: 1000, InFlight: 4, Connections: 2,
		Bytes: 100_000, Acks: moldauv1.Acks_ACKS_ALL, Via: ViaBatches, Fill: 50_000,
	}
}

// TestEveryWayCountsWhatWasAskedFor runs each verb each way on a topic of its
// own, and finds no topic left.
func TestEveryWayCountsWhatWasAskedFor(t *testing.T) {
	addr, meta := door(t)
	verbs := map[string]func(context.Context, Config) (*Report, error){"produce": Produce, "consume": Consume, "latency": Latency}
	for name, verb := range verbs {
		for _, via := range []string{ViaBatches, ViaRecords, ViaClient} {
			cfg := small(addr)
			cfg.Via = via
			if name == "latency" {
				cfg.Rate = 20_000
			}
			report, err := verb(t.Context(), cfg)
			if err != nil {
				t.Errorf("%s via %s: %v", name, via, err)
				continue
			}
			if report.Records < cfg.Bytes/int64(cfg.RecordBytes) || report.MBPerSec <= 0 || len(report.Rows()) == 0 {
				t.Errorf("%s via %s: %d records, %v MB/s", name, via, report.Records, report.MBPerSec)
			}
			if name == "latency" && (report.EndToEnd == nil || report.EndToEnd.Count != report.Records || report.Lateness == nil) {
				t.Errorf("via %s: end to end %v, lateness %v of %d records", via, report.EndToEnd, report.Lateness, report.Records)
			}
		}
	}
	if left := len(meta.View().Topics); left > 0 {
		t.Errorf("%d topics are left", left)
	}
}

func TestTheFirstErrorEndsTheRun(t *testing.T) {
	addr, meta := door(t)
	cfg := small(addr)
	cfg.Topic = "nowhere"
	if _, err := Produce(t.Context(), cfg); err == nil {
		t.Error("a topic that is none should be an error")
	}
	cfg = small(addr)
	cfg.BatchBytes = 12 << 20 // more than storage takes
	cfg.RecordBytes, cfg.Via, cfg.Acks = 12<<20, ViaRecords, moldauv1.Acks(99)
	if report, err := Produce(t.Context(), cfg); err == nil {
		t.Errorf("requests that are refused were counted: %d records", report.Records)
	}
	if left := len(meta.View().Topics); left > 0 {
		t.Errorf("%d topics are left", left)
	}
}

// TestSendsAreSpreadAndDoNotDrift: connections take turns, and the ten
// millionth send is due when it should be.
func TestSendsAreSpreadAndDoNotDrift(t *testing.T) {
	begin := time.Unix(0, 0)
	const rate, connections = 3000, 4
	var due []time.Duration
	for c := range connections {
		s := newSchedule(begin, rate, c, connections)
		for n := range int64(3) {
			due = append(due, s.due(n).Sub(begin))
		}
		if at, want := s.due(10_000_000*rate/connections).Sub(s.due(0)), 10_000_000*time.Second; (at - want).Abs() > time.Microsecond {
			t.Errorf("connection %d is off by %v after %v", c, at-want, want)
		}
	}
	slices.Sort(due)
	for i, d := range due {
		if want := time.Duration(i) * time.Second / rate; (d - want).Abs() > time.Microsecond {
			t.Errorf("send %d is due at %v, want %v", i, d, want)
		}
	}
}

// TestLatencyCountsFromWhenASendWasDue: a server that stops for a second makes
// everything late that was due meanwhile, though it was sent afterwards.
func TestLatencyCountsFromWhenASendWasDue(t *testing.T) {
	begin := time.Unix(100, 0)
	m := newMeter(begin, time.Second, false)
	s := newSchedule(begin, 1000, 0, 1)
	answered := begin.Add(time.Second - 1)
	for n := range int64(1000) {
		m.sent(s.due(n), answered)
		m.arrived(s.due(n), answered, 1, 10)
	}
	for _, l := range []*Quantiles{m.latency.sum(), m.lateness.sum()} {
		if l.Count != 1000 || !near(l.P50, 500) || !near(l.P90, 900) || !near(l.P99, 990) || !near(l.Max, 1000) {
			t.Errorf("%+v", l)
		}
	}
	if records, bytes, took := m.total(); records != 1000 || bytes != 10_000 || took != time.Second {
		t.Errorf("%d records, %d bytes, %v", records, bytes, took)
	}
}

func near(got, want float64) bool { return got > 0.99*want && got < 1.01*want }

func TestOnlyTheWindowCounts(t *testing.T) {
	from := time.Unix(100, 0)
	m := newMeter(from, time.Second, false)
	at := func(ms int) time.Time { return from.Add(time.Duration(ms) * time.Millisecond) }
	m.arrived(at(-20), at(-10), 1, 1)   // in the warm-up
	m.arrived(at(-20), at(10), 1, 1)    // due in the warm-up: counts, without a latency
	m.arrived(at(20), at(30), 1, 1)     // within
	m.arrived(at(990), at(1010), 1, 1)  // too late to count, but its latency does
	m.arrived(at(1000), at(1010), 1, 1) // after
	m.reached(at(1000), at(1001))
	m.reached(at(999), at(1001))
	if records, _, _ := m.total(); records != 2 || m.latency.sum().Count != 2 || m.endToEnd.sum().Count != 1 || m.lateness.sum() != nil {
		t.Errorf("%d records, %+v, %+v", records, m.latency.sum(), m.endToEnd.sum())
	}
}

func TestAWindowOfBytesEndsWithItsLastAnswer(t *testing.T) {
	from := time.Unix(100, 0)
	m := newMeter(from, time.Minute, true)
	m.arrived(from, from.Add(2*time.Second), 1, 5)
	m.arrived(from, from.Add(time.Second), 1, 5) // answers of two connections overtake each other
	if _, bytes, took := m.total(); bytes != 10 || took != 2*time.Second {
		t.Errorf("%d bytes in %v", bytes, took)
	}
}

func TestHistogramTakesWhatIsOutOfBounds(t *testing.T) {
	h := newHistogram()
	if h.sum() != nil {
		t.Error("nothing was recorded")
	}
	h.record(-time.Second)
	h.record(24 * time.Hour)
	if l := h.sum(); l.Count != 2 || l.P50 > 0.001 || !near(l.Max, float64(longestLatency.Milliseconds())) {
		t.Errorf("%+v", l)
	}
}

func TestPartitionsAreShared(t *testing.T) {
	for _, c := range []struct {
		partitions       int32
		connection, many int
		want             []int32
	}{{4, 0, 1, []int32{0, 1, 2, 3}}, {5, 1, 2, []int32{1, 3}}, {1, 3, 4, []int32{0}}, {2, 3, 4, []int32{1}}} {
		if got := share(c.partitions, c.connection, c.many); !slices.Equal(got, c.want) {
			t.Errorf("connection %d of %d: %v, want %v", c.connection, c.many, got, c.want)
		}
	}
}

func TestServersTellWhatTheyUsed(t *testing.T) {
	s, err := parseSpent(strings.NewReader("# HELP x y\nprocess_cpu_seconds_total 1.25\ngo_goroutines 7\nprocess_resident_memory_bytes 3.2e+07\n"))
	if err != nil || s.cpu != 1.25 || s.resident != 32_000_000 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"", "process_cpu_seconds_total 1\n", "process_cpu_seconds_total x\nprocess_resident_memory_bytes 1\n"} {
		if _, err := parseSpent(strings.NewReader(text)); err == nil {
			t.Errorf("%q should be refused", text)
		}
	}
}

func TestCeilingsAreMediansAndTheSlowestPartIsTheMeasure(t *testing.T) {
	report := &Report{Verb: "produce", Load: Load{Durability: "durable", BatchBytes: 1 << 20}, MBPerSec: 100, Client: Usage{CPUPerGB: 1}, Servers: &Usage{CPUPerGB: 2}}
	list := []Ceiling{
		sum(ceilingGRPC, []sample{{900, 0.5}, {1000, 0.4}, {5000, 9}}),
		sum(ceilingWriteLarge, []sample{{50, 7}}), // not a part of a durable produce
		sum(ceilingSyncLarge, []sample{{150, 0.9}, {250, 1.1}}),
	}
	for _, c := range []struct {
		hops, replicas int
		times          float64
	}{{1, 0, 3 / 1.5}, {2, 1, 3 / 2.0}, {1, 3, 3 / 4.5}} {
		report.Compare(list, c.hops, c.replicas)
		if a := report.Against; a.Slowest != ceilingSyncLarge || a.MBPerSec != 0.5 || !near(a.CPUPerGB, c.times) {
			t.Errorf("%+v: %+v", c, a)
		}
	}
	if c := report.Parts[0]; c.MBPerSec != 1000 || c.Least != 900 || c.Most != 5000 || c.Passes != 3 {
		t.Errorf("%+v", c)
	}
}

func TestPathsOfEachLoadAreMeasured(t *testing.T) {
	for _, verb := range []string{"produce", "latency", "consume"} {
		for _, durability := range []string{"durable", "relaxed"} {
			for _, size := range []int{1 << 10, 1 << 20} {
				for _, part := range path(verb, Load{Durability: durability, BatchBytes: size}) {
					if !slices.Contains(parts, part) {
						t.Errorf("%s, %s, %d bytes: nobody measures %q", verb, durability, size, part)
					}
				}
			}
		}
	}
}

// TestCeilingsRun looks at what bare parts do only as far as that they do it.
func TestCeilingsRun(t *testing.T) {
	cfg := small("")
	cfg.Ceilings, cfg.Dir = true, t.TempDir()
	grpc, err := newRawStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	file, err := newRawFile(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() (int, error){grpc.step, file.reader(), file.writer(smallWrite, true)} {
		for range 10 {
			if n, err := step(); err != nil || n == 0 {
				t.Fatalf("%d bytes, %v", n, err)
			}
		}
	}
	if err := grpc.close(); err != nil {
		t.Error(err)
	}
	if err := file.close(); err != nil {
		t.Error(err)
	}
}

func TestConfigsThatCannotRunAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no end": func(c *Config) { c.Bytes = 0 }, "no partition": func(c *Config) { c.Partitions = 0 },
		"no room for a stamp": func(c *Config) { c.RecordBytes = 7 }, "no window": func(c *Config) { c.InFlight = 0 },
		"no way": func(c *Config) { c.Via = "pigeon" }, "no durability": func(c *Config) { c.Durability = "often" },
		"a batch too large": func(c *Config) { c.BatchBytes = 17 << 20 }, "a negative rate": func(c *Config) { c.Rate = -1 },
		"no way of the records": func(c *Config) { c.Ceilings = true },
		"no connection":         func(c *Config) { c.Connections = 0 },
	} {
		cfg := small("")
		spoil(&cfg)
		if cfg.Validate() == nil {
			t.Errorf("%s should be refused", name)
		}
	}
}
