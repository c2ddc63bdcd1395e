package metadataclient

import (
	"errors"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	metadatav1 "moldau.dev/proto/gen/metadata/v1"
	"moldau.dev/services/errcode"
	"moldau.dev/services/transport"
)

// thisProcess is the address of the metadata service in this process.
const thisProcess = ""

// instance is one metadata process.
type instance struct {
	address string
	rpc     metadatav1.MetadataServiceClient
	conn    *grpc.ClientConn // nil in this process
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

	mu     sync.Mutex
	known  []string
	active string
	open   map[string]*instance
}

func newInstances(dial transport.DialOptions, known ...string) *instances {
	s := &instances{dial: dial, open: map[string]*instance{}}
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
	s.open[address] = &instance{address, metadatav1.NewMetadataServiceClient(conn), conn}
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
	if was != from.address {
		return e.Reason == errcode.NotController || e.Reason == errcode.ControllerUnavailable, true // another call has learned it
	}
	switch hint := e.Metadata["controller"]; {
	case e.Reason == errcode.NotController && hint != "" && hint != from.address:
		s.active = hint
	case e.Reason == errcode.NotController, e.Reason == errcode.ControllerUnavailable:
		s.next()
	case e.Reason == errcode.NodeUnavailable, e.Reason == errcode.ShuttingDown, e.Reason == errcode.RequestTimedOut:
		s.next()
		return false, false
	default:
		return false, false
	}
	return true, s.active != was
}

func (s *instances) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, i := range s.open {
		if i.conn != nil {
			errs = append(errs, i.conn.Close())
		}
	}
	return errors.Join(errs...)
}
