package cluster

import (
	"maps"
	"slices"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
)

const (
	maxTextBytes  = 1024 // of an address and its like
	maxLocalNodes = 1000
)

// checkText bounds what a service says of itself.
func checkText(field string, texts ...string) error {
	for _, s := range texts {
		if len(s) > maxTextBytes {
			return errcode.New(errcode.InvalidArgument, "a text of %d bytes is longer than %d", len(s), maxTextBytes).WithField(field)
		}
	}
	return nil
}

// RegisterGateway lists a gateway as it says that it is, in service. A new
// incarnation gets a new epoch.
type RegisterGateway struct{ Gateway *metadatav1.GatewayState }

func (c RegisterGateway) apply(s *State, d *Delta) error {
	g := c.Gateway
	if g.GetBrokerId() < 0 {
		return errcode.New(errcode.InvalidArgument, "broker id %d is negative", g.GetBrokerId()).WithField("gateway.broker_id")
	}
	if g.GetIncarnation() == "" {
		return errcode.New(errcode.InvalidArgument, "a gateway must name its incarnation").WithField("gateway.incarnation")
	}
	if err := checkText("gateway", g.GetIncarnation(), g.GetKafkaAddress(), g.GetGrpcAddress(), g.GetRack()); err != nil {
		return err
	}
	if n := len(g.GetLocalNodes()); n > maxLocalNodes {
		return errcode.New(errcode.InvalidArgument, "%d nodes in one process are more than %d", n, maxLocalNodes).WithField("gateway.local_nodes")
	}
	old := s.Gateways[g.GetBrokerId()]
	if SameGateway(old, g) && !old.GetFenced() {
		return nil
	}
	epoch := old.GetEpoch()
	if old.GetIncarnation() != g.GetIncarnation() {
		s.LastNodeEpoch++
		d.NodeEpochs = true
		epoch = s.LastNodeEpoch
	}
	s.putGateway(d, &metadatav1.GatewayState{
		BrokerId: g.GetBrokerId(), Epoch: epoch, Incarnation: g.GetIncarnation(), KafkaAddress: g.GetKafkaAddress(),
		GrpcAddress: g.GetGrpcAddress(), Rack: g.GetRack(), LocalNodes: slices.Clone(g.GetLocalNodes()),
	})
	return nil
}

// SameGateway tells whether two states are of one incarnation that says the
// same of itself.
func SameGateway(a, b *metadatav1.GatewayState) bool {
	return a != nil && b != nil && a.GetIncarnation() == b.GetIncarnation() && a.GetKafkaAddress() == b.GetKafkaAddress() &&
		a.GetGrpcAddress() == b.GetGrpcAddress() && a.GetRack() == b.GetRack() && slices.Equal(a.GetLocalNodes(), b.GetLocalNodes())
}

// FenceGateways stops showing gateways to clients.
type FenceGateways struct{ BrokerIDs []int32 }

func (c FenceGateways) apply(s *State, d *Delta) error {
	for _, id := range c.BrokerIDs {
		old := s.Gateways[id]
		if old == nil || old.Fenced {
			continue
		}
		s.putGateway(d, &metadatav1.GatewayState{
			BrokerId: old.BrokerId, Epoch: old.Epoch, Incarnation: old.Incarnation, KafkaAddress: old.KafkaAddress,
			GrpcAddress: old.GrpcAddress, Rack: old.Rack, LocalNodes: old.LocalNodes, Fenced: true,
		})
	}
	return nil
}

// ForgetGateways drops gateways that are fenced.
type ForgetGateways struct{ BrokerIDs []int32 }

func (c ForgetGateways) apply(s *State, d *Delta) error {
	for _, id := range c.BrokerIDs {
		if old := s.Gateways[id]; old == nil || !old.Fenced {
			continue
		}
		s.Gateways = maps.Clone(s.Gateways)
		delete(s.Gateways, id)
		d.Gateways = append(d.Gateways, id)
	}
	return nil
}
