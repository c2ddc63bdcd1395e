package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"moldau.dev/services/clock"
	"moldau.dev/services/errcode"
)

const healthService = "grpc.health.v1.Health"

// interceptors returns, outermost first: the watch over answers, metrics,
// error mapping, logging (which so sees causes), recovery, the caller's own.
func (o Options) interceptors() []grpc.ServerOption {
	log := orDefault(o.Log, slog.Default())
	unary := []grpc.UnaryServerInterceptor{unarySending}
	var stream []grpc.StreamServerInterceptor
	if o.Metrics != nil {
		calls := NewCalls(o.Metrics, orDefault(o.Clock, clock.Real()))
		unary, stream = append(unary, calls.unary), append(stream, calls.stream)
	}
	logUnary, logStream := logCalls(log)
	recoverWith := recovery.WithRecoveryHandlerContext(logPanic(log))
	unary = append(unary, unaryErrors, logUnary, recovery.UnaryServerInterceptor(recoverWith))
	stream = append(stream, streamErrors, logStream, recovery.StreamServerInterceptor(recoverWith))
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(append(unary, o.Unary...)...),
		grpc.ChainStreamInterceptor(append(stream, o.Stream...)...),
	}
}

func unaryErrors(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if err != nil {
		return nil, errcode.ToStatus(err).Err()
	}
	return resp, nil
}

func streamErrors(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return errcode.ToStatus(next(srv, ss)).Err()
}

func logPanic(log *slog.Logger) recovery.RecoveryHandlerFuncContext {
	return func(ctx context.Context, p any) error {
		log.ErrorContext(ctx, "handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		return errcode.New(errcode.Internal, "internal error")
	}
}

// logCalls logs the end of each call but health checks: faults of the server
// as errors, all else at debug.
func logCalls(log *slog.Logger) (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	to := logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		log.Log(ctx, slog.Level(level), msg, fields...)
	})
	opts := []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithCodes(func(err error) codes.Code { return errcode.ToStatus(err).Code() }),
		logging.WithLevels(func(c codes.Code) logging.Level {
			if c == codes.Internal || c == codes.DataLoss {
				return logging.LevelError
			}
			return logging.LevelDebug
		}),
	}
	worthLogging := selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool {
		return !strings.HasPrefix(c.Service, healthService)
	})
	return selector.UnaryServerInterceptor(logging.UnaryServerInterceptor(to, opts...), worthLogging),
		selector.StreamServerInterceptor(logging.StreamServerInterceptor(to, opts...), worthLogging)
}

// register registers c, or returns its twin that another server or connection
// of the process has registered.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if err := r.Register(c); err != nil {
		if dup, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			if twin, ok := dup.ExistingCollector.(C); ok {
				return twin
			}
		}
		panic(fmt.Sprintf("transport: metrics of one name must be of one kind: %v", err))
	}
	return c
}
