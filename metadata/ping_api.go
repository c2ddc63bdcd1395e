package metadata

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"

	"moldau.dev/metadata/controller"
	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/transport"
)

// Ping implements MetadataService (C7). What the asker has seen may end this
// term, which the answer shows (C11).
func (s *Service) Ping(ctx context.Context, req *metadatav1.PingRequest) (*metadatav1.PingResponse, error) {
	if err := s.controller.CheckSeen(ctx, req.GetSeen()); err != nil && s.Ready() {
		return nil, err
	}
	pong := s.controller.Pong()
	return &metadatav1.PingResponse{
		Active: s.Ready(), ControllerEpoch: pong.Epoch, ControllerAddress: s.controller.Active(), Position: pong.Position,
	}, nil
}

// peers are the connections to other metadata processes.
type peers struct {
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func newPeers() *peers { return &peers{conns: map[string]*grpc.ClientConn{}} }

func (p *peers) ping(ctx context.Context, address string, seen *metadatav1.Position) (controller.Pong, error) {
	conn, err := p.conn(address)
	if err != nil {
		return controller.Pong{}, err
	}
	resp, err := metadatav1.NewMetadataServiceClient(conn).Ping(ctx, &metadatav1.PingRequest{Seen: seen})
	return controller.Pong{Epoch: resp.GetControllerEpoch(), Position: resp.GetPosition()}, err
}

func (p *peers) conn(address string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn := p.conns[address]; conn != nil {
		return conn, nil
	}
	conn, err := transport.Dial(address, transport.DialOptions{})
	if err == nil {
		p.conns[address] = conn
	}
	return conn, err
}

// close closes all connections; nil peers have none.
func (p *peers) close() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, conn := range p.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}
