package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/gateway"
	"moldau.dev/gateway/gatewaytest"
	"moldau.dev/metadata/metadataclient"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
)

// fakes is what stands below a gateway, moved by the test.
type fakes struct {
	t       *testing.T
	meta    *gatewaytest.Metadata
	storage *gatewaytest.Storage
	nodes   *gatewaytest.Nodes
}

func newFakes(t *testing.T) *fakes {
	storage := gatewaytest.NewStorage(clock.Real())
	return &fakes{t: t, meta: gatewaytest.NewMetadata(), storage: storage, nodes: gatewaytest.NewNodes(storage)}
}

// gateway starts a gateway of that broker id.
func (f *fakes) gateway(id int32, edit ...func(*gateway.Config, *gateway.Deps)) *gateway.Service {
	f.t.Helper()
	cfg := gateway.DefaultConfig()
	cfg.GRPCListen, cfg.HTTPListen, cfg.KafkaListen, cfg.NodeID = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", id
	deps := gateway.Deps{Metadata: f.meta, Nodes: f.nodes}
	for _, e := range edit {
		e(&cfg, &deps)
	}
	s := must(gateway.NewService(cfg, deps))
	check(f.t, s.Start(f.t.Context()))
	f.t.Cleanup(func() { check(f.t, s.Stop(f.t.Context())) })
	return s
}

func (f *fakes) topic(name string, partitions int32) *metadataclient.Topic {
	f.t.Helper()
	_, err := f.meta.CreateTopic(f.t.Context(), &metadatav1.CreateTopicRequest{Name: name, PartitionCount: partitions})
	check(f.t, err)
	return f.meta.View().Topics[name]
}

// await returns once the view is as wanted.
func (f *fakes) await(wanted func(*metadataclient.View) bool) {
	f.t.Helper()
	for {
		changed := f.meta.Changed()
		if wanted(f.meta.View()) {
			return
		}
		select {
		case <-changed:
		case <-f.t.Context().Done():
			f.t.Fatal("the view never is as wanted")
		}
	}
}

func (f *fakes) awaitGateways(n int) {
	f.t.Helper()
	f.await(func(v *metadataclient.View) bool {
		live := 0
		for _, g := range v.Gateways {
			if !g.Fenced {
				live++
			}
		}
		return live == n
	})
}

// askAt sends one request to a gateway.
func askAt[R kmsg.Response](t *testing.T, s *gateway.Service, req kmsg.Request) R {
	t.Helper()
	resp, err := dial(t, s.KafkaAddr()).ask(req)
	check(t, err)
	return resp.(R)
}
