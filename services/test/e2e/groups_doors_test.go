package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/proto/gen/moldau/v1/moldauv1connect"
)

// consumeDoor opens a Consume stream, and commits, at one door.
type consumeDoor struct {
	name   string
	open   func(context.Context, *pb.ConsumeRequest) (func() (*pb.ConsumeResponse, error), error)
	commit func(context.Context, *pb.CommitRequest) (*pb.CommitResponse, error)
}

func grpcConsume(client pb.ConsumeServiceClient) consumeDoor {
	return consumeDoor{
		name: "gRPC",
		open: func(ctx context.Context, req *pb.ConsumeRequest) (func() (*pb.ConsumeResponse, error), error) {
			stream, err := client.Consume(ctx, req)
			if err != nil {
				return nil, err
			}
			return stream.Recv, nil
		},
		commit: func(ctx context.Context, req *pb.CommitRequest) (*pb.CommitResponse, error) {
			return client.Commit(ctx, req)
		},
	}
}

// connectConsume is what a page does with fetch().
func connectConsume(base string) consumeDoor {
	return consumeDoor{
		name: "Connect",
		open: func(ctx context.Context, req *pb.ConsumeRequest) (func() (*pb.ConsumeResponse, error), error) {
			body, err := protojson.Marshal(req)
			if err != nil {
				return nil, err
			}
			return openEnvelopes(ctx, base, "application/connect+json", body, frameEnd, func(b []byte, m proto.Message) error { return protojson.Unmarshal(b, m) })
		},
		commit: func(ctx context.Context, req *pb.CommitRequest) (*pb.CommitResponse, error) {
			body, err := protojson.Marshal(req)
			if err != nil {
				return nil, err
			}
			answer, err := postLong(ctx, base+moldauv1connect.ConsumeServiceCommitProcedure, "application/json", body)
			return readCommit(answer, err, protojson.Unmarshal)
		},
	}
}

func grpcWebConsume(base string) consumeDoor {
	return consumeDoor{
		name: "gRPC-Web",
		open: func(ctx context.Context, req *pb.ConsumeRequest) (func() (*pb.ConsumeResponse, error), error) {
			body, err := proto.Marshal(req)
			if err != nil {
				return nil, err
			}
			return openEnvelopes(ctx, base, "application/grpc-web+proto", body, frameTrailer, proto.Unmarshal)
		},
		commit: func(ctx context.Context, req *pb.CommitRequest) (*pb.CommitResponse, error) {
			body, err := proto.Marshal(req)
			if err != nil {
				return nil, err
			}
			answer, err := postLong(ctx, base+moldauv1connect.ConsumeServiceCommitProcedure, "application/grpc-web+proto", envelope(0, body))
			return readCommit(answer, err, func(b []byte, m proto.Message) error {
				if len(b) < 5 || b[0] != 0 {
					return fmt.Errorf("no message in %q", b)
				}
				return proto.Unmarshal(b[5:5+binary.BigEndian.Uint32(b[1:])], m)
			})
		},
	}
}

// restConsume is what curl does.
func restConsume(base string) consumeDoor {
	return consumeDoor{
		name: "REST",
		open: func(ctx context.Context, req *pb.ConsumeRequest) (func() (*pb.ConsumeResponse, error), error) {
			body, err := protojson.Marshal(req)
			if err != nil {
				return nil, err
			}
			answer, err := postLong(ctx, base+"/v1/groups/"+req.GetGroupId()+":consume", "application/json", body)
			if err != nil {
				return nil, err
			}
			lines := bufio.NewReader(answer)
			return func() (*pb.ConsumeResponse, error) {
				line, err := lines.ReadBytes('\n')
				if err != nil {
					return nil, err
				}
				var frame struct{ Result, Error json.RawMessage }
				if err := json.Unmarshal(line, &frame); err != nil || frame.Error != nil {
					return nil, fmt.Errorf("%s: %w", line, err)
				}
				m := new(pb.ConsumeResponse)
				return m, protojson.Unmarshal(frame.Result, m)
			}, nil
		},
		commit: func(ctx context.Context, req *pb.CommitRequest) (*pb.CommitResponse, error) {
			body, err := protojson.Marshal(req)
			if err != nil {
				return nil, err
			}
			answer, err := postLong(ctx, base+"/v1/groups/"+req.GetGroupId()+"/members/"+req.GetMemberId()+":commit", "application/json", body)
			return readCommit(answer, err, protojson.Unmarshal)
		},
	}
}

func readCommit(answer io.ReadCloser, err error, decode func([]byte, proto.Message) error) (*pb.CommitResponse, error) {
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	body, err := io.ReadAll(answer)
	if err != nil {
		return nil, err
	}
	m := new(pb.CommitResponse)
	return m, decode(body, m)
}

// postLong returns the answer's body while it comes.
func postLong(ctx context.Context, url, contentType string, body []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(resp.Body)
		return nil, errors.Join(fmt.Errorf("HTTP %d: %s", resp.StatusCode, said), resp.Body.Close())
	}
	return resp.Body, nil
}

// openEnvelopes reads a stream of envelopes until the one with the last flag.
func openEnvelopes(ctx context.Context, base, contentType string, body []byte, last byte, decode func([]byte, proto.Message) error) (func() (*pb.ConsumeResponse, error), error) {
	answer, err := postLong(ctx, base+moldauv1connect.ConsumeServiceConsumeProcedure, contentType, envelope(0, body))
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(answer)
	return func() (*pb.ConsumeResponse, error) {
		head := make([]byte, 5)
		if _, err := io.ReadFull(in, head); err != nil {
			return nil, err
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(in, payload); err != nil {
			return nil, err
		}
		if head[0]&last != 0 {
			return nil, fmt.Errorf("the stream ends: %q: %w", payload, io.EOF)
		}
		m := new(pb.ConsumeResponse)
		return m, decode(payload, m)
	}, nil
}
