package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"syscall"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/gateway"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/discovery"
	"moldau.dev/services/lifecycle"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

func buildGateway(p *process) []lifecycle.Part {
	s := p.settings.Gateway
	var service *gateway.Service
	var door metadataclient.Client
	var pool *storageclient.Pool
	var coordinators *coordinatorclient.Router
	return append([]lifecycle.Part{{
		Name: "gateway",
		Start: func(ctx context.Context) (err error) {
			if door, err = p.metadataDoor(ctx, metadataclient.Options{Watcher: "gateway"}); err != nil {
				return err
			}
			pool = storageclient.NewPool(door.View, transport.DialOptions{Tracing: p.tracing, MaxRecvBytes: maxAnswerBytes})
			for node, local := range p.stored {
				pool.AddLocal(node, local)
			}
			coordinators = coordinatorclient.New(door, coordinatorclient.Options{Clock: p.clock, Transport: transport.DialOptions{Tracing: p.tracing}})
			if p.coordinator != nil {
				coordinators.AddLocal(p.settings.Coordinator.ID, p.coordinator)
			}
			cfg := gateway.DefaultConfig()
			cfg.GRPCListen, cfg.HTTPListen, cfg.KafkaListen = s.GRPCListen, s.HTTPListen, s.KafkaListen
			cfg.KafkaAdvertised, cfg.NodeID, cfg.Rack = s.KafkaAdvertise, s.NodeID, s.Rack
			cfg.AllowedOrigins, cfg.AutoCreateTopics = s.AllowedOrigins, s.AutoCreate
			service, err = gateway.NewService(cfg, gateway.Deps{
				Clock: p.clock, Log: p.log, Metadata: door, Nodes: pool, Coordinators: coordinators, Version: version(), Tracing: p.tracing,
				Registerer: p.registerer("gateway"), LocalNodes: slices.Sorted(maps.Keys(p.stored)),
			})
			if err == nil {
				err = service.Start(ctx)
			}
			if errors.Is(err, syscall.EADDRINUSE) {
				err = precondition("stop what listens there, or choose others with --set gateway.grpc_listen=HOST:PORT, gateway.http_listen and gateway.kafka_listen", "%w", err)
			}
			if err != nil {
				return errors.Join(err, coordinators.Close(), pool.Close(), door.Close())
			}
			p.doors.grpc, p.doors.http, p.doors.kafka = service.GRPCAddr(), service.HTTPAddr(), service.KafkaAddr()
			return nil
		},
		Run: func(ctx context.Context) error { return service.Run(ctx) },
		// The doors close here, not in Stop: the storage node below drains next,
		// and would leave the appends that are still under way without an answer.
		Drain: func(ctx context.Context) error { return service.Stop(ctx) },
		Stop: func(ctx context.Context) error {
			return errors.Join(service.Stop(ctx), coordinators.Close(), pool.Close(), door.Close())
		},
	}}, p.announcement("gateway", func() (discovery.Instance, error) {
		listener, err := net.ResolveTCPAddr("tcp", service.GRPCAddr())
		if err != nil {
			return discovery.Instance{}, err
		}
		addr, err := advertised("gateway.grpc_advertised", s.GRPCAdvertise, listener)
		return discovery.Instance{ID: fmt.Sprint(s.NodeID), Addr: addr}, err
	}, func() map[string]string {
		return map[string]string{"http": service.HTTPAddr(), "kafka": service.KafkaAddr()}
	})...)
}
