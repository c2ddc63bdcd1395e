package simulator

import "maps"

// Minimise runs a seed that breaks an invariant again, with ever fewer faults,
// and returns the last run that still does, with the faults that were left out.
func Minimise(seed uint64) (Result, map[int]bool) {
	without := map[int]bool{}
	last := Run(Options{Seed: seed})
	for again := last.Violation != ""; again; {
		again = false
		for i := range last.Faults {
			if without[i] {
				continue
			}
			fewer := maps.Clone(without)
			fewer[i] = true
			if r := Run(Options{Seed: seed, Without: fewer}); r.Violation != "" {
				last, without, again = r, fewer, true
			}
		}
	}
	return last, without
}
