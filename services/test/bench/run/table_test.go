package run

import (
	"strings"
	"testing"

	"moldau.dev/services/moldau/bench"
)

func TestSpreadIsAMedianWithItsBounds(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   string
	}{
		{nil, "0 (0–0)"}, {[]float64{7}, "7.00 (7.00–7.00)"}, {[]float64{3, 1, 2000}, "3.00 (1.00–2000)"}, {[]float64{4, 10, 2, 20}, "7.00 (2.00–20.0)"},
	} {
		if got := spreadOf(c.values).String(); got != c.want {
			t.Errorf("%v: %s, want %s", c.values, got, c.want)
		}
	}
}

// TestTablesHoldARowForEachSideOfEachLoad: what was measured is shown, and what
// was not is not.
func TestTablesHoldARowForEachSideOfEachLoad(t *testing.T) {
	all := results{}
	for _, l := range loads {
		for i, side := range []string{"one", "three"} {
			q := &bench.Quantiles{P50: 1}
			all.add(side, l, &bench.Report{
				MBPerSec: float64(100 * (i + 1)), Ack: q, EndToEnd: q, Lateness: q, Servers: &bench.Usage{ResidentBytes: 32 << 20}, Against: &bench.Against{MBPerSec: 0.5},
			})
		}
	}
	text := all.throughput(loads, []string{"one", "three"}) + all.latency(loads, []string{"one", "three"})
	if rows := strings.Count(text, "\n"); rows != 2*len(loads)+4 {
		t.Errorf("%d lines for %d loads:\n%s", rows, len(loads), text)
	}
	if want := "| produce batches, durable | 12 | 4 | three | 200 (200–200) | 0.50 (0.50–0.50) |"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	if got := (results{}).throughput(loads, []string{"one"}); strings.Count(got, "\n") != 2 {
		t.Errorf("nothing was measured, and yet:\n%s", got)
	}
}

func TestPartsAreSummedUpOverRounds(t *testing.T) {
	text := ceilings([][]bench.Ceiling{{{Name: "a", MBPerSec: 100, CPUPerGB: 1}}, {{Name: "a", MBPerSec: 300, CPUPerGB: 2}}})
	if want := "| a | 200 (100–300) | 1.50 (1.00–2.00) |\n"; !strings.HasSuffix(text, want) {
		t.Errorf("%s", text)
	}
}
