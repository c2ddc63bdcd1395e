package main

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	"moldau.dev/coordinator"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/discovery"
	"moldau.dev/services/lifecycle"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

func buildCoordinator(p *process) []lifecycle.Part {
	s := p.settings.Coordinator
	var service *coordinator.Service
	var door metadataclient.Client
	var pool *storageclient.Pool
	port := &internalPort{p: p, name: "coordinator", key: "coordinator.listen", addr: s.Listen, advertise: s.Advertise}
	role := lifecycle.Part{
		Name: "coordinator",
		Start: func(ctx context.Context) (err error) {
			cfg := coordinator.DefaultConfig()
			cfg.ID, cfg.Lease = s.ID, s.Lease
			if cfg.Advertise = "in-process"; !p.alone {
				if cfg.Advertise, err = port.address(); err != nil {
					return err
				}
			}
			if door, err = p.metadataDoor(ctx, metadataclient.Options{Watcher: "coordinator"}); err != nil {
				return err
			}
			pool = storageclient.NewPool(door.View, transport.DialOptions{Tracing: p.tracing, MaxRecvBytes: maxAnswerBytes})
			for node, local := range p.stored {
				pool.AddLocal(node, local)
			}
			service, err = coordinator.NewService(cfg, coordinator.Deps{
				Clock: p.clock, Log: p.log, Metadata: door, Nodes: pool, Registerer: p.registry,
				Transport: transport.DialOptions{Tracing: p.tracing},
			})
			if err == nil {
				err = service.Start(ctx)
			}
			if err != nil {
				return errors.Join(err, pool.Close(), door.Close())
			}
			p.coordinator = service
			return nil
		},
		Drain: func(ctx context.Context) error { return service.Drain(ctx) },
		Stop: func(ctx context.Context) error {
			return errors.Join(service.Stop(ctx), pool.Close(), door.Close())
		},
	}
	if p.alone {
		return []lifecycle.Part{role}
	}
	parts := []lifecycle.Part{port.open(), role, port.serve(func(r grpc.ServiceRegistrar) { service.Register(r) })}
	return append(parts, p.announcement("coordinator", func() (discovery.Instance, error) {
		addr, err := port.address()
		return discovery.Instance{ID: fmt.Sprint(s.ID), Addr: addr}, err
	}, nothing)...)
}
