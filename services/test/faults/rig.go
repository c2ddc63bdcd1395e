//go:build faults

package faults

import (
	"strconv"
	"strings"
	"testing"

	"moldau.dev/gateway/gatewayclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/test/consultest"
	"moldau.dev/services/test/testcluster"
)

// partitions of each topic.
const partitions = 6

// The topics of a run.
const (
	sentTopic       = "sent"        // by idempotent producers
	relaxedTopic    = "relaxed"     // by idempotent producers, without an fsync before the answer
	transactedTopic = "transacted"  // by transactional producers
	kafkaCopy       = "kafka-copy"  // of sent, exactly once
	nativeCopy      = "native-copy" // of transacted, exactly once
)

var everyTopic = []string{sentTopic, relaxedTopic, transactedTopic, kafkaCopy, nativeCopy}

// rig is the cluster of one run.
type rig struct {
	*testcluster.Cluster
	clk      clock.Clock
	consul   []*consultest.Agent // none where metadata is embedded
	metadata map[testcluster.Member]metadatav1.MetadataServiceClient
}

// startRig starts a cluster, whose metadata is in as many Consul servers, and
// its topics.
func startRig(t *testing.T, shape testcluster.Shape, consul int, opts ...testcluster.Option) *rig {
	t.Helper()
	r := &rig{clk: clock.Real(), metadata: map[testcluster.Member]metadatav1.MetadataServiceClient{}}
	if consul > 0 {
		r.consul = consultest.StartServers(t, consul)
		opts = append(opts, consultest.Beside(r.consul))
	}
	r.Cluster = testcluster.StartShape(t, shape, opts...)
	for _, m := range r.Members("metadata") {
		r.metadata[m] = r.Metadata(t, m)
	}
	replicas := int32(min(shape.StorageNodes, 3))
	for _, name := range everyTopic {
		configs := map[string]string{"min.insync.replicas": strconv.Itoa(int(replicas+1) / 2)}
		if name == relaxedTopic {
			configs["moldau.durability"] = "relaxed"
		}
		_, err := r.Topics(t).CreateTopic(testcluster.Context(t), &moldauv1.CreateTopicRequest{
			Name: name, PartitionCount: partitions, ReplicationFactor: replicas, Configs: configs,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// active returns the metadata process that leads.
func (r *rig) active(t *testing.T) testcluster.Member {
	t.Helper()
	return testcluster.ActiveMetadata(t, r.metadata)
}

func (r *rig) native(t *testing.T) *gatewayclient.Client {
	t.Helper()
	client, err := gatewayclient.Dial(strings.Join(r.GRPCAddrs(), ","), gatewayclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
