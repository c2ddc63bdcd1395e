package coordinatorclient

import (
	"errors"
	"sync"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// pool finds the door of a coordinator: a direct call where it lives in this
// process, else a connection to the address that metadata knows.
type pool struct {
	opts transport.DialOptions

	mu     sync.Mutex
	local  map[int32]Peer
	remote map[int32]*dialed
	closed bool
}

type dialed struct {
	*remote
	address string
}

func (p *pool) peer(view *metadataclient.View, id int32) (Peer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if local := p.local[id]; local != nil {
		return local, nil
	}
	if p.closed {
		return nil, errcode.New(errcode.ShuttingDown, "the door to the coordinators is closed")
	}
	c := view.Coordinators[id]
	if c == nil || c.Address == "" {
		return nil, errcode.New(errcode.CoordinatorUnavailable, "coordinator %d is not registered", id).With("coordinator", id)
	}
	if far := p.remote[id]; far != nil && far.address == c.Address {
		return far, nil
	}
	return p.dial(id, c.Address)
}

// dial connects to where coordinator id is now; the connection to where it was
// is closed, and its calls fail, as they should: nobody is there.
func (p *pool) dial(id int32, address string) (Peer, error) {
	r, err := dial(address, p.opts)
	if err != nil {
		return nil, err
	}
	if far := p.remote[id]; far != nil {
		_ = far.Close() // nothing can be done, and nothing is lost
	}
	p.remote[id] = &dialed{remote: r, address: address}
	return r, nil
}

func (p *pool) addLocal(id int32, c Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local[id] = c
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for id, far := range p.remote {
		errs = append(errs, far.Close())
		delete(p.remote, id)
	}
	return errors.Join(errs...)
}
