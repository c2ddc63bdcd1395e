//go:build kafkadiff

package kafkadiff

const (
	open      = "not mended yet: GAPS.md"
	kafkaFell = "Kafka says nothing, as it ends in an error of its own"
	operation = "the operations allowed on what is not there are not told"
	configs   = "topics have the configs that something here acts on"
)

// explained are the steps whose answers differ, with the reason. One that does
// not differ any more fails the test.
var explained = map[string]string{
	"empty AddPartitionsToTxn":      kafkaFell,
	"produce nothing":               kafkaFell,
	"alter by an unknown operation": "Kafka says UNKNOWN_SERVER_ERROR, for want of a check",
	"describe partitions":           operation,
	"describe groups":               operation,
	"create as the defaults say":    configs,
	"one config of a topic":         "log.retention.ms has a default here; in Kafka only log.retention.hours has",
	"empty ListGroups":              open,
	"empty ElectLeaders":            "topics whose partitions need no election are not named",
	"join without a type":           "Kafka keeps the empty group that a join made which it then refused",
}
