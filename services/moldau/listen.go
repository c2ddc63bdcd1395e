package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"moldau.dev/services/config"
	"moldau.dev/services/lifecycle"
	"moldau.dev/services/telemetry"
	"moldau.dev/services/transport"
)

// listen opens a listener; the error of a taken port says what to do.
func (p *process) listen(ctx context.Context, key, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, precondition(
			fmt.Sprintf("stop what listens there, or choose another with --set %s=HOST:PORT or %s", key, config.EnvName(key)),
			"the address %s (%s) is taken", addr, key)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s (%s): %w", addr, key, err)
	}
	return l, nil
}

// internalPort serves other roles over gRPC, in a process that does not hold
// all roles. It opens before its role starts, so that the role can tell others
// where it is even where the kernel chose the port, and serves once the role
// has started; whoever calls in between waits.
type internalPort struct {
	p               *process
	name, key, addr string
	advertise       string // by the operator
	listener        net.Listener
	server          *grpc.Server
	health          *health.Server // for Consul, meshes and orchestrators
}

// address is where others reach the port.
func (i *internalPort) address() (string, error) {
	return advertised(strings.TrimSuffix(i.key, "listen")+"advertise", i.advertise, i.listener.Addr())
}

func (i *internalPort) open() lifecycle.Part {
	return lifecycle.Part{
		Name: i.name + " port",
		Start: func(ctx context.Context) (err error) {
			if i.listener, err = i.p.listen(ctx, i.key, i.addr); err != nil {
				return err
			}
			i.p.log.Info(i.name+" listens", telemetry.Addr(i.listener.Addr().String()))
			return nil
		},
		Stop: func(context.Context) error {
			if err := i.listener.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil // the server has closed it, where it came to serve
		},
	}
}

func (i *internalPort) serve(register func(grpc.ServiceRegistrar)) lifecycle.Part {
	return lifecycle.Part{
		Name: i.name + " server",
		Start: func(context.Context) error {
			i.server = transport.NewServer(transport.Options{
				Audience: transport.Internal, Log: i.p.log, Metrics: i.p.registerer(i.name), Tracing: i.p.tracing,
				MaxRecvBytes: transport.MaxMessage(maxBatchBytes),
			})
			i.health = health.NewServer()
			healthv1.RegisterHealthServer(i.server, i.health)
			register(i.server)
			return nil
		},
		Run: func(context.Context) error {
			if err := i.server.Serve(i.listener); err != nil {
				return err
			}
			return context.Canceled
		},
		Drain: func(context.Context) error { i.health.Shutdown(); return nil },
		Stop: func(ctx context.Context) error {
			i.health.Shutdown() // ends its watches too
			transport.GracefulStop(ctx, i.p.clock, i.server)
			return nil
		},
	}
}

// advertised returns the address that others reach a listener by: the one that
// the operator says under key, with the listener's port where that one is 0,
// else the listener's own, if it names one interface.
func advertised(key, advertise string, listener net.Addr) (string, error) {
	host, port, err := net.SplitHostPort(listener.String())
	if err != nil {
		return "", err
	}
	if advertise == "" {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			return "", precondition("say --set "+key+"=HOST:PORT, or "+config.EnvName(key)+"; port 0 stands for the listener's own",
				"%s is on every interface, so others cannot be told where it is", listener)
		}
		return listener.String(), nil
	}
	host, told, err := net.SplitHostPort(advertise)
	if err != nil {
		return "", usagef("%s %q: %w", key, advertise, err)
	}
	if told != "0" {
		port = told
	}
	return net.JoinHostPort(host, port), nil
}
