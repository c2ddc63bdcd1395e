//go:build consul

package takeover

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// TestRestoredConsulIsRefused (C11): Consul is set back to a snapshot under a
// running cluster, and then under metadata processes that were all started anew
// and so know nothing themselves. Neither decides anything, nothing is deleted,
// and records flow on, until an operator accepts the loss.
func TestRestoredConsulIsRefused(t *testing.T) {
	r := start(t)
	r.decide(t)
	leads := r.active(t)
	snapshot := r.consul.Snapshot(t)
	r.decide(t) // lost
	before := partitionFolders(t, r.DataDir())

	r.consul.Restore(t, snapshot)
	r.Member(t, leads).SawLog(t, "metadata was set back")
	r.refuses(t)
	r.flows(t)

	for id := range instances {
		r.Member(t, member(id+1)).Kill()
	}
	for id := range instances {
		r.StartMember(t, member(id+1))
	}
	r.refuses(t)
	r.flows(t)
	r.readsAll(t)
	if after := partitionFolders(t, r.DataDir()); after != before {
		t.Errorf("folders of partitions before:\n%s\nafter:\n%s", before, after)
	}

	accepted := testcluster.Command(t, []string{"MOLDAU_METADATA_STORE=consul", "MOLDAU_CONSUL_ADDRESS=" + r.consul.Addr()}, nil,
		"metadata", "accept-restore", "--yes")
	if accepted.Code != 0 || !strings.Contains(string(accepted.Stdout), "generation 2") {
		t.Fatalf("accept-restore: %s%s", accepted.Stdout, accepted.Stderr)
	}
	r.topics += 10 // names that nobody has used
	r.decide(t)
	r.flows(t)
	r.readsAll(t)
	if after := partitionFolders(t, r.DataDir()); !strings.Contains(after, before) {
		t.Errorf("folders of partitions before:\n%s\nafter the loss was accepted:\n%s", before, after)
	}
}

// refuses waits until a change is refused because metadata was set back.
func (r *rig) refuses(t *testing.T) {
	t.Helper()
	for testcluster.Context(t).Err() == nil {
		_, err := r.Topics(t).CreateTopic(t.Context(), &pb.CreateTopicRequest{Name: "refused", PartitionCount: 1})
		switch {
		case err == nil:
			t.Fatal("metadata that was set back decides")
		case strings.Contains(err.Error(), "set back"):
			return
		}
	}
	t.Fatal("it is not refused")
}

// partitionFolders lists the folders of all partitions, one a line.
func partitionFolders(t *testing.T, dir string) string {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(dir, "storage-node-*", "partitions", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range folders {
		if info, err := os.Stat(f); err == nil && info.IsDir() {
			b.WriteString(filepath.Base(f) + "\n")
		}
	}
	return b.String()
}
