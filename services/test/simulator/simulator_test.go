package simulator

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"moldau.dev/services/test/campaign"
)

// The variables that make a short test a campaign.
const (
	seedsVar = "MOLDAU_SIM_SEEDS" // how many
	firstVar = "MOLDAU_SIM_FIRST" // the first one
	traceVar = "MOLDAU_SIM_TRACE" // a file that is told every event of the first seed that fails
)

// TestSeedsKeepEveryInvariant runs seeds, one in ten of them twice, until one
// breaks an invariant.
func TestSeedsKeepEveryInvariant(t *testing.T) {
	first, count := campaign.Number(t, firstVar, 1), campaign.Number(t, seedsVar, 20)
	total := Entry{Run: campaign.Begin("simulator"), First: first, Faults: map[string]int{}}
	var next atomic.Uint64
	var mu sync.Mutex
	var workers sync.WaitGroup
	var failed atomic.Bool
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < count && !failed.Load(); i = next.Add(1) - 1 {
				r := Run(Options{Seed: first + i})
				if r.Seed%10 == 0 && r.Violation == "" {
					if again := Run(Options{Seed: r.Seed}); again.Hash != r.Hash {
						r.Violation = fmt.Sprintf("a second run of the seed is another: %x, %x", r.Hash, again.Hash)
					}
				}
				mu.Lock()
				total.add(&r)
				mu.Unlock()
				if r.Violation != "" && !failed.Swap(true) {
					report(t, r.Seed)
				}
			}
		})
	}
	workers.Wait()
	campaign.Note(t, total)
}

// report tells of a seed that fails, with as few faults as it needs.
func report(t *testing.T, seed uint64) {
	least, without := Minimise(seed)
	kept := []string{}
	for i, f := range least.Faults {
		if !without[i] {
			kept = append(kept, f)
		}
	}
	t.Errorf("violation with seed %d: %s\nfaults that it needs:\n  %s", seed, least.Violation, strings.Join(kept, "\n  "))
	if file := os.Getenv(traceVar); file != "" {
		f, err := os.Create(file)
		if err != nil {
			t.Error(err)
			return
		}
		Run(Options{Seed: seed, Without: without, Trace: f})
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSeedsDiffer(t *testing.T) {
	a, b := Run(Options{Seed: 1}), Run(Options{Seed: 2})
	if a.Hash == b.Hash || a.Acked == 0 || b.Acked == 0 {
		t.Fatalf("seeds 1 and 2 give %+v and %+v", a, b)
	}
}
