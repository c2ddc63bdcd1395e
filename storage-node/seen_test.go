package storagenode

import (
	"strings"
	"testing"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/storage-node/vfs"
)

// TestNodeRemembersHowFarMetadataCame (C11), also where metadata shows nothing
// at the next start.
func TestNodeRemembersHowFarMetadataCame(t *testing.T) {
	c := newCluster(t, vfs.NewMemory())
	c.start()
	c.meta.change(func(v *metadataclient.View) { v.Generation, v.Revision, v.TermID = 2, 77, "term" })
	c.stop()
	c.meta.change(func(v *metadataclient.View) { v.Revision = 0 })
	c.start()
	seen := c.meta.asked[len(c.meta.asked)-1].GetSeen()
	if seen.GetRevision() != 77 || seen.GetGeneration() != 2 || seen.GetTermId() != "term" || seen.GetClusterId() != "cluster" {
		t.Errorf("registered with %v", seen)
	}
}

// TestPositionIsWrittenDownWhileTheNodeRuns: a crash forgets seconds of it.
func TestPositionIsWrittenDownWhileTheNodeRuns(t *testing.T) {
	c := newCluster(t, vfs.NewMemory())
	c.start()
	c.meta.change(func(v *metadataclient.View) { v.Revision = 77 })
	if err := c.node.writeSeen(); err != nil {
		t.Fatal(err)
	}
	c.kill()
	c.meta.change(func(v *metadataclient.View) { v.Revision = 0 })
	c.start()
	if seen := c.meta.asked[len(c.meta.asked)-1].GetSeen(); seen.GetRevision() != 77 {
		t.Errorf("registered with %v", seen)
	}
}

func TestDamagedPositionIsNotTakenForNone(t *testing.T) {
	c := newCluster(t, vfs.NewMemory())
	c.start()
	c.stop()
	if err := writeFile(c.fs, "/data/"+seenFile, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := c.newNode().Start(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}
