package rest

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// strictQuery refuses parameters that the request does not have; grpc-gateway's
// own parser passes over them.
type strictQuery struct{ runtime.DefaultQueryParser }

// Parse fills msg from values.
func (q *strictQuery) Parse(msg proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	for name := range values {
		if !hasField(msg.ProtoReflect().Descriptor(), name) {
			return fmt.Errorf("there is no parameter %.64q", name)
		}
	}
	return q.DefaultQueryParser.Parse(msg, values, filter)
}

// hasField tells whether path, names divided by dots, leads to a field.
func hasField(in protoreflect.MessageDescriptor, path string) bool {
	path, _, _ = strings.Cut(path, "[") // a map's key
	for name := range strings.SplitSeq(path, ".") {
		if in == nil {
			return false
		}
		field := in.Fields().ByTextName(name)
		if field == nil {
			field = in.Fields().ByJSONName(name)
		}
		if field == nil {
			return false
		}
		in = field.Message()
	}
	return true
}
