package kafka_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchAll is a Fetch of the first n partitions of a topic, from their start.
func fetchAll(topic string, n int32) *kmsg.FetchRequest {
	req := fetchOf(topic, 0, 0)
	for i := int32(1); i < n; i++ {
		part := req.Topics[0].Partitions[0]
		part.Partition = i
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
	}
	return req
}

// TestItem34AParkedFetchIsAnsweredByAnAppend waits for a minute at the server
// and for less at the client: without the append nothing would come.
func TestItem34AParkedFetchIsAnsweredByAnAppend(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			c := newCluster(t, storageNodes(nodes))
			c.topic("live", 6, nil)
			for i := range int32(6) {
				w := dial(t, c.addr)
				req := fetchAll("live", 6)
				req.MaxWaitMillis, req.MinBytes = 60_000, 1
				for j := range i {
					req.Topics[0].Partitions[j].FetchOffset = 1
				}
				w.write(req)
				if got := ask[*kmsg.ProduceResponse](c, produceOf("live", i, batch("x"))); got.Topics[0].Partitions[0].ErrorCode != 0 {
					t.Fatalf("got %+v", got)
				}
				_, body, err := w.read()
				check(t, err)
				for _, p := range must(parse(req, body)).(*kmsg.FetchResponse).Topics[0].Partitions {
					if has := len(p.RecordBatches) > 0; p.ErrorCode != 0 || has != (p.Partition == i) {
						t.Errorf("partition %d of append %d: code %d, %d bytes", p.Partition, i, p.ErrorCode, len(p.RecordBatches))
					}
				}
			}
		})
	}
}
