package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"moldau.dev/metadata"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/metadata/store"
	"moldau.dev/services/discovery"
	"moldau.dev/services/lifecycle"
	storagenode "moldau.dev/storage-node"
	"moldau.dev/storage-node/storageclient"
	"moldau.dev/storage-node/vfs"
)

func buildMetadata(p *process) []lifecycle.Part {
	s := p.settings.Metadata
	port := &internalPort{p: p, name: "metadata", key: "metadata.listen", addr: s.Listen, advertise: s.Advertise}
	role := lifecycle.Part{
		Name: "metadata",
		Start: func(ctx context.Context) (err error) {
			cfg := s.config()
			cfg.DataDir, cfg.Consul = p.dir("metadata"), p.settings.consul()
			if s.Store == metadata.StoreConsul {
				if cfg.Advertise, err = p.reached(port); err != nil {
					return err
				}
			}
			service, err := metadata.NewService(cfg, metadata.Deps{Clock: p.clock, Log: p.log, Registerer: p.registry})
			if errors.Is(err, store.ErrLocked) {
				return dirInUse(p.settings.DataDir)
			}
			if err != nil {
				return err
			}
			p.metadata = service
			return service.Start(ctx)
		},
		Stop: func(ctx context.Context) error { return p.metadata.Stop(ctx) },
	}
	if p.alone {
		return []lifecycle.Part{role}
	}
	// Another takes over while this process still ends its calls (C7).
	role.Drain = role.Stop
	parts := []lifecycle.Part{port.open(), role, port.serve(func(r grpc.ServiceRegistrar) { p.metadata.Register(r) })}
	return append(parts, p.announcement(metadataclient.Role, func() (discovery.Instance, error) {
		addr, err := port.address()
		return discovery.Instance{ID: addr, Addr: addr}, err
	}, nothing)...)
}

// reached returns where other processes reach a port.
func (p *process) reached(port *internalPort) (string, error) {
	if p.alone {
		return "", precondition("run the roles in processes of their own, or say --set metadata.store=embedded",
			"metadata in Consul is for several processes, and this one has no port for others")
	}
	return port.address()
}

func dirInUse(dir string) error {
	return precondition("stop the other moldau, or give this one another folder with --data",
		"the data folder %s is in use by another process", dir)
}

func buildStorageNodes(p *process) []lifecycle.Part {
	var parts []lifecycle.Part
	for i := range max(p.nodes, 1) {
		parts = append(parts, p.storageNode(p.settings.StorageNode.ID+int32(i))...)
	}
	return parts
}

func (p *process) storageNode(id int32) []lifecycle.Part {
	s := p.settings.StorageNode
	name := fmt.Sprintf("storage-node-%d", id)
	var service *storagenode.Service
	var door metadataclient.Client
	port := &internalPort{p: p, name: name, key: "storage_node.listen", addr: s.Listen, advertise: s.Advertise}
	role := lifecycle.Part{
		Name: name,
		Start: func(ctx context.Context) (err error) {
			if door, err = p.metadataDoor(ctx, metadataclient.Options{Watcher: name}); err != nil {
				return err
			}
			cfg := s.Replication.config()
			cfg.NodeID, cfg.DataDir, cfg.Rack = id, p.dir(name), s.Rack
			cfg.MaxOpenFiles /= max(p.nodes, 1) // the nodes of a process share its limit
			if cfg.Advertise = "in-process"; !p.alone {
				if cfg.Advertise, err = port.address(); err != nil {
					return errors.Join(err, door.Close())
				}
			}
			service, err = storagenode.NewService(cfg, storagenode.Deps{
				Clock: p.clock, Log: p.log, Metadata: door, Peers: p.peers, FS: vfs.OS{},
				Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"node": fmt.Sprint(id)}, p.registry),
			})
			if err == nil {
				p.peers.AddLocal(id, service)
				err = service.Start(ctx)
			}
			if err != nil {
				return errors.Join(err, door.Close())
			}
			p.stored[id] = storageclient.Traced(service.Storage(), p.tracing, id)
			return nil
		},
		Drain: func(ctx context.Context) error { return service.Drain(ctx) },
		Stop:  func(ctx context.Context) error { return errors.Join(service.Stop(ctx), door.Close()) },
	}
	if p.alone {
		return []lifecycle.Part{role}
	}
	parts := []lifecycle.Part{port.open(), role, port.serve(func(r grpc.ServiceRegistrar) { service.Register(r) })}
	return append(parts, p.announcement("storage-node", func() (discovery.Instance, error) {
		addr, err := port.address()
		return discovery.Instance{ID: fmt.Sprint(id), Addr: addr, Rack: s.Rack}, err
	}, nothing)...)
}
