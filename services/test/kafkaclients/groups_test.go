//go:build kafkaclients

package kafkaclients

import (
	"bufio"
	"context"
	"io"
	"maps"
	"strconv"
	"sync"
	"testing"

	"moldau.dev/services/test/testcluster"
)

// TestClientsGoOnWhereOthersOfTheirGroupStopped has each client in turn read
// some more records in one group, of both protocols, and commit: together they
// read all of them, each once.
func TestClientsGoOnWhereOthersOfTheirGroupStopped(t *testing.T) {
	c := testcluster.Start(t)
	records := accessLog(t)
	c.CreateTopic(t, "relay", 4, keepForever)
	clients[0].produce(t, c, "relay", "gzip", join(records))
	runners := []client{}
	for _, r := range clients {
		if r.name != "grpc" {
			runners = append(runners, r)
		}
	}
	runners = append(runners, nextGeneration()...)
	var got string
	for i, r := range runners {
		got += r.consume(t, c, "relay", (i+1)*len(records)/len(runners)-i*len(records)/len(runners), "relay")
	}
	requireSameSet(t, "the group", got, by("kcat", records))
}

// nextGeneration are the clients that have the protocol of KIP-848.
func nextGeneration() []client {
	consumer, classic := java("org.apache.kafka.tools.consumer.ConsoleConsumer"), javaConsole()
	scripted := func(name string, p program) client {
		return client{name: name, consume: func(t *testing.T, c *testcluster.Cluster, topic string, count int, group string) string {
			return p.run(t, "", "consume", c.KafkaAddr(), topic, strconv.Itoa(count), group, "consumer")
		}, member: func(broker, topic, group string) (program, []string) {
			return p, []string{"consume", broker, topic, strconv.Itoa(forever), group, "consumer"}
		}}
	}
	return []client{
		scripted("confluent, consumer protocol", python("confluent_client.py")), scripted("confluent-go, consumer protocol", goProgram("confluent")),
		{name: "java, consumer protocol", consume: func(t *testing.T, c *testcluster.Cluster, topic string, count int, group string) string {
			_, args := classic.member(c.KafkaAddr(), topic, group)
			args = append(args[:len(args)-2:len(args)-2], "--command-property", "group.protocol=consumer", "--max-messages", strconv.Itoa(count))
			return asOthers(consumer.run(t, "", args...))
		}, member: func(broker, topic, group string) (program, []string) {
			_, args := classic.member(broker, topic, group)
			return consumer, append(args[:len(args)-2:len(args)-2], "--command-property", "group.protocol=consumer")
		}},
	}
}

// TestClientsShareAGroup has clients of several makers read at the same time in
// one group, while records come.
func TestClientsShareAGroup(t *testing.T) {
	c := testcluster.Start(t)
	records := accessLog(t)
	classic := []client{}
	for _, m := range clients {
		if m.member != nil {
			classic = append(classic, m)
		}
	}
	for name, members := range map[string][]client{"classic": classic, "consumer": nextGeneration(), "both": append(nextGeneration(), classic...)} {
		t.Run(name, func(t *testing.T) {
			topic := "shared-" + name
			c.CreateTopic(t, topic, 8, keepForever)
			missing := map[string]bool{}
			for _, r := range by("kcat", records) {
				missing[r] = true
			}
			ctx, cancel := context.WithTimeout(testcluster.Context(t), patience)
			defer cancel()
			lines := start(t, ctx, c.KafkaAddr(), topic, members)
			for i := range 4 {
				clients[0].produce(t, c, topic, "lz4", join(records[i*len(records)/4:(i+1)*len(records)/4]))
			}
			for len(missing) > 0 {
				select {
				case line := <-lines:
					delete(missing, line)
				case <-ctx.Done():
					for r := range maps.Keys(missing) {
						t.Fatalf("%d records never came, one is %q", len(missing), r)
					}
				}
			}
		})
	}
}

// start runs the members and returns the records that they print, until ctx
// ends.
func start(t *testing.T, ctx context.Context, broker, topic string, members []client) <-chan string {
	lines := make(chan string)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(func() { cancel(); wg.Wait() })
	for _, m := range members {
		p, args := m.member(broker, topic, topic)
		cmd := p.cmd(ctx, "", args...)
		out, in := io.Pipe()
		cmd.Stdout = in
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _ = cmd.Wait(); _ = in.Close() }) // it is killed
		wg.Go(func() {
			defer out.Close() //nolint:errcheck // of a pipe in memory
			for s := bufio.NewScanner(out); s.Scan(); {
				select {
				case lines <- asOthers(s.Text()):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return lines
}
