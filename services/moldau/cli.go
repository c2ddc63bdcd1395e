package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	moldauv1 "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/transport"
)

const (
	defaultTimeout = 15 * time.Second
	maxAnswerBytes = 64 << 20
)

// cli is what all verbs share: the flags that stand before them.
type cli struct {
	configFile string
	profile    string
	addr       string
	set        []string
	timeout    time.Duration
}

// settings loads the effective settings over defaults, with the verb's own
// flags last.
func (c *cli) settings(defaults Settings, own map[string]any) (Settings, error) {
	flags := map[string]any{}
	for _, kv := range c.set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok {
			return Settings{}, usagef("--set %s: not KEY=VALUE", kv)
		}
		flags[key] = value
	}
	for key, value := range own {
		flags[key] = value
	}
	if c.addr != "" {
		flags["addr"] = c.addr
	}
	return loadSettings(defaults, c.configFile, c.profile, flags)
}

// stubs are those of one connection to a gateway.
type stubs struct {
	addr    string
	conn    *grpc.ClientConn
	topics  moldauv1.TopicServiceClient
	cluster moldauv1.ClusterServiceClient
	produce moldauv1.ProduceServiceClient
	read    moldauv1.ReadServiceClient

	transactions moldauv1.TransactionServiceClient
}

func (c *cli) dial() (*stubs, error) {
	s, err := c.settings(defaultSettings(), nil)
	if err != nil {
		return nil, err
	}
	conn, err := transport.Dial(s.Addr, transport.DialOptions{Audience: transport.External, MaxRecvBytes: maxAnswerBytes})
	if err != nil {
		return nil, usagef("address %q: %w", s.Addr, err)
	}
	return &stubs{
		addr: s.Addr, conn: conn,
		topics: moldauv1.NewTopicServiceClient(conn), cluster: moldauv1.NewClusterServiceClient(conn),
		produce: moldauv1.NewProduceServiceClient(conn), read: moldauv1.NewReadServiceClient(conn),
		transactions: moldauv1.NewTransactionServiceClient(conn),
	}, nil
}

func (g *stubs) close() { _ = g.conn.Close() }

// call runs f with a connection and a deadline.
func (c *cli) call(cmd *cobra.Command, f func(context.Context, *stubs) error) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	err := c.stream(cmd, func(_ context.Context, g *stubs) error { return f(ctx, g) })
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &failure{code: exitTimeout, hint: "a change may have taken effect; --timeout gives it longer", err: fmt.Errorf("no answer within %s", c.timeout)}
	}
	return err
}

// stream is call without a deadline, for verbs that run until they are done.
func (c *cli) stream(cmd *cobra.Command, f func(context.Context, *stubs) error) error {
	g, err := c.dial()
	if err != nil {
		return err
	}
	defer g.close()
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	return g.explain(f(ctx, g))
}

// explain says where nobody answered, in place of grpc-go's account of it.
func (g *stubs) explain(err error) error {
	if err == nil {
		return nil
	}
	cause := unanswered.FindStringSubmatch(err.Error())
	if cause == nil {
		return err
	}
	return &failure{
		code: exitFailed, hint: "moldau up starts one; --addr, MOLDAU_ADDR or a profile names another",
		err: fmt.Errorf("no gateway answers at %s: %s", g.addr, cause[1]),
	}
}

// unanswered is what grpc-go says of an address where nobody is.
var unanswered = regexp.MustCompile(`(?:Error while dialing: |name resolver error: )([^"]+?)(?:"|: rpc error|$)`)
