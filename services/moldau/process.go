package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"moldau.dev/metadata"
	"moldau.dev/metadata/metadataclient"
	"moldau.dev/services/clock"
	"moldau.dev/services/config"
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
	group    *lifecycle.Group

	// Filled as roles start, for those that start after them.
	metadata *metadata.Service
	stored   map[int32]storageclient.Storage
	doors    doors
}

// doors are the addresses that clients can use, once they are open.
type doors struct{ grpc, http, admin string }

// runProcess runs roles until ctx ends; ready is called once all serve.
func runProcess(ctx context.Context, s Settings, picked []role, nodes int, logs io.Writer, ready func(*process)) error {
	tuneMemory()
	log, _ := telemetry.NewLogger(logs, s.Log)
	tracing, flush, err := telemetry.NewTracing(ctx, s.Trace, "moldau", s.AdminListen)
	if err != nil {
		return err
	}
	p := &process{
		settings: s, nodes: nodes, alone: len(picked) == len(roles), clock: clock.Real(), log: log,
		registry: telemetry.NewRegistry(), tracing: tracing, stored: map[int32]storageclient.Storage{},
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

// tuneMemory keeps a quiet process small, unless GOGC or GOMEMLIMIT say
// otherwise: batches live in pooled buffers, so the heap that the collector
// sees is small and collecting it often is cheap.
func tuneMemory() {
	const quietPercent = 50
	if _, set := syscall.Getenv("GOGC"); !set {
		debug.SetGCPercent(quietPercent)
	}
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

// internalServer returns the part that serves other roles over gRPC. It is for
// processes that do not hold all roles.
func (p *process) internalServer(name, key, addr string, register func(grpc.ServiceRegistrar)) lifecycle.Part {
	var server *grpc.Server
	var listener net.Listener
	return lifecycle.Part{
		Name: name + " listener",
		Start: func(ctx context.Context) (err error) {
			listener, err = p.listen(ctx, key, addr)
			if err != nil {
				return err
			}
			server = transport.NewServer(transport.Options{
				Audience: transport.Internal, Log: p.log, Metrics: p.registerer(name), Tracing: p.tracing,
				MaxRecvBytes: transport.MaxMessage(maxBatchBytes),
			})
			register(server)
			return nil
		},
		Run: func(context.Context) error {
			if err := server.Serve(listener); err != nil {
				return err
			}
			return context.Canceled
		},
		Stop: func(ctx context.Context) error {
			transport.GracefulStop(ctx, p.clock, server)
			return nil
		},
	}
}

// registerer keeps the metrics of several listeners in one process apart.
func (p *process) registerer(listener string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"listener": listener}, p.registry)
}

// metadataDoor opens a role's own view of metadata.
func (p *process) metadataDoor(ctx context.Context, opts metadataclient.Options) (metadataclient.Client, error) {
	opts.Clock, opts.Log = p.clock, p.log
	if p.metadata != nil {
		return metadataclient.Local(p.metadata, opts), nil
	}
	opts.Transport = transport.DialOptions{Tracing: p.tracing, MaxRecvBytes: maxAnswerBytes}
	return metadataclient.Dial(ctx, p.settings.Metadata.Target, opts)
}
