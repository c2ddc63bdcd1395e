package storageclient

import (
	"errors"
	"sync"

	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// Pool finds the door of a node: a direct call where the node lives in this
// process, else connections to the address that metadata knows. It is safe for
// concurrent use.
type Pool struct {
	view func() *metadataclient.View
	opts transport.DialOptions

	mu       sync.RWMutex
	local    map[int32]Storage
	remote   map[int32]*peer
	revision int64 // of the view that remote was last cleaned by
	closed   bool
}

type peer struct {
	*Remote
	address string
}

// NewPool returns a pool that looks nodes up in view, which is a client's
// View method.
func NewPool(view func() *metadataclient.View, opts transport.DialOptions) *Pool {
	return &Pool{view: view, opts: opts, local: map[int32]Storage{}, remote: map[int32]*peer{}}
}

// AddLocal makes s the door of a node of this process.
func (p *Pool) AddLocal(nodeID int32, s Storage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local[nodeID] = s
}

// Node returns the door of a node; NODE_UNAVAILABLE where metadata knows none
// of that id. It does not connect yet.
func (p *Pool) Node(nodeID int32) (Storage, error) {
	view := p.view()
	p.mu.RLock()
	local, far, current := p.local[nodeID], p.remote[nodeID], view.Revision == p.revision
	p.mu.RUnlock()
	if local != nil {
		return local, nil
	}
	if far != nil && current {
		return far.Remote, nil
	}
	return p.dial(view, nodeID)
}

func (p *Pool) dial(view *metadataclient.View, nodeID int32) (Storage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errcode.New(errcode.ShuttingDown, "the pool of storage nodes is closed")
	}
	p.clean(view)
	if far := p.remote[nodeID]; far != nil {
		return far.Remote, nil
	}
	node := view.Nodes[nodeID]
	if node == nil || node.Address == "" {
		return nil, errcode.New(errcode.NodeUnavailable, "storage node %d is not registered", nodeID).With("node", nodeID)
	}
	r, err := Dial(node.Address, p.opts)
	if err != nil {
		return nil, err
	}
	p.remote[nodeID] = &peer{Remote: r, address: node.Address}
	return r, nil
}

// clean closes the connections of nodes that are gone or moved. An older view
// than the last, which a caller may still hold, cleans nothing.
func (p *Pool) clean(view *metadataclient.View) {
	if view.Revision <= p.revision {
		return
	}
	p.revision = view.Revision
	for id, far := range p.remote {
		if node := view.Nodes[id]; node == nil || node.Address != far.address {
			_ = far.Close() // its calls fail, as they should: nobody is there
			delete(p.remote, id)
		}
	}
}

// Close closes all connections.
func (p *Pool) Close() error {
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
