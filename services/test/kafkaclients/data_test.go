//go:build kafkaclients

package kafkaclients

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// accessLog returns real lines, keyed by their number: those of the file that
// MOLDAU_TEST_DATA names, else of ../shared/data, else made ones.
func accessLog(t *testing.T) []string {
	t.Helper()
	path := os.Getenv("MOLDAU_TEST_DATA")
	if path == "" {
		path = "../../../../shared/data/access.log"
		if _, err := os.Stat(path); err != nil {
			return madeLines(10_000)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	list := split(string(text))
	for i, line := range list {
		list[i] = fmt.Sprintf("%06d\t%s", i, line)
	}
	return list
}

func madeLines(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%06d\t%s down the Vltava ☂ %s", i, strings.Repeat("ž", i%17), strings.Repeat("x", i%397)))
	}
	return list
}

func split(lines string) []string { return strings.Split(strings.TrimSuffix(lines, "\n"), "\n") }

func join(lines []string) string { return strings.Join(lines, "\n") + "\n" }

// by is how records come out that a client wrote.
func by(client string, records []string) []string {
	out := make([]string, len(records))
	for i, r := range records {
		out[i] = "by=" + client + "\t" + r
	}
	return out
}

// requireSame compares what came out, in order, with what must.
func requireSame(t *testing.T, who string, got string, want []string) {
	t.Helper()
	if got == join(want) {
		return
	}
	list := split(got)
	for i := range want {
		if i >= len(list) || list[i] != want[i] {
			t.Errorf("%s: record %d of %d is %.120q, want %.120q; there are %d", who, i, len(want), append(list, "none")[min(i, len(list))], want[i], len(list))
			return
		}
	}
	t.Errorf("%s: %d records, want %d; then comes %.120q", who, len(list), len(want), list[len(want)])
}

// requireSameSet is requireSame where there is no order between records.
func requireSameSet(t *testing.T, who string, got string, want []string) {
	t.Helper()
	requireSame(t, who, join(slices.Sorted(slices.Values(split(got)))), slices.Sorted(slices.Values(want)))
}
