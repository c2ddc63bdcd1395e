package kafka

import (
	"context"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The keys that something here asks for by name.
const (
	keyProduce     int16 = 0
	keyApiVersions int16 = 18
)

// api is one row of the table: what is served of one key.
type api struct {
	key      int16
	name     string
	min, max int16 // served
	// advertised, where set, is the lowest version in ApiVersions.
	advertised *int16
	flexible   int16 // first version with compact lengths and tagged fields
	// coordinated APIs are offered only where the gateway has a door to
	// coordinators.
	coordinated bool
	shape       shape // unless serve decodes by hand
	serve       handler
}

// neverFlexible is the first flexible version of an API that has none.
const neverFlexible int16 = math.MaxInt16

// handler serves one request. A nil response says nothing to the client; an
// error closes the connection.
type handler func(c *conn, ctx context.Context, req *request) (*response, error)

func (a *api) serves(version int16) bool { return version >= a.min && version <= a.max }

// apis is THE table, by key. ApiVersions and the check of every request read
// it, so that they cannot disagree. Upper bounds are those of Kafka 4.3 at
// most; a test compares them with kversion's.
var apis []api

// byKey finds rows; a row's pointer stays good.
var byKey = map[int16]*api{}

func init() { // not initialisers: ApiVersions shows the table that it is in
	apis = []api{
		produceAPI(), fetchAPI(), listOffsetsAPI(), metadataAPI(), offsetCommitAPI(), offsetFetchAPI(), findCoordinatorAPI(), joinGroupAPI(),
		heartbeatAPI(), leaveGroupAPI(), syncGroupAPI(), describeGroupsAPI(), listGroupsAPI(), apiVersionsAPI(), createTopicsAPI(),
		deleteTopicsAPI(), deleteRecordsAPI(), initProducerIDAPI(), offsetForLeaderEpochAPI(), addPartitionsToTxnAPI(), addOffsetsToTxnAPI(),
		endTxnAPI(), writeTxnMarkersAPI(), txnOffsetCommitAPI(), describeConfigsAPI(), alterConfigsAPI(), alterReplicaLogDirsAPI(),
		describeLogDirsAPI(), createPartitionsAPI(), deleteGroupsAPI(), electLeadersAPI(), incrementalAlterConfigsAPI(),
		alterPartitionReassignmentsAPI(), listPartitionReassignmentsAPI(), offsetDeleteAPI(),
		describeClientQuotasAPI(), alterClientQuotasAPI(), updateFeaturesAPI(), describeClusterAPI(),
		describeProducersAPI(), unregisterBrokerAPI(), describeTransactionsAPI(), listTransactionsAPI(), consumerGroupHeartbeatAPI(),
		consumerGroupDescribeAPI(), listConfigResourcesAPI(), describeTopicPartitionsAPI(),
	}
	for i := range apis {
		byKey[apis[i].key] = &apis[i]
	}
}

func find(key int16) *api { return byKey[key] }

// offers tells whether an API is there for clients of this gateway.
func (s *Server) offers(a *api) bool { return !a.coordinated || s.coordinators != nil }

// coded makes a handler of one that takes and returns the codec's messages, and
// that is done within CallTimeout.
func coded[Req any, Resp kmsg.Response, P message[Req]](serve func(c *conn, ctx context.Context, req P) Resp) handler {
	return waiting(func(c *conn, ctx context.Context, req P) Resp {
		ctx, cancel := context.WithTimeout(ctx, c.s.cfg.CallTimeout)
		defer cancel()
		return serve(c, ctx, req)
	})
}

// waiting is coded for one that bounds its time itself.
func waiting[Req any, Resp kmsg.Response, P message[Req]](serve func(c *conn, ctx context.Context, req P) Resp) handler {
	return func(c *conn, ctx context.Context, r *request) (*response, error) {
		in := P(new(Req))
		if err := r.decode(in); err != nil {
			return nil, err
		}
		out := serve(c, ctx, in)
		if told, can := kmsg.Response(out).(kmsg.SetThrottleResponse); can {
			told.SetThrottle(c.throttleMillis())
		}
		return r.encode(out), nil
	}
}

// message is a pointer to a request of the codec.
type message[Req any] interface {
	*Req
	kmsg.Request
}
