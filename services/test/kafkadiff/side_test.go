//go:build kafkadiff

package kafkadiff

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// side is one of the two brokers, with a connection to it.
type side struct {
	t    *testing.T
	name string
	addr string
	conn net.Conn
	ids  map[string][16]byte // of topics, by name
	next int32

	producer kmsg.InitProducerIDResponse
}

// patience is how long a broker has for an answer.
const patience = 20 * time.Second

func (s *side) dial() {
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
	s.conn = conn
}

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("diff"))

// errClosed is the answer of a broker that closes the connection.
var errClosed = errors.New("the connection is closed")

// ask sends a request in the version that it carries.
func (s *side) ask(req kmsg.Request) (kmsg.Response, error) {
	if s.conn == nil {
		s.dial()
	}
	s.next++
	_ = s.conn.SetDeadline(time.Now().Add(patience)) // a connection that is gone says so next
	var prefix [8]byte
	_, err := s.conn.Write(formatter.AppendRequest(nil, req, s.next))
	if err == nil {
		_, err = io.ReadFull(s.conn, prefix[:])
	}
	if err != nil {
		_ = s.conn.Close()
		s.conn = nil
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			return nil, errors.New("no answer")
		}
		return nil, errClosed
	}
	body := make([]byte, binary.BigEndian.Uint32(prefix[:])-4)
	if _, err := io.ReadFull(s.conn, body); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	if req.IsFlexible() && req.Key() != 18 {
		body = body[1:]
	}
	return resp, resp.ReadFrom(body)
}

// must is ask where both brokers must answer.
func must[R kmsg.Response](s *side, req kmsg.Request) R {
	s.t.Helper()
	resp, err := s.ask(req)
	if err != nil {
		s.t.Fatalf("%s: %T: %v", s.name, req, err)
	}
	return resp.(R)
}

// passing fields differ between any two clusters, or from run to run. Messages
// are for people: only codes are compared.
var passing = map[string]bool{
	"ThrottleMillis": true, "ErrorMessage": true, "Host": true, "Port": true, "ClusterID": true, "TopicID": true, "Version": true,
	"Timestamp": true, "LogAppendTime": true, "ProducerID": true, "UnknownTags": true, "Documentation": true, "MemberID": true,
	"FinalizedFeaturesEpoch": true, "Dir": true, "Size": true, "TotalBytes": true, "UsableBytes": true, "CoordinatorEpoch": true,
	"RecordBatches": true, "LastTimestamp": true, "CurrentTxnStartOffset": true,
}

// told writes an answer without what passes, a field a line.
func (s *side) told(req kmsg.Request) string {
	resp, err := s.ask(req)
	if err != nil {
		return err.Error()
	}
	text, err := json.Marshal(resp)
	if err != nil {
		s.t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		s.t.Fatal(err)
	}
	text, _ = json.MarshalIndent(prune(tree), "", " ") // of what was just read
	return string(text)
}

func prune(tree any) any {
	switch v := tree.(type) {
	case map[string]any:
		for name := range v {
			if passing[name] {
				delete(v, name)
				continue
			}
			v[name] = prune(v[name])
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
		if len(v) == 0 {
			return nil
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) // Kafka's order is that of a hash
	}
	return tree
}

// differences are the lines that only one of two texts has.
func differences(kafka, ours string) string {
	a, b := strings.Split(kafka, "\n"), strings.Split(ours, "\n")
	if len(a) != len(b) {
		return fmt.Sprintf("Kafka: %s\nmoldau: %s", kafka, ours)
	}
	var out strings.Builder
	for i := range a {
		if a[i] != b[i] {
			fmt.Fprintf(&out, "line %d: Kafka:%s  moldau:%s\n", i, a[i], b[i])
		}
	}
	return out.String()
}
