package history

import (
	"maps"
	"slices"
)

// components returns the strongly connected parts of a graph of n nodes
// (Tarjan), without recursion: histories are long.
func components(n int, edges map[int]map[int]bool) [][]int {
	g := tarjan{
		index: make([]int, n), low: make([]int, n), on: make([]bool, n), edges: make([][]int, n),
	}
	for from, to := range edges {
		g.edges[from] = slices.Sorted(maps.Keys(to))
	}
	for node := range n {
		if g.index[node] == 0 {
			g.visit(node)
		}
	}
	return g.parts
}

type tarjan struct {
	edges [][]int
	index []int // 1 + order of discovery; 0 is not visited
	low   []int
	on    []bool
	stack []int
	next  int
	parts [][]int
}

type visit struct{ node, edge int }

func (g *tarjan) visit(root int) {
	work := []visit{{node: root}}
	g.enter(root)
	for len(work) > 0 {
		top := &work[len(work)-1]
		if top.edge < len(g.edges[top.node]) {
			to := g.edges[top.node][top.edge]
			top.edge++
			switch {
			case g.index[to] == 0:
				g.enter(to)
				work = append(work, visit{node: to})
			case g.on[to]:
				g.low[top.node] = min(g.low[top.node], g.index[to])
			}
			continue
		}
		node := top.node
		work = work[:len(work)-1]
		if len(work) > 0 {
			parent := work[len(work)-1].node
			g.low[parent] = min(g.low[parent], g.low[node])
		}
		if g.low[node] == g.index[node] {
			g.leave(node)
		}
	}
}

func (g *tarjan) enter(node int) {
	g.next++
	g.index[node], g.low[node], g.on[node] = g.next, g.next, true
	g.stack = append(g.stack, node)
}

func (g *tarjan) leave(root int) {
	at := slices.Index(g.stack, root)
	part := slices.Clone(g.stack[at:])
	g.stack = g.stack[:at]
	for _, node := range part {
		g.on[node] = false
	}
	g.parts = append(g.parts, part)
}
