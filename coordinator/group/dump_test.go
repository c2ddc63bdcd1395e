package group

import (
	"fmt"
	"slices"
	"strings"

	"moldau.dev/coordinator/journal"
	"moldau.dev/coordinator/shard"
)

// dump is all that must survive a crash, as text. Of a classic group that is
// what was stable or empty last, so it is only compared in those states.
func dump(m *Machine) string {
	var b strings.Builder
	for _, id := range sortedKeys(m.groups) {
		switch g := m.groups[id].(type) {
		case *classicGroup:
			if g.written && (g.now == stable || g.now == empty) {
				fmt.Fprintf(&b, "classic %s %s %s/%s %d %s %d\n", id, g.now, g.protocolType, g.protocolName, g.generation, g.leader, g.sinceMs)
				for _, x := range g.inOrder() {
					fmt.Fprintf(&b, "  %s %s %d %d %q %v\n", x.id, x.instance, x.sessionMs, x.rebalanceMs, x.assignment, x.protocols)
				}
			}
		case *consumerGroup:
			fmt.Fprintf(&b, "consumer %s %d %d %x\n", id, g.epoch, g.assigned, g.topicsHash)
			for _, x := range g.inOrder() {
				plain := x.told
				plain.classic = nil // a pointer
				fmt.Fprintf(&b, "  %s %+v %v %+v %v\n", x.id, plain, x.classic, x.current, x.target)
			}
			for _, p := range slices.SortedFunc(mapKeys(g.owners), comparePartitions) {
				fmt.Fprintf(&b, "  %v of %s\n", p, g.owners[p])
			}
		}
	}
	for _, id := range sortedKeys(m.offsets.groups) {
		for _, o := range m.offsets.of(id) {
			fmt.Fprintf(&b, "offset %v %+v\n", o, *m.offsets.get(o))
		}
		fmt.Fprintf(&b, "  %d %d\n", m.offsets.groups[id].count, m.offsets.groups[id].bytes)
	}
	for _, pid := range sortedKeys(m.offsets.pending) {
		for _, o := range sortedOffsets(m.offsets.pending[pid]) {
			p := m.offsets.pending[pid][o]
			fmt.Fprintf(&b, "pending %d %v %d %+v\n", pid, o, p.epoch, *p.offset)
		}
	}
	fmt.Fprintf(&b, "held %v open %v waiting %v\n", m.offsets.held, m.offsets.open, m.offsets.waiting)
	return b.String()
}

// compacted is a journal with the newest record of each key, and without those
// deletions that the caller says are old enough to go.
func compacted(records []journal.Record, dropDeletions func(i int) bool) (out []journal.Record) {
	newest := map[string]int{}
	for i, r := range records {
		newest[string(r.Key)] = i
	}
	for i, r := range records {
		if newest[string(r.Key)] == i && (r.Value != nil || !dropDeletions(i)) {
			out = append(out, r)
		}
	}
	return out
}

// checkReplay says where a replay of the journal, compacted up to some record or
// not, gives another state than the machine has. Midst tells that a classic
// group is in the middle of a rebalance, which replay does not know of.
func checkReplay(t failer, s *script, upTo int) {
	for _, records := range [][]journal.Record{
		s.journal,
		append(compacted(s.journal[:upTo], func(int) bool { return true }), s.journal[upTo:]...),
		append(compacted(s.journal[:upTo], func(i int) bool { return i%2 == 0 }), s.journal[upTo:]...),
	} {
		m := New(DefaultConfig())
		for _, r := range records {
			if err := m.Replay(r); err != nil {
				t.Fatal(err)
			}
		}
		m.Step(s.now, shard.Loaded{View: s.view})
		for id, g := range s.m.groups {
			if c, ok := g.(*classicGroup); ok && c.now != stable && c.now != empty {
				delete(m.groups, id) // it is in the middle of a rebalance
			}
		}
		if got, want := dump(m), dump(s.m); got != want {
			t.Fatalf("replay of %d records gives\n%s\nbut the state is\n%s", len(records), got, want)
		}
	}
}
