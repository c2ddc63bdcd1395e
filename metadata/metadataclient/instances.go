package metadataclient

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// thisProcess is the address of the metadata service in this process.
const thisProcess = ""

// distrust is how long a standby's word that an instance leads is not believed
// after that one has failed to answer: standbys learn it later.
const distrust = 2 * time.Second

// instance is one metadata process.
type instance struct {
	address string
	rpc     metadatav1.MetadataServiceClient
	conn    *grpc.ClientConn // nil in this process

	failed time.Time          // when it last did not answer
	alive  context.Context    // of calls to it
	hangs  context.CancelFunc // ends them
}

func newInstance(address string, rpc metadatav1.MetadataServiceClient, conn *grpc.ClientConn) *instance {
	i := &instance{address: address, rpc: rpc, conn: conn}
	i.alive, i.hangs = context.WithCancel(context.Background())
	return i
}

// fails tells whether the process cannot be reached just now.
func (i *instance) fails() bool {
	return i.conn != nil && i.conn.GetState() == connectivity.TransientFailure
}

// instances are the metadata processes that are known, and which of them is
// taken for the controller. Standbys say where it is; without their word the
// next one is tried.
type instances struct {
	dial transport.DialOptions
	clk  clock.Clock

	mu     sync.Mutex
	known  []string
	active string
	open   map[string]*instance
}

func newInstances(dial transport.DialOptions, clk clock.Clock, known ...string) *instances {
	s := &instances{dial: dial, clk: clk, open: map[string]*instance{}}
	s.know(known)
	return s
}

// know replaces the list of addresses. What is taken for the controller stays.
func (s *instances) know(list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) == 0 && len(list) > 0 {
		s.active = list[0]
	}
	s.known = list
}

// pick returns the instance taken for the controller, or another while that one
// cannot be reached.
func (s *instances) pick() (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) == 0 {
		return nil, errcode.New(errcode.ControllerUnavailable, "no metadata process is known yet")
	}
	for tries := 0; ; tries++ {
		i, err := s.get(s.active)
		if err != nil || !i.fails() || tries == len(s.known) {
			return i, err
		}
		s.next()
	}
}

func (s *instances) get(address string) (*instance, error) {
	if i := s.open[address]; i != nil {
		return i, nil
	}
	conn, err := transport.Dial(address, s.dial)
	if err != nil {
		return nil, err
	}
	s.open[address] = newInstance(address, metadatav1.NewMetadataServiceClient(conn), conn)
	return s.open[address], nil
}

func (s *instances) next() {
	s.active = s.known[(slices.Index(s.known, s.active)+1)%len(s.known)]
}

// learn draws from an error of one instance where the controller is. It tells
// whether the call was surely not done, so that it may be made again, and
// whether at another instance.
func (s *instances) learn(from *instance, err error) (again, elsewhere bool) {
	e := errcode.Of(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.active
	switch e.Reason {
	case errcode.NotController, errcode.ControllerUnavailable:
		again = true
		if was == from.address {
			s.follow(from, e.Metadata["controller"])
		}
	case errcode.NodeUnavailable, errcode.ShuttingDown, errcode.RequestTimedOut:
		from.failed = s.clk.Now()
		if was == from.address {
			s.next()
			return false, false
		}
	default:
		return false, false
	}
	return again, s.active != from.address
}

// follow believes a standby's hint, unless it is at odds with what was seen.
func (s *instances) follow(from *instance, hint string) {
	switch i := s.open[hint]; {
	case hint == "" || hint == from.address:
		s.next()
	case i == nil || i.failed.IsZero() || s.clk.Since(i.failed) >= distrust:
		s.active = hint
	}
}

// silent ends all calls to an instance that hangs: its connections stay open,
// and nothing else would.
func (s *instances) silent(i *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.failed = s.clk.Now()
	i.hangs()
	i.alive, i.hangs = context.WithCancel(context.Background())
	if s.active == i.address {
		s.next()
	}
}

// within returns a context for one call to an instance.
func (s *instances) within(ctx context.Context, i *instance) (context.Context, context.CancelFunc) {
	s.mu.Lock()
	alive := i.alive
	s.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(alive, func() {
		cancel(errcode.New(errcode.NodeUnavailable, "metadata process %s hangs", i.address))
	})
	return ctx, func() { stop(); cancel(nil) }
}

func (s *instances) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, i := range s.open {
		i.hangs()
		if i.conn != nil {
			errs = append(errs, i.conn.Close())
		}
	}
	return errors.Join(errs...)
}
