package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/telemetry"
)

const (
	announceInterval = 500 * time.Millisecond
	announcePatience = 2 * time.Second
)

// announcer tells metadata that this gateway lives, what it is and what it has
// seen: so other gateways list it as a broker, and answers to changes wait for
// it.
type announcer struct {
	s     *Service
	state *metadatav1.GatewayState
	end   context.CancelFunc
	done  chan struct{}
}

// announce begins to tell. The listeners are open.
func (s *Service) announce() *announcer {
	ctx, cancel := context.WithCancel(context.Background())
	a := &announcer{s: s, end: cancel, done: make(chan struct{}), state: &metadatav1.GatewayState{
		BrokerId: s.cfg.NodeID, Incarnation: rand.Text(), KafkaAddress: s.kafka.Address(), GrpcAddress: s.GRPCAddr(),
		Rack: s.cfg.Rack, LocalNodes: s.localNodes,
	}}
	go a.run(ctx)
	return a
}

func (a *announcer) run(ctx context.Context) {
	defer close(a.done)
	for ctx.Err() == nil {
		changed := a.s.meta.Changed()
		if err := a.tell(ctx, false); err != nil && ctx.Err() == nil {
			a.s.log.Debug("metadata did not take a gateway's heartbeat", telemetry.Err(err))
		}
		timer := a.s.clk.NewTimer(announceInterval)
		select {
		case <-changed:
		case <-timer.C():
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (a *announcer) tell(ctx context.Context, leaving bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer a.s.clk.AfterFunc(announcePatience, cancel).Stop()
	_, err := a.s.meta.Heartbeat(ctx, &metadatav1.HeartbeatRequest{
		NodeId: -1, GatewayId: fmt.Sprintf("broker %d", a.s.cfg.NodeID), Revision: a.s.meta.View().Revision,
		Gateway: a.state, Draining: leaving,
	})
	return err
}

// leave says that this gateway goes, and nothing more.
func (a *announcer) leave(ctx context.Context) {
	a.end()
	<-a.done
	if err := a.tell(ctx, true); err != nil {
		a.s.log.Debug("metadata was not told that a gateway leaves", telemetry.Err(err))
	}
}
