package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"moldau.dev/coordinator/coordinatorclient"
	"moldau.dev/metadata"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/clock"
	"moldau.dev/services/config"
	"moldau.dev/services/discovery"
	"moldau.dev/services/lifecycle"
	"moldau.dev/services/telemetry"
	"moldau.dev/services/transport"
	"moldau.dev/storage-node/storageclient"
)

const maxBatchBytes = 16 << 20

// process is one process with one or more roles in it.
type process struct {
	settings Settings
	nodes    int  // storage nodes in this process
	alone    bool // all roles are here: no listeners between them
	clock    clock.Clock
	log      *slog.Logger
	registry *prometheus.Registry
	tracing  trace.TracerProvider
	catalog  *discovery.Consul // nil without Consul
	group    *lifecycle.Group

	// Filled as roles start, for those that start after them.
	metadata *metadata.Service
	stored   map[int32]storageclient.Storage
	// coordinator of this process, for callers in it; nil where there is none.
	coordinator coordinatorclient.Peer
	peers       *storageclient.Peers // ways between storage nodes
	doors       doors
}

// doors are the addresses that clients can use, once they are open.
type doors struct{ grpc, http, kafka, admin string }

// runProcess runs roles until ctx ends; ready is called once all serve.
func runProcess(ctx context.Context, s Settings, picked []role, nodes int, logs io.Writer, ready func(*process)) error {
	log, _ := telemetry.NewLogger(logs, s.Log)
	tuneMemory(log)
	tracing, flush, err := telemetry.NewTracing(ctx, s.Trace, "moldau", s.AdminListen)
	if err != nil {
		return err
	}
	p := &process{
		settings: s, nodes: nodes, alone: len(picked) == len(roles), clock: clock.Real(), log: log,
		registry: telemetry.NewRegistry(), tracing: tracing, stored: map[int32]storageclient.Storage{},
		peers: storageclient.NewPeers(transport.DialOptions{Tracing: tracing}),
	}
	if s.Consul.Address != "" {
		if p.catalog, err = discovery.NewConsul(s.consul(), p.clock, log); err != nil {
			return usage(err)
		}
	}
	parts := []lifecycle.Part{
		{Name: "tracing", Stop: flush},
		p.adminPart(),
	}
	for _, r := range picked {
		parts = append(parts, r.build(p)...)
	}
	p.group = lifecycle.New(log, p.clock, parts...)
	announced := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(announced)
		select {
		case <-p.group.Ready():
			ready(p)
		case <-finished:
		}
	}()
	err = p.group.Run(ctx)
	close(finished)
	<-announced
	return err
}

func (p *process) dir(name string) string { return filepath.Join(p.settings.DataDir, name) }

// adminPart shows what the process does, from before its roles start until
// after they have stopped.
func (p *process) adminPart() lifecycle.Part {
	var server *http.Server
	var listener net.Listener
	return lifecycle.Part{
		Name: "admin",
		Start: func(ctx context.Context) (err error) {
			listener, err = p.listen(ctx, "admin_listen", p.settings.AdminListen)
			if err != nil {
				return err
			}
			p.doors.admin = listener.Addr().String()
			p.log.Info("admin listens", telemetry.Addr(p.doors.admin))
			server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: telemetry.Admin{
				Metrics: p.registry,
				Ready:   p.group.IsReady,
				Config:  func(w io.Writer) error { return config.Print(w, p.settings) },
			}.Handler()}
			return nil
		},
		Run: func(context.Context) error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return context.Canceled
		},
		Stop: func(context.Context) error { return server.Close() },
	}
}

// registerer keeps the metrics of several listeners in one process apart.
func (p *process) registerer(listener string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"listener": listener}, p.registry)
}

// metadataDoor opens a role's own view of metadata.
func (p *process) metadataDoor(ctx context.Context, opts metadataclient.Options) (metadataclient.Client, error) {
	opts.Clock, opts.Log = p.clock, p.log
	opts.Transport = transport.DialOptions{Tracing: p.tracing, MaxRecvBytes: maxAnswerBytes}
	if p.metadata != nil {
		return metadataclient.Local(p.metadata, opts), nil
	}
	if p.catalog != nil {
		opts.Instances = p.catalog
	}
	return metadataclient.Dial(ctx, p.settings.Metadata.Target, opts)
}
