package errcode

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of every ErrorInfo.
const Domain = "moldau.dev"

const helpLocale = "en-US"

// ToStatus returns the gRPC face of err: its code, its message, and
// ErrorInfo, RetryInfo, BadRequest and the hint as details. Causes stay home.
func ToStatus(err error) *status.Status {
	e := Of(err)
	if e == nil {
		return status.New(codes.OK, "")
	}
	st := status.New(e.Reason.GRPC(), e.Message)
	with, failed := st.WithDetails(e.details()...)
	if failed != nil {
		return st // only a detail that cannot be marshalled, such as bad UTF-8
	}
	return with
}

func (e *Error) details() []protoadapt.MessageV1 {
	d := []protoadapt.MessageV1{&errdetails.ErrorInfo{
		Reason: string(e.Reason), Domain: Domain, Metadata: e.Metadata,
	}}
	if e.RetryAfter > 0 {
		d = append(d, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	if e.Field != "" {
		d = append(d, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: e.Field, Description: e.Message, Reason: string(e.Reason)},
		}})
	}
	if hint := e.HintOrDefault(); hint != "" { // a stub has no table to look it up in
		d = append(d, &errdetails.LocalizedMessage{Locale: helpLocale, Message: hint})
	}
	return d
}

// FromStatus is the way back. A status without our ErrorInfo gets the reason
// that its code suggests; nil and OK give nil.
func FromStatus(st *status.Status) *Error {
	if st == nil || st.Code() == codes.OK {
		return nil
	}
	e := &Error{Message: st.Message()}
	for _, d := range st.Details() {
		e.readDetail(d)
	}
	if e.Reason == "" {
		e.Reason = reasonOfCode(st.Code())
		if e.Reason == Internal {
			e.Message = "internal error" // the text of a stranger's fault may tell too much
		}
	}
	return e
}

func (e *Error) readDetail(d any) {
	switch d := d.(type) {
	case *errdetails.ErrorInfo:
		if r, ok := ParseReason(d.Reason); ok && d.Domain == Domain {
			e.Reason, e.Metadata = r, d.Metadata
		}
	case *errdetails.RetryInfo:
		e.RetryAfter = d.GetRetryDelay().AsDuration()
	case *errdetails.BadRequest:
		if v := d.GetFieldViolations(); len(v) > 0 {
			e.Field = v[0].GetField()
		}
	case *errdetails.LocalizedMessage:
		e.Hint = d.GetMessage()
	}
}

func reasonOfCode(c codes.Code) Reason {
	switch c {
	case codes.Canceled:
		return Canceled
	case codes.InvalidArgument, codes.OutOfRange, codes.FailedPrecondition, codes.NotFound, codes.AlreadyExists:
		return InvalidArgument
	case codes.DeadlineExceeded:
		return RequestTimedOut
	case codes.PermissionDenied:
		return PermissionDenied
	case codes.Unauthenticated:
		return Unauthenticated
	case codes.ResourceExhausted:
		return ResourceExhausted
	case codes.Unavailable, codes.Aborted:
		return NodeUnavailable
	case codes.Unimplemented:
		return Unimplemented
	default:
		return Internal
	}
}
