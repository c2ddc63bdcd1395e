//go:build kafkaclients

package kafkaclients

import (
	"testing"

	"moldau.dev/services/test/testcluster"
)

// keepForever holds records however old a client says that they are.
var keepForever = map[string]string{"retention.ms": "-1"}

// TestEachClientReadsWhatTheOthersWrote has all clients append to one topic a
// codec, and each read all of it: key, value, header and order must be what they
// were, to the byte.
func TestEachClientReadsWhatTheOthersWrote(t *testing.T) {
	c := testcluster.Start(t)
	log := accessLog(t)
	for i, codec := range allCodecs {
		records := log[i*len(log)/len(allCodecs) : (i+1)*len(log)/len(allCodecs)]
		topic := "codec-" + codec
		c.CreateTopic(t, topic, 1, keepForever)
		var want []string
		for _, from := range clients {
			if from.knows(codec) {
				from.produce(t, c, topic, codec, join(records))
				want = append(want, by(from.name, records)...)
			}
		}
		for _, to := range clients {
			if !to.knows(codec) {
				continue
			}
			group := ""
			if to.groupsOnly {
				group = "reads-" + codec
			}
			requireSame(t, to.name+" reads "+topic, to.consume(t, c, topic, len(want), group), want)
		}
	}
}

// TestTransactionsOfEachClientAreAllOrNothingToTheOthers has them write in
// transactions, and abort one before each.
func TestTransactionsOfEachClientAreAllOrNothingToTheOthers(t *testing.T) {
	c := testcluster.Start(t)
	records := accessLog(t)[:1000]
	for _, from := range clients {
		if from.transact == nil {
			continue
		}
		topic := "transactions-" + from.name
		c.CreateTopic(t, topic, 1, keepForever)
		from.transact(t, c, topic, join(records))
		want := by(from.name, records)
		for _, to := range clients {
			if to.blind {
				continue
			}
			group := ""
			if to.groupsOnly {
				group = topic
			}
			requireSame(t, to.name+" reads "+topic, to.consume(t, c, topic, len(want), group), want)
		}
	}
}

// TestEachClientCopiesExactlyOnce has them carry records from topic to topic in
// two runs, the offsets in the same transactions as the records: the second
// goes on where the first has ended.
func TestEachClientCopiesExactlyOnce(t *testing.T) {
	c := testcluster.Start(t)
	records := accessLog(t)[:1000]
	c.CreateTopic(t, "source", 4, keepForever)
	clients[0].produce(t, c, "source", "gzip", join(records))
	for _, copier := range clients {
		if copier.copy == nil {
			continue
		}
		topic := "copied-by-" + copier.name
		c.CreateTopic(t, topic, 1, keepForever)
		for range 2 {
			copier.copy(t, c, "source", topic, topic, len(records)/2)
		}
		requireSameSet(t, copier.name+" copies", readAll(t, c, topic), by(copier.name, records))
	}
}
