package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"moldau.dev/services/errcode"
)

// Exit codes, the same for every verb.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNotFound     = 3
	exitPrecondition = 4
	exitTimeout      = 5
)

// failure is an error with an exit code of its own and what to do about it.
type failure struct {
	code int
	hint string
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(err error) error {
	return &failure{code: exitUsage, hint: "see moldau --help", err: err}
}

// usageOf is a wrong use of one verb.
func usageOf(cmd *cobra.Command, err error) error {
	return &failure{code: exitUsage, hint: "see " + cmd.CommandPath() + " --help", err: err}
}

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

func precondition(hint, format string, args ...any) error {
	return &failure{code: exitPrecondition, hint: hint, err: fmt.Errorf(format, args...)}
}

func hinted(hint, format string, args ...any) error {
	return &failure{code: exitFailed, hint: hint, err: fmt.Errorf(format, args...)}
}

// report writes err as one line, cause and hint, and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code, hint, text := explain(err)
	text = strings.Join(strings.Fields(text), " ")
	if hint != "" {
		text += " (hint: " + hint + ")"
	}
	fmt.Fprintln(w, "moldau: "+text)
	return code
}

func explain(err error) (code int, hint, text string) {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code, f.hint, err.Error()
	}
	if interrupted(err) {
		return exitFailed, "", "interrupted"
	}
	e := errcode.Of(err)
	if e.Reason == errcode.Internal && e.Unwrap() != nil {
		return exitFailed, "", err.Error() // no server's error: its own text says most
	}
	text = e.Message
	if text == "" {
		text = string(e.Reason)
	}
	return exitCode(e), e.HintOrDefault(), text
}

func exitCode(e *errcode.Error) int {
	switch e.Reason.GRPC() {
	case codes.NotFound:
		return exitNotFound
	case codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted, codes.OutOfRange:
		return exitPrecondition
	case codes.DeadlineExceeded:
		return exitTimeout
	default:
		return exitFailed
	}
}

// interrupted tells whether err only says that the user ended the verb.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errcode.Is(err, errcode.Canceled)
}
