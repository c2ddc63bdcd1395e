package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"moldau.dev/metadata/store"
)

// state is what a store holds: key=value, and "index of key" by name.
type opCase struct {
	name  string
	seed  string // keys that exist, each with its own name as the value
	ops   func(index map[string]int64) []store.Op
	fails error
	want  string // pairs afterwards
}

func set(k, v string) store.Op { return store.Op{Kind: store.Set, Key: k, Value: []byte(v)} }
func cas(k, v string, i int64) store.Op {
	return store.Op{Kind: store.CAS, Key: k, Value: []byte(v), Index: i}
}
func del(k string) store.Op             { return store.Op{Kind: store.Delete, Key: k} }
func delCAS(k string, i int64) store.Op { return store.Op{Kind: store.DeleteCAS, Key: k, Index: i} }
func check(k string, i int64) store.Op  { return store.Op{Kind: store.Check, Key: k, Index: i} }

func ops(list ...store.Op) func(map[string]int64) []store.Op {
	return func(map[string]int64) []store.Op { return list }
}

var opCases = []opCase{
	{"set makes a key", "", ops(set("a", "1")), nil, "a=1"},
	{"set replaces a value", "a", ops(set("a", "1")), nil, "a=1"},
	{"set of the same value is a write", "a", ops(set("a", "a")), nil, "a=a"},
	{"set of nothing keeps the key", "", ops(set("a", "")), nil, "a="},
	{"cas 0 makes a key", "", ops(cas("a", "1", 0)), nil, "a=1"},
	{"cas 0 refuses an old key", "a", ops(cas("a", "1", 0)), store.ErrConflict, "a=a"},
	{"cas at the index writes", "a", func(i map[string]int64) []store.Op { return []store.Op{cas("a", "1", i["a"])} }, nil, "a=1"},
	{"cas at an older index refuses", "a", func(i map[string]int64) []store.Op { return []store.Op{cas("a", "1", i["a"]-1)} }, store.ErrConflict, "a=a"},
	{"cas at a newer index refuses", "a", func(i map[string]int64) []store.Op { return []store.Op{cas("a", "1", i["a"]+1)} }, store.ErrConflict, "a=a"},
	{"cas of a missing key refuses", "", ops(cas("a", "1", 7)), store.ErrConflict, ""},
	{"delete removes", "a b", ops(del("a")), nil, "b=b"},
	{"delete of a missing key is nothing", "b", ops(del("a")), nil, "b=b"},
	{"delete-cas removes", "a", func(i map[string]int64) []store.Op { return []store.Op{delCAS("a", i["a"])} }, nil, ""},
	{"delete-cas refuses another index", "a", func(i map[string]int64) []store.Op { return []store.Op{delCAS("a", i["a"]+1)} }, store.ErrConflict, "a=a"},
	{"delete-cas refuses a missing key", "", ops(delCAS("a", 1)), store.ErrConflict, ""},
	{"check holds", "a", func(i map[string]int64) []store.Op { return []store.Op{check("a", i["a"]), set("b", "1")} }, nil, "a=a b=1"},
	{"check fails", "a", func(i map[string]int64) []store.Op { return []store.Op{check("a", i["a"]+1), set("b", "1")} }, store.ErrConflict, "a=a"},
	{"check of absence holds", "", ops(check("a", 0), set("b", "1")), nil, "b=1"},
	{"check of absence fails", "a", ops(check("a", 0), set("b", "1")), store.ErrConflict, "a=a"},
	{"a late conflict undoes the whole", "a", ops(set("b", "1"), set("c", "1"), cas("a", "1", 0)), store.ErrConflict, "a=a"},
	{"an early conflict undoes the whole", "a", ops(cas("a", "1", 0), del("a"), set("b", "1")), store.ErrConflict, "a=a"},
	{"many kinds in one", "a b", func(i map[string]int64) []store.Op {
		return []store.Op{set("c", "1"), del("a"), cas("b", "2", i["b"]), cas("d", "3", 0)}
	}, nil, "b=2 c=1 d=3"},
	{"no ops", "a", ops(), nil, "a=a"},
	{"as many ops as allowed", "", func(map[string]int64) []store.Op { return many(store.MaxOps, 1)[:store.MaxOps] }, nil, ""},
	{"a delete-cas of a missing key undoes the whole", "a", func(i map[string]int64) []store.Op {
		return []store.Op{set("b", "1"), delCAS("a", i["a"]), delCAS("c", 1)}
	}, store.ErrConflict, "a=a"},
	{"a delete-cas that comes too late undoes the whole", "a b", func(i map[string]int64) []store.Op {
		return []store.Op{delCAS("b", i["b"]), delCAS("a", i["b"])}
	}, store.ErrConflict, "a=a b=b"},
	{"check of a missing key at an index fails", "", ops(check("a", 7), set("b", "1")), store.ErrConflict, ""},
	{"checks alone hold", "a", func(i map[string]int64) []store.Op { return []store.Op{check("a", i["a"]), check("b", 0)} }, nil, "a=a"},
	{"checks alone fail", "a", ops(check("a", 0)), store.ErrConflict, "a=a"},
	{"bytes of all kinds", "", ops(set("a", "\x00\xff\n\"\xc3\x28")), nil, "a=\x00\xff\n\"\xc3\x28"},
	{"keys of all kinds", "", ops(set("a b/c%2f?x=1&y#z", "1"), set("ä/日本", "2")), nil, "a b/c%2f?x=1&y#z=1 ä/日本=2"},
	{"as many bytes as allowed", "", func(map[string]int64) []store.Op { return many(1, store.MaxBytes-len("many/000")) }, nil,
		"many/000=" + strings.Repeat("x", store.MaxBytes-len("many/000"))},
	{"as many delete-cas as allowed", keys(store.MaxOps / 2), deleteAll, nil, ""},
	{"one delete-cas too many", keys(store.MaxOps/2 + 1), deleteAll, store.ErrTooLarge, pairs(store.MaxOps/2 + 1)},
	{"one op too many", "a", func(map[string]int64) []store.Op { return many(store.MaxOps+1, 1) }, store.ErrTooLarge, "a=a"},
	{"too many bytes", "a", func(map[string]int64) []store.Op { return many(2, store.MaxBytes/2) }, store.ErrTooLarge, "a=a"},
}

func keys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%02d ", i)
	}
	return strings.TrimSpace(b.String())
}

func pairs(n int) string {
	var out []string
	for _, key := range strings.Fields(keys(n)) {
		out = append(out, key+"="+key)
	}
	return strings.Join(out, " ")
}

func deleteAll(index map[string]int64) []store.Op {
	var list []store.Op
	for _, key := range slices.Sorted(maps.Keys(index)) {
		list = append(list, delCAS(key, index[key]))
	}
	return list
}

func many(n, size int) []store.Op {
	list := make([]store.Op, n)
	for i := range list {
		list[i] = set(fmt.Sprintf("many/%03d", i), strings.Repeat("x", size))
	}
	return list
}

func runOp(t *testing.T, s store.Store, c opCase) {
	lease := elect(t, s)
	for _, key := range strings.Fields(c.seed) {
		commit(t, s, lease, set(key, key))
	}
	list := c.ops(indexes(t, s))
	index, err := s.Commit(t.Context(), lease.Fence(), list)
	if !errors.Is(err, c.fails) || (err == nil) != (c.fails == nil) {
		t.Fatalf("Commit = %v, want %v", err, c.fails)
	}
	if c.want == "" && err == nil && len(list) == store.MaxOps {
		if n := len(indexes(t, s)); n != store.MaxOps {
			t.Fatalf("%d keys", n)
		}
		return
	}
	if got := dump(t, s, ""); got != c.want {
		t.Errorf("holds %q, want %q", got, c.want)
	}
	for _, op := range list {
		if got := indexes(t, s)[op.Key]; err == nil && (op.Kind == store.Set || op.Kind == store.CAS) && got != index {
			t.Errorf("%s is at %d, but Commit said %d", op.Key, got, index)
		}
	}
}
