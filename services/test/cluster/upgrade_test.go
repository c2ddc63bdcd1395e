//go:build upgrade

package cluster

import (
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"moldau.dev/services/test/testcluster"
)

// previous is the build that an upgrade starts from: the last one before replicas
// could be moved to quarantine, before open transactions were looked at on
// followers, and before coordinators wrote targets over several steps.
const previous = "5299a5a478ace2da6fa4c3daf169d2ebdc2a7886"

// builds are which build each member runs.
type builds struct {
	old string

	mu  sync.Mutex
	new map[testcluster.Member]bool
}

// build makes the binary of the previous commit, out of the repository's history.
func build(t *testing.T) *builds {
	t.Helper()
	dir := t.TempDir()
	b := &builds{old: filepath.Join(dir, "moldau"), new: map[testcluster.Member]bool{}}
	script := `set -e
mkdir "$1/src" && git archive "$0" | tar -x -C "$1/src"
cd "$1/src" && CGO_ENABLED=0 go build -trimpath -o "$1/moldau" ./services/moldau`
	cmd := exec.CommandContext(testcluster.Context(t), "sh", "-c", script, previous, dir)
	cmd.Dir = "../../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", previous, err, out)
	}
	return b
}

// runs is testcluster.Under's: the old build stands in for the new one.
func (b *builds) runs(m testcluster.Member) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.new[m] {
		return nil
	}
	return []string{"sh", "-c", `shift; exec "$0" "$@"`, b.old}
}

// upgrade has a member run the new build from its next start on.
func (b *builds) upgrade(m testcluster.Member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.new[m] = true
}

// TestRollingUpgrade: a cluster of the previous build becomes one of this build,
// process by process, from the lowest service up, under producers. What they were
// told is true, and the data of the previous build is read by this one.
func TestRollingUpgrade(t *testing.T) {
	b := build(t)
	c := start(t, "river", testcluster.Under(b.runs))
	w := write(t, c, "river")
	w.flows(t)
	for _, role := range []string{"metadata", "storage-node", "coordinator", "gateway"} {
		for _, m := range c.Members(role) {
			b.upgrade(m)
			c.Member(t, m).Stop(t)
			c.StartMember(t, m)
			if role == "storage-node" {
				awaitPartition(t, c, "river", "in sync on all", allInSync)
			}
			w.flows(t)
			t.Logf("%s runs the new build; %d records, %d sends had to be sent again", m.Name(), w.acked.Load(), w.failed.Load())
		}
	}
	w.verify(t, c)
	c.Stop(t)
}
