package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// says runs a verb that must succeed and returns what it says on both streams.
func says(t *testing.T, args ...string) (string, string) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitOK {
		t.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), code, errs.String())
	}
	return out.String(), errs.String()
}

// TestNodesAreEmptied moves a topic to two of three nodes by hand, and empties
// the third.
func TestNodesAreEmptied(t *testing.T) {
	up := startUp(t, "--nodes", "3")
	do := func(args ...string) (string, string) { return says(t, append(args, "--addr", up.grpc)...) }
	holds := func(node string, replicas string) {
		t.Helper()
		if out, _ := do("node", "describe", node, "-o", "json"); !regexp.MustCompile(`"replicaCount": ` + replicas + `\b`).MatchString(out) {
			t.Fatalf("node %s does not hold %s replicas: %s", node, replicas, out)
		}
	}
	do("topic", "create", "river", "--partitions", "6", "--replication-factor", "2")
	if out, _ := do("cluster", "reassign", "river", "--to", "1,2"); out != "moved 6 partitions of topic river to nodes 1,2\n" {
		t.Errorf("reassign said %q", out)
	}
	if out, _ := do("topic", "describe", "river"); strings.Count(out, "\t1,2\t") != 3 || strings.Count(out, "\t2,1\t") != 3 {
		t.Errorf("the topic is at %s", out)
	}
	do("cluster", "elect", "river")
	do("topic", "create", "brook", "--partitions", "6", "--replication-factor", "2")
	holds("3", `[1-9]\d*`)
	out, progress := do("node", "drain", "3")
	if out != "drained node 3: it holds no replica\n" || !strings.Contains(progress, " replicas moved") {
		t.Errorf("drain said %q and %q", out, progress)
	}
	holds("3", "0")
	if out, _ := do("node", "list"); !strings.Contains(out, "3\tlive,evacuating\t0\t0\t0\n") {
		t.Errorf("the list is %q", out)
	}
	if out, _ := do("node", "undrain", "3"); out != "undrained node 3: it holds 0 replicas\n" {
		t.Errorf("undrain said %q", out)
	}
}
