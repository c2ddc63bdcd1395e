package discovery

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"
)

// Scheme is the scheme of targets: moldau:///storage-node.
const Scheme = "moldau"

// Target returns the target to dial for any instance of role.
func Target(role string) string { return Scheme + ":///" + role }

type instanceKey struct{}

// InstanceOf returns the instance behind an address that this package
// resolved, for pickers that choose by id or rack.
func InstanceOf(a resolver.Address) (Instance, bool) {
	i, ok := a.Attributes.Value(instanceKey{}).(Instance)
	return i, ok
}

// NewResolver returns a resolver fed by src; pass it to transport.Dial.
func NewResolver(src Source) resolver.Builder { return builder{src} }

type builder struct{ src Source }

func (builder) Scheme() string { return Scheme }

func (b builder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	role := target.Endpoint()
	if role == "" {
		return nil, fmt.Errorf("discovery: target %q names no role", target.URL.String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{cc: cc, cancel: cancel, done: make(chan struct{})}
	go w.watch(ctx, b.src, role)
	return w, nil
}

// watcher passes a source's lists to one connection.
type watcher struct {
	cc     resolver.ClientConn
	cancel context.CancelFunc
	done   chan struct{}
}

func (w *watcher) watch(ctx context.Context, src Source, role string) {
	defer close(w.done)
	err := src.Watch(ctx, role, func(list []Instance) { w.update(role, list) })
	if err != nil && !errors.Is(err, ctx.Err()) {
		w.cc.ReportError(fmt.Errorf("discovery: watch %s: %w", role, err))
	}
}

func (w *watcher) update(role string, list []Instance) {
	if len(list) == 0 {
		w.cc.ReportError(fmt.Errorf("discovery: no instance of %s runs", role))
		return
	}
	addrs := make([]resolver.Address, len(list))
	for i, inst := range list {
		addrs[i] = resolver.Address{Addr: inst.Addr, Attributes: attributes.New(instanceKey{}, inst)}
	}
	// An error means that the balancer dislikes the list; it keeps the old
	// one, and the next update brings a whole list again.
	_ = w.cc.UpdateState(resolver.State{Addresses: addrs})
}

// ResolveNow does nothing: the source pushes.
func (w *watcher) ResolveNow(resolver.ResolveNowOptions) {}

// Close ends the watch and waits for it.
func (w *watcher) Close() {
	w.cancel()
	<-w.done
}
