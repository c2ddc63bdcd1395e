//go:build power

package cluster

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/campaign"
	"moldau.dev/services/test/power"
	"moldau.dev/services/test/testcluster"
)

// The variables that make a short test a campaign.
const (
	cutsVar = "MOLDAU_POWER_CUTS" // how many; 20
	seedVar = "MOLDAU_POWER_SEED" // of which nodes, and of what their disks keep; 1
)

// powerCuts is a line of the ledger. A campaign that loses a record has none: it
// fails.
type powerCuts struct {
	campaign.Run
	Seed   uint64         `json:"seed"`
	Faults map[string]int `json:"faults"`
	Acked  int64          `json:"acked"`
}

// machines are the disks of storage nodes, and which boot of each is running.
type machines struct {
	disks map[int]*power.Disk
	boots map[int]string // files
}

func newMachines(t *testing.T) *machines {
	m := &machines{disks: map[int]*power.Disk{}, boots: map[int]string{}}
	for id := 1; id <= nodes; id++ {
		m.disks[id], m.boots[id] = power.NewDisk(t), filepath.Join(t.TempDir(), "boot_id")
		m.boot(t, id)
	}
	return m
}

// boot gives a machine's kernel a new id, by which a node tells whether its page
// cache has outlived the process before it (rule N3).
func (m *machines) boot(t *testing.T, id int) {
	t.Helper()
	if err := os.WriteFile(m.boots[id], []byte(uuid.NewString()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ownMachine gives a process a boot id and a disk of its own. Of the others' disks
// it keeps none mounted, as a disk whose power is cut goes away when nobody has it.
const ownMachine = `boot=$0 disk=$1; shift
mount --bind "$boot" /proc/sys/kernel/random/boot_id || exit 1
grep '^power ' /proc/mounts | while read -r _ other _; do [ "$other" = "$disk" ] || umount -l "$other"; done
exec "$@"`

// options put the storage nodes on their machines.
func (m *machines) options() []testcluster.Option {
	return []testcluster.Option{
		testcluster.WithMemberEnv(func(x testcluster.Member) []string {
			if x.Role != "storage-node" {
				return nil
			}
			return []string{"MOLDAU_DATA_DIR=" + m.disks[x.ID].Dir()}
		}),
		testcluster.Under(func(x testcluster.Member) []string {
			if x.Role != "storage-node" {
				return nil
			}
			return []string{"unshare", "--mount", "sh", "-c", ownMachine, m.boots[x.ID], m.disks[x.ID].Dir()}
		}),
	}
}

// TestPowerCuts: one node, two, or all at once lose power under load, again and
// again. What was acknowledged is there, once, at its offset.
func TestPowerCuts(t *testing.T) {
	begun := campaign.Begin("power cuts")
	seed, cuts := campaign.Number(t, seedVar, 1), int(campaign.Number(t, cutsVar, 20))
	rng := rand.New(rand.NewPCG(seed, 0))
	m := newMachines(t)
	c := start(t, "river", m.options()...)
	writers := []*writer{write(t, c, "river")}
	for _, topic := range []string{"brook", "canal"} {
		if _, err := c.Topics(t).CreateTopic(testcluster.Context(t), &pb.CreateTopicRequest{
			Name: topic, PartitionCount: 1, ReplicationFactor: nodes, Configs: map[string]string{"min.insync.replicas": "2"},
		}); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, write(t, c, topic))
	}
	faults := map[string]int{}
	for done := 0; done < cuts && !t.Failed(); {
		ids := rng.Perm(nodes)[:1+rng.IntN(nodes)]
		faults[fmt.Sprintf("power cut of %d nodes of %d", len(ids), nodes)]++
		for _, i := range ids { // at once, or as near as it goes
			c.Member(t, storageNode(int32(i+1))).Kill()
		}
		var starting sync.WaitGroup
		for _, i := range ids {
			m.disks[i+1].Cut(t, rng)
			m.boot(t, i+1)
			starting.Go(func() { c.StartMember(t, storageNode(int32(i+1))) })
		}
		starting.Wait()
		for _, w := range writers {
			w.flows(t)
		}
		done += len(ids)
	}
	var acked int64
	for _, w := range writers {
		w.verify(t, c)
		acked += w.acked.Load()
	}
	c.Stop(t)
	if !t.Failed() {
		campaign.Note(t, powerCuts{Run: begun, Seed: seed, Faults: faults, Acked: acked})
	}
}
