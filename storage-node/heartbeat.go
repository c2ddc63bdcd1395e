package storagenode

import (
	"context"
	"fmt"
	"time"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/telemetry"
)

// register asks the controller for a node epoch until it gets one, is refused
// for good, or ctx ends.
func (s *Service) register(ctx context.Context) error {
	for {
		resp, err := s.meta.RegisterNode(ctx, &metadatav1.RegisterNodeRequest{
			NodeId: s.cfg.NodeID, Incarnation: s.identity.incarnation, PreviousNodeEpoch: s.identity.previousEpoch,
			Address: s.cfg.address(), Rack: s.cfg.Rack, ClusterId: s.identity.ClusterID,
			SameBoot: s.identity.sameBoot, Seen: s.seen(),
		})
		if err == nil {
			return s.registered(ctx, resp)
		}
		if ctx.Err() != nil || !errcode.Of(err).Retryable() {
			return fmt.Errorf("register storage node %d: %w", s.cfg.NodeID, err)
		}
		s.log.Warn("controller did not register the node; trying again", telemetry.Err(err))
		if !s.pause(ctx, s.cfg.HeartbeatInterval) {
			return ctx.Err()
		}
	}
}

func (s *Service) registered(ctx context.Context, resp *metadatav1.RegisterNodeResponse) error {
	if known := s.identity.ClusterID; known != "" && resp.ClusterId != known {
		return fmt.Errorf("data directory %s belongs to cluster %s; the controller is of cluster %s", s.cfg.DataDir, known, resp.ClusterId)
	}
	s.identity.ClusterID, s.identity.NodeEpoch = resp.ClusterId, resp.NodeEpoch
	if err := s.writeIdentity(); err != nil {
		return err
	}
	if err := s.meta.WaitRevision(ctx, resp.Revision); err != nil {
		return fmt.Errorf("wait for the revision of the registration: %w", err)
	}
	s.nodeEpoch.Store(resp.NodeEpoch)
	s.links.renew()
	for _, p := range s.snapshot() { // none but where the controller had forgotten the node
		p.attend(p.role.Load())
	}
	s.log.Info("storage node registered", telemetry.NodeID(s.cfg.NodeID), "node_epoch", resp.NodeEpoch)
	return nil
}

// heartbeat tells the controller that the node lives, until ctx ends.
func (s *Service) heartbeat(ctx context.Context) {
	for {
		if _, err := s.beat(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("heartbeat failed", telemetry.Err(err))
			s.registerAgain(ctx, err)
		}
		if !s.pause(ctx, s.cfg.HeartbeatInterval) {
			return
		}
	}
}

// registerAgain asks for a new node epoch where the controller no longer knows
// this one. Any other failure is left to the next beat.
func (s *Service) registerAgain(ctx context.Context, err error) {
	if errcode.Of(err).Retryable() || s.leaving.Load() {
		return
	}
	if err := s.register(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("storage node cannot register again", telemetry.Err(err))
	}
}

// beat gives one sign of life, and tells whether the node is fenced.
func (s *Service) beat(ctx context.Context) (fenced bool, err error) {
	leaving, sent, view := s.leaving.Load(), s.clock.Now(), s.meta.View()
	resp, err := s.meta.Heartbeat(ctx, &metadatav1.HeartbeatRequest{
		NodeId: s.cfg.NodeID, NodeEpoch: s.nodeEpoch.Load(), Revision: view.Revision,
		Ready: !leaving, Draining: leaving, DeletedTopics: s.deletedTopics(),
	})
	if err == nil && !resp.GetFenced() {
		s.leaseMu.Lock()
		s.lease.Answered(sent, resp.GetRevision())
		s.leaseMu.Unlock()
	}
	return resp.GetFenced(), err
}

// handOverPatience is how long a node that stops waits for others to lead.
const handOverPatience = 5 * time.Second

// handOver tells the controller that the node stops, and returns once all others
// know that it leads nothing any more: it is fenced then (N5).
func (s *Service) handOver(ctx context.Context) error {
	s.leaving.Store(true)
	ctx, cancel := s.within(ctx, handOverPatience)
	defer cancel()
	for {
		fenced, err := s.beat(ctx)
		if err != nil || fenced || !s.pause(ctx, s.cfg.HeartbeatInterval/10) {
			return err
		}
	}
}

// leaseHeld tells whether the node may answer as a leader (R12).
func (s *Service) leaseHeld() bool {
	s.leaseMu.Lock()
	defer s.leaseMu.Unlock()
	return s.lease.Held(s.clock.Now())
}

// sawRevision notes how far the node has followed metadata.
func (s *Service) sawRevision(revision int64) {
	s.leaseMu.Lock()
	defer s.leaseMu.Unlock()
	s.lease.Seen(revision)
}

// pause waits for d, and reports false where ctx ended first.
func (s *Service) pause(ctx context.Context, d time.Duration) bool {
	timer := s.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}
