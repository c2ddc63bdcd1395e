//go:build kafkaclients

package kafkaclients

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

// client is one client. Records go in as lines of key and value, with a tab
// between, and come out as lines of the header "by", key and value.
type client struct {
	name   string
	codecs []string // that it reads and writes
	// produce appends the records to partition 0 or, by key, to all.
	produce func(t *testing.T, c *testcluster.Cluster, topic, codec, records string)
	// consume reads that many records of partition 0 from the start; with a
	// group, those of all partitions that the group has not read, and commits.
	consume func(t *testing.T, c *testcluster.Cluster, topic string, count int, group string) string
	// member is a command that reads a topic in a group until it is ended; nil
	// where it shares no assignor with the others.
	member func(broker, topic, group string) (program, []string)
	// transact writes the records in transactions, each after one with the same
	// records that it aborts. It and copy are nil where there are none.
	transact func(t *testing.T, c *testcluster.Cluster, topic, records string)
	// copy carries records from one topic to another, in transactions that hold
	// the offsets of the group.
	copy func(t *testing.T, c *testcluster.Cluster, from, to, group string, count int)
	// groupsOnly is set where it cannot read without a group.
	groupsOnly bool
	// blind is set where it hands out aborted records and markers like others.
	blind bool
}

func (c client) knows(codec string) bool { return slices.Contains(c.codecs, codec) }

var allCodecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// forever is more records than any test has.
const forever = 1 << 30

var clients = []client{
	kcat(), scripted("confluent", python("confluent_client.py"), allCodecs), scripted("confluent-go", goProgram("confluent"), allCodecs),
	scripted("kafka-python", python("kafka_python_client.py"), allCodecs), scripted("sarama", goProgram("sarama"), allCodecs), kafkaGo(),
	kafkajs(), javaConsole(), grpcClient(),
}

func kcat() client {
	kcat := program{"kcat", "-X", "isolation.level=read_committed"}
	const format = `%h\t%k\t%s\n`
	member := func(broker, topic, group string) []string {
		return []string{"-b", broker, "-G", group, "-X", "auto.offset.reset=earliest", "-X", "partition.assignment.strategy=range", "-u", "-q", "-f", format, topic}
	}
	return client{
		name: "kcat", codecs: allCodecs,
		produce: func(t *testing.T, c *testcluster.Cluster, topic, codec, records string) {
			kcat.run(t, records, "-b", c.KafkaAddr(), "-t", topic, "-P", "-z", codec, "-K", `\t`, "-H", "by=kcat")
		},
		consume: func(t *testing.T, c *testcluster.Cluster, topic string, count int, group string) string {
			if group != "" {
				return kcat.run(t, "", append([]string{"-c", strconv.Itoa(count)}, member(c.KafkaAddr(), topic, group)...)...)
			}
			return kcat.run(t, "", "-b", c.KafkaAddr(), "-t", topic, "-p", "0", "-C", "-o", "beginning", "-c", strconv.Itoa(count), "-q", "-f", format)
		},
		member: func(broker, topic, group string) (program, []string) { return kcat, member(broker, topic, group) },
	}
}

// scripted is one of the clients in testdata, which all have the same verbs.
func scripted(name string, p program, codecs []string) client {
	return client{
		name: name, codecs: codecs,
		produce: func(t *testing.T, c *testcluster.Cluster, topic, codec, records string) {
			p.run(t, records, "produce", c.KafkaAddr(), topic, codec)
		},
		consume: func(t *testing.T, c *testcluster.Cluster, topic string, count int, group string) string {
			return p.run(t, "", "consume", c.KafkaAddr(), topic, strconv.Itoa(count), group)
		},
		member: func(broker, topic, group string) (program, []string) {
			return p, []string{"consume", broker, topic, strconv.Itoa(forever), group}
		},
		transact: func(t *testing.T, c *testcluster.Cluster, topic, records string) {
			p.run(t, records, "transact", c.KafkaAddr(), topic)
		},
		copy: func(t *testing.T, c *testcluster.Cluster, from, to, group string, count int) {
			p.run(t, "", "copy", c.KafkaAddr(), from, to, group, strconv.Itoa(count))
		},
	}
}

func kafkaGo() client {
	c := scripted("kafka-go", goProgram("kafka-go"), allCodecs)
	c.transact, c.copy, c.blind = nil, nil, true
	return c
}

func kafkajs() client {
	c := scripted("kafkajs", node("kafkajs_client.js"), []string{"none", "gzip", "snappy"})
	c.member, c.groupsOnly = nil, true
	return c
}

func javaConsole() client {
	producer, consumer := java("org.apache.kafka.tools.ConsoleProducer"), java("org.apache.kafka.tools.consumer.ConsoleConsumer")
	args := func(broker, topic string, more ...string) []string {
		return append([]string{
			"--bootstrap-server", broker, "--topic", topic, "--isolation-level", "read_committed",
			"--formatter-property", "print.headers=true", "--formatter-property", "print.key=true",
		}, more...)
	}
	return client{
		name: "java", codecs: allCodecs,
		produce: func(t *testing.T, c *testcluster.Cluster, topic, codec, records string) {
			lines := split(records)
			for i, line := range lines {
				lines[i] = "by:java\t" + line
			}
			producer.run(t, join(lines), "--bootstrap-server", c.KafkaAddr(), "--topic", topic, "--compression-codec", codec,
				"--reader-property", "parse.headers=true", "--reader-property", "parse.key=true")
		},
		consume: func(t *testing.T, c *testcluster.Cluster, topic string, count int, group string) string {
			more := []string{"--max-messages", strconv.Itoa(count)}
			if group != "" {
				more = append(more, "--group", group, "--from-beginning")
			} else {
				more = append(more, "--partition", "0", "--offset", "earliest")
			}
			return asOthers(consumer.run(t, "", args(c.KafkaAddr(), topic, more...)...))
		},
		member: func(broker, topic, group string) (program, []string) {
			return consumer, args(broker, topic, "--group", group, "--from-beginning", "--command-property",
				"partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor")
		},
	}
}

// asOthers has headers look as other clients print them.
func asOthers(lines string) string { return strings.ReplaceAll("\n"+lines, "\nby:", "\nby=")[1:] }

// grpcClient is the platform's own API, the other side of the same topics.
func grpcClient() client {
	return client{
		name: "grpc", codecs: allCodecs,
		produce: func(t *testing.T, c *testcluster.Cluster, topic, _, records string) {
			req := &pb.ProduceRequest{Topic: topic}
			for _, line := range split(records) {
				key, value, _ := strings.Cut(line, "\t")
				req.Records = append(req.Records, &pb.Record{Key: []byte(key), Value: []byte(value), Headers: []*pb.Header{{Key: "by", Value: []byte("grpc")}}})
			}
			if _, err := c.Produce(t).Produce(testcluster.Context(t), req); err != nil {
				t.Fatalf("grpc: produce: %v", err)
			}
		},
		consume: func(t *testing.T, c *testcluster.Cluster, topic string, _ int, _ string) string {
			return readAll(t, c, topic)
		},
	}
}

// readAll reads a topic to its end through the platform's own API.
func readAll(t *testing.T, c *testcluster.Cluster, topic string) string {
	t.Helper()
	stream, err := c.Read(t).Read(testcluster.Context(t), &pb.ReadRequest{
		UntilEnd: true, ReadCommitted: true, Topics: []*pb.ReadTopic{{Topic: topic, Position: &pb.Position{At: &pb.Position_Start{Start: true}}}},
	})
	if err != nil {
		t.Fatalf("grpc: read: %v", err)
	}
	var out strings.Builder
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatalf("grpc: read: %v", err)
		}
		for _, r := range frame.GetRecords().GetRecords() {
			fmt.Fprintf(&out, "%s=%s\t%s\t%s\n", r.GetHeaders()[0].GetKey(), r.GetHeaders()[0].GetValue(), r.GetKey(), r.GetValue())
		}
	}
}
