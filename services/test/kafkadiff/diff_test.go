//go:build kafkadiff

package kafkadiff

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.dev/services/test/apachekafka"
	"moldau.dev/services/test/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

// step is a request that both brokers are asked in the lowest, the middle and
// the highest version that both serve, or of a range of them.
type step struct {
	name     string
	from, to int16 // to 0 is all versions
	make     func(s *side) kmsg.Request
}

// TestAnswersAreKafkas walks all steps in order on both sides.
func TestAnswersAreKafkas(t *testing.T) {
	kafka := &side{t: t, name: "Kafka", addr: apachekafka.Start(t, 1, 512, "auto.create.topics.enable=false", "offsets.topic.replication.factor=1",
		"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "group.initial.rebalance.delay.ms=0").Addr}
	ours := &side{t: t, name: "moldau", addr: testcluster.Start(t).KafkaAddr()}
	sides := []*side{kafka, ours}
	ranges := map[int16][2]int16{}
	for i, s := range sides {
		req := kmsg.NewPtrApiVersionsRequest()
		for _, k := range must[*kmsg.ApiVersionsResponse](s, req).ApiKeys {
			if r, there := ranges[k.ApiKey]; i == 0 {
				ranges[k.ApiKey] = [2]int16{k.MinVersion, k.MaxVersion}
			} else if there {
				both[k.ApiKey] = [2]int16{max(r[0], k.MinVersion), min(r[1], k.MaxVersion)}
			}
		}
		s.prepare()
	}
	compared, seen := 0, map[string]bool{}
	for _, st := range slices.Concat(defaults(), topics, records, groups, transactions, admin) {
		bounds, there := both[st.make(kafka).Key()]
		if !there {
			continue
		}
		if bounds[0] = max(bounds[0], st.from); st.make(kafka).Key() == 0 {
			bounds[0] = max(bounds[0], 3) // lower ones are only advertised
		}
		if st.to > 0 {
			bounds[1] = min(bounds[1], st.to)
		}
		for _, version := range slices.Compact([]int16{bounds[0], (bounds[0] + bounds[1]) / 2, bounds[1]}) {
			var told [2]string
			for i, s := range sides {
				req := st.make(s)
				req.SetVersion(version)
				told[i] = s.told(req)
			}
			compared++
			if told[0] == told[1] {
				continue
			}
			difference := fmt.Sprintf("%s %s version %d:\n%s", kmsg.NameForKey(st.make(kafka).Key()), st.name, version, differences(told[0], told[1]))
			if why := explained[st.name]; why != "" {
				seen[st.name] = true
				t.Logf("as explained (%s): %s", why, difference)
				continue
			}
			t.Error(difference)
		}
	}
	for name := range explained {
		if !seen[name] {
			t.Errorf("%q is explained, and does not differ", name)
		}
	}
	t.Logf("%d answers compared, %d steps differ as explained", compared, len(seen))
}

// both are the versions that both brokers serve, by key.
var both = map[int16][2]int16{}

// prepare creates what the steps ask about, alike on both sides.
func (s *side) prepare() {
	s.t.Helper()
	s.ids = map[string][16]byte{}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10_000
	for _, name := range []string{"plain", "compacted", "stamped", "doomed"} {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 2, 1
		for k, v := range map[string]map[string]string{
			"plain": {"retention.ms": "-1"}, "compacted": {"cleanup.policy": "compact"}, "stamped": {"message.timestamp.type": "LogAppendTime"},
		}[name] {
			config := kmsg.NewCreateTopicsRequestTopicConfig()
			config.Name, config.Value = k, &v
			topic.Configs = append(topic.Configs, config)
		}
		req.Topics = append(req.Topics, topic)
	}
	for _, topic := range must[*kmsg.CreateTopicsResponse](s, req).Topics {
		if topic.ErrorCode != 0 {
			s.t.Fatalf("%s: create %s: code %d", s.name, topic.Topic, topic.ErrorCode)
		}
		s.ids[topic.Topic] = topic.TopicID
	}
	s.awaitLeaders()
	s.awaitCoordinators()
}

// awaitLeaders asks until the new partitions are led.
func (s *side) awaitLeaders() {
	s.t.Helper()
	for name := range s.ids {
		for partition := range int32(2) {
			s.until("lead "+name, func() int16 {
				req := listOffsets(name, partition, -1)
				req.Version = 1
				return must[*kmsg.ListOffsetsResponse](s, req).Topics[0].Partitions[0].ErrorCode
			})
		}
	}
}

// awaitCoordinators asks until groups and transactions have a coordinator that
// answers.
func (s *side) awaitCoordinators() {
	s.t.Helper()
	s.until("init a transaction", func() int16 {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.Version, find.CoordinatorKey, find.CoordinatorType = 1, "ready", 1
		must[*kmsg.FindCoordinatorResponse](s, find)
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionalID, req.TransactionTimeoutMillis = kmsg.StringPtr("ready"), 10_000
		return must[*kmsg.InitProducerIDResponse](s, req).ErrorCode
	})
	s.until("commit an offset", func() int16 {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.CoordinatorKey = "ready"
		must[*kmsg.FindCoordinatorResponse](s, find)
		req := commit("ready", "", -1, "plain", 0)
		req.Version = 5
		return must[*kmsg.OffsetCommitResponse](s, req).Topics[0].Partitions[0].ErrorCode
	})
	s.until("get a producer id", func() int16 {
		req := kmsg.NewPtrInitProducerIDRequest()
		s.producer = *must[*kmsg.InitProducerIDResponse](s, req)
		return s.producer.ErrorCode
	})
}

// until asks again until the code is none.
func (s *side) until(what string, ask func() int16) {
	s.t.Helper()
	var code int16
	for deadline := time.Now().Add(4 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if code = ask(); code == 0 {
			return
		}
	}
	s.t.Fatalf("%s does not %s: code %d", s.name, what, code)
}

// defaults are the requests of every API as the codec makes them when nothing
// is said.
func defaults() (list []step) {
	skip := []int16{0, 1, 3, 18, 32, 35, 50, 60, 64, 71, 72, 74} // shown by steps of their own, or all of a broker
	for key := range int16(kmsg.MaxKey) + 1 {
		if _, there := both[key]; !there || slices.Contains(skip, key) {
			continue
		}
		list = append(list, step{name: fmt.Sprintf("empty %s", kmsg.NameForKey(key)), make: func(*side) kmsg.Request { return kmsg.RequestForKey(key) }})
	}
	return list
}
