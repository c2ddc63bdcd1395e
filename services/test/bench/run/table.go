// Package run measures the platform as a user starts it: real processes of the
// one binary, loaded by `moldau bench`, one process against one for each role.
// It stands on testcluster; `make bench-platform` runs it.
//
// Invariant: what is compared was measured in one run, in turns, and is shown
// as medians with the least and the most.
package run

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"moldau.dev/services/moldau/bench"
)

// load is one row of the table.
type load struct {
	verb, via, durability   string
	partitions, connections int
	replicas                int
	small                   bool // batches of 64 KiB, 16 in flight, after 10 s in which each partition gets its first
}

// loads are what is measured, in order.
var loads = []load{
	{"produce", bench.ViaBatches, "relaxed", 1, 1, 1, false},
	{"produce", bench.ViaBatches, "relaxed", 12, 1, 1, false},
	{"produce", bench.ViaBatches, "relaxed", 12, 4, 1, false},
	{"produce", bench.ViaBatches, "durable", 1, 1, 1, false},
	{"produce", bench.ViaBatches, "durable", 12, 1, 1, false},
	{"produce", bench.ViaBatches, "durable", 12, 4, 1, false},
	{"produce", bench.ViaRecords, "relaxed", 1, 1, 1, false},
	{"produce", bench.ViaClient, "relaxed", 1, 1, 1, false},
	{"consume", bench.ViaBatches, "relaxed", 1, 1, 1, false},
	{"consume", bench.ViaBatches, "relaxed", 12, 1, 1, false},
	{"consume", bench.ViaBatches, "relaxed", 12, 4, 1, false},
	{"consume", bench.ViaRecords, "relaxed", 1, 1, 1, false},
	{"latency", bench.ViaRecords, "relaxed", 1, 1, 1, false},
	{"latency", bench.ViaRecords, "relaxed", 12, 1, 1, false},
	{"latency", bench.ViaRecords, "durable", 1, 1, 1, false},
	{"latency", bench.ViaRecords, "durable", 12, 1, 1, false},
}

// spread is a median with its bounds.
type spread struct{ middle, least, most float64 }

func spreadOf(values []float64) spread {
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	if n == 0 {
		return spread{}
	}
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

// String shows three digits.
func (s spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", digits(s.middle), digits(s.least), digits(s.most))
}

func digits(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// over returns the spread of one figure over reports.
func over(reports []*bench.Report, figure func(*bench.Report) float64) spread {
	var values []float64
	for _, r := range reports {
		values = append(values, figure(r))
	}
	return spreadOf(values)
}

// table is Markdown.
type table struct{ b strings.Builder }

func newTable(header ...string) *table {
	t := &table{}
	t.row(header...)
	t.row(slices.Repeat([]string{"---"}, len(header))...)
	return t
}

func (t *table) row(cells ...string) {
	t.b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// results are reports by side and load.
type results map[string]map[load][]*bench.Report

func (r results) add(side string, l load, report *bench.Report) {
	if r[side] == nil {
		r[side] = map[load][]*bench.Report{}
	}
	r[side][l] = append(r[side][l], report)
}

// throughput is the table of produce and consume.
func (r results) throughput(loads []load, sides []string) string {
	t := newTable("load", "partitions", "connections", "processes", "MB/s", "of the slowest part", "servers' CPU-s/GB", "client's", "× CPU of the parts", "ack p50 / p99 ms", "resident MiB")
	for _, l := range loads {
		for _, side := range sides {
			reports := r[side][l]
			if l.verb == "latency" || len(reports) == 0 {
				continue
			}
			ack := "–"
			if l.verb == "produce" && !slices.ContainsFunc(reports, func(r *bench.Report) bool { return r.Ack == nil }) { // nothing was acknowledged
				ack = digits(over(reports, func(r *bench.Report) float64 { return r.Ack.P50 }).middle) + " / " +
					digits(over(reports, func(r *bench.Report) float64 { return r.Ack.P99 }).middle)
			}
			t.row(l.String(), strconv.Itoa(l.partitions), strconv.Itoa(l.connections), side,
				over(reports, func(r *bench.Report) float64 { return r.MBPerSec }).String(),
				over(reports, func(r *bench.Report) float64 { return r.Against.MBPerSec }).String(),
				over(reports, func(r *bench.Report) float64 { return r.Servers.CPUPerGB }).String(),
				digits(over(reports, func(r *bench.Report) float64 { return r.Client.CPUPerGB }).middle),
				digits(over(reports, func(r *bench.Report) float64 { return r.Against.CPUPerGB }).middle),
				ack, mib(over(reports, func(r *bench.Report) float64 { return float64(r.Servers.ResidentBytes) })))
		}
	}
	return t.b.String()
}

// String names what a row did.
func (l load) String() string {
	if l.verb == "consume" {
		return "consume " + l.via
	}
	via := l.via
	if l.small {
		via += " of 64 KiB"
	}
	return l.verb + " " + via + ", " + l.durability
}

func mib(s spread) string { return digits(s.middle / (1 << 20)) }

// latency is the table of the fixed schedule.
func (r results) latency(loads []load, sides []string) string {
	t := newTable("durability", "partitions", "processes", "ack p50", "p90", "p99", "p99.9", "max", "end to end p50", "p99", "loader late p50 / p99")
	for _, l := range loads {
		for _, side := range sides {
			reports := r[side][l]
			if l.verb != "latency" || len(reports) == 0 {
				continue
			}
			of := func(figure func(*bench.Report) float64) string { return over(reports, figure).String() }
			t.row(l.durability, strconv.Itoa(l.partitions), side,
				of(func(r *bench.Report) float64 { return r.Ack.P50 }), of(func(r *bench.Report) float64 { return r.Ack.P90 }),
				of(func(r *bench.Report) float64 { return r.Ack.P99 }), of(func(r *bench.Report) float64 { return r.Ack.P999 }),
				of(func(r *bench.Report) float64 { return r.Ack.Max }), of(func(r *bench.Report) float64 { return r.EndToEnd.P50 }),
				of(func(r *bench.Report) float64 { return r.EndToEnd.P99 }),
				digits(over(reports, func(r *bench.Report) float64 { return r.Lateness.P50 }).middle)+" / "+
					digits(over(reports, func(r *bench.Report) float64 { return r.Lateness.P99 }).middle))
		}
	}
	return t.b.String()
}

// ceilings is the table of the parts, a list for each round.
func ceilings(rounds [][]bench.Ceiling) string {
	t := newTable("part", "MB/s", "CPU-s/GB")
	if len(rounds) == 0 {
		return t.b.String()
	}
	for i, c := range rounds[0] {
		var rates, costs []float64
		for _, round := range rounds {
			rates, costs = append(rates, round[i].MBPerSec), append(costs, round[i].CPUPerGB)
		}
		t.row(c.Name, spreadOf(rates).String(), spreadOf(costs).String())
	}
	return t.b.String()
}
