package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"moldau.dev/services/test/testcluster"
)

// The HTTP doors are spoken here byte by byte, without a client library, as
// browsers and curl do: https://connectrpc.com/docs/protocol and
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md.

const (
	frameEnd     = 0x02 // Connect: the last envelope of a stream
	frameTrailer = 0x80 // gRPC-Web: the frame that holds the trailers
)

// wireError is an error as a door of HTTP tells it.
type wireError struct {
	httpStatus int
	code       string // Connect's name, or the number of the gRPC code
	message    string
	details    []json.RawMessage
	grpcDetail []byte // google.rpc.Status, of gRPC-Web
}

func (e *wireError) Error() string {
	return fmt.Sprintf("HTTP %d: %s: %s", e.httpStatus, e.code, e.message)
}

func post(t testing.TB, url, contentType string, body []byte, headers ...string) (*http.Response, []byte) {
	t.Helper()
	return send(t, http.MethodPost, url, contentType, body, headers...)
}

func send(t testing.TB, method, url, contentType string, body []byte, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(testcluster.Context(t), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read the answer: %v", method, url, err)
	}
	return resp, answer
}

// connectUnary calls a unary procedure in Connect's JSON.
func connectUnary(t testing.TB, base, procedure string, in, out proto.Message) error {
	t.Helper()
	resp, answer := post(t, base+procedure, "application/json", toJSON(t, in), "Connect-Protocol-Version", "1")
	if resp.StatusCode != http.StatusOK {
		return connectError(t, resp.StatusCode, answer)
	}
	return fromJSON(answer, out)
}

func connectError(t testing.TB, status int, body []byte) error {
	t.Helper()
	var e struct {
		Code    string
		Message string
		Details []json.RawMessage
	}
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatalf("HTTP %d with a body that is no Connect error: %q", status, body)
	}
	return &wireError{httpStatus: status, code: e.Code, message: e.Message, details: e.Details}
}

// connectStream calls a server-streaming procedure in Connect's JSON and gives
// each message to each.
func connectStream(t testing.TB, base, procedure string, in proto.Message, each func(json []byte) error) error {
	t.Helper()
	resp, answer := post(t, base+procedure, "application/connect+json", envelope(0, toJSON(t, in)), "Connect-Protocol-Version", "1")
	if resp.StatusCode != http.StatusOK {
		return connectError(t, resp.StatusCode, answer)
	}
	for len(answer) > 0 {
		flags, payload, rest := cutEnvelope(t, answer)
		answer = rest
		if flags&frameEnd == 0 {
			if err := each(payload); err != nil {
				return err
			}
			continue
		}
		if len(rest) > 0 {
			t.Fatalf("%d bytes follow the end of a Connect stream", len(rest))
		}
		var end struct{ Error json.RawMessage }
		if err := json.Unmarshal(payload, &end); err != nil {
			t.Fatalf("end of stream: %q: %v", payload, err)
		}
		if end.Error != nil {
			return connectError(t, resp.StatusCode, end.Error)
		}
		return nil
	}
	t.Fatal("a Connect stream ended without its end frame")
	return nil
}

// grpcWeb calls a procedure in gRPC-Web's binary framing and gives each
// message to each.
func grpcWeb(t testing.TB, base, procedure string, in proto.Message, each func(message []byte) error) error {
	t.Helper()
	body, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	resp, answer := post(t, base+procedure, "application/grpc-web+proto", envelope(0, body), "X-Grpc-Web", "1")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("gRPC-Web: HTTP %d: %s", resp.StatusCode, answer)
	}
	trailers := resp.Header // where the whole answer is trailers
	for len(answer) > 0 {
		flags, payload, rest := cutEnvelope(t, answer)
		answer = rest
		if flags&frameTrailer == 0 {
			if err := each(payload); err != nil {
				return err
			}
			continue
		}
		trailers = parseTrailers(payload)
	}
	return grpcWebError(t, resp.StatusCode, trailers)
}

func parseTrailers(block []byte) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(string(block), "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	return h
}

func grpcWebError(t testing.TB, status int, trailers http.Header) error {
	t.Helper()
	switch code := trailers.Get("Grpc-Status"); code {
	case "0":
		return nil
	case "":
		t.Fatal("a gRPC-Web answer has no grpc-status")
		return nil
	default:
		raw := strings.TrimRight(trailers.Get("Grpc-Status-Details-Bin"), "=")
		detail, err := base64.RawStdEncoding.DecodeString(raw)
		if err != nil {
			t.Fatalf("grpc-status-details-bin %q: %v", raw, err)
		}
		return &wireError{httpStatus: status, code: code, message: trailers.Get("Grpc-Message"), grpcDetail: detail}
	}
}

func envelope(flags byte, payload []byte) []byte {
	out := make([]byte, 5, 5+len(payload))
	out[0] = flags
	binary.BigEndian.PutUint32(out[1:], uint32(len(payload)))
	return append(out, payload...)
}

func cutEnvelope(t testing.TB, b []byte) (flags byte, payload, rest []byte) {
	t.Helper()
	if len(b) < 5 {
		t.Fatalf("%d bytes where an envelope should begin", len(b))
	}
	size := int(binary.BigEndian.Uint32(b[1:]))
	if len(b) < 5+size {
		t.Fatalf("an envelope of %d bytes has only %d", size, len(b)-5)
	}
	return b[0], b[5 : 5+size], b[5+size:]
}

func toJSON(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func fromJSON(b []byte, m proto.Message) error {
	if err := protojson.Unmarshal(b, m); err != nil {
		return fmt.Errorf("answer %.200q: %w", b, err)
	}
	return nil
}
