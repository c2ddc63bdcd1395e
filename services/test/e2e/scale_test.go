//go:build scale

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/clock"
	"moldau.dev/services/test/testcluster"
)

// scaleReport is what TestTenThousandPartitions prints.
type scaleReport struct {
	Partitions     int     `json:"partitions"`
	CreateSeconds  float64 `json:"create_seconds"`
	FirstSeconds   float64 `json:"first_record_to_each_seconds"`
	RestartSeconds float64 `json:"restart_seconds"` // start of the process to readiness, after kill -9
	OpenFiles      int     `json:"open_files_idle"`
	OpenFilesUsed  int     `json:"open_files_after_a_record_to_each"`
	OpenFilesAfter int     `json:"open_files_after_restart"`
	ResidentBytes  int64   `json:"resident_bytes_idle"`
	ResidentUsed   int64   `json:"resident_bytes_after_a_record_to_each"`
	ResidentAfter  int64   `json:"resident_bytes_after_restart"`
}

// TestTenThousandPartitions measures what 10,000 partitions cost one node and
// requires that each of them works, before and after a kill.
func TestTenThousandPartitions(t *testing.T) {
	const topics, each = 10, 1000
	clk := clock.Real()
	seconds := func(work func()) float64 {
		began := clk.Now()
		work()
		return clk.Now().Sub(began).Seconds()
	}
	c := testcluster.Start(t)
	report := scaleReport{Partitions: topics * each}
	report.CreateSeconds = seconds(func() {
		for i := range topics {
			c.CreateTopic(t, fmt.Sprintf("t%d", i), each, nil)
		}
	})
	report.OpenFiles, report.ResidentBytes = c.OpenFiles(t), c.ResidentBytes(t)
	report.FirstSeconds = seconds(func() { produceToEach(t, c, topics, each) })
	report.OpenFilesUsed, report.ResidentUsed = c.OpenFiles(t), c.ResidentBytes(t)
	c.Kill()
	report.RestartSeconds = seconds(func() { c.Restart(t) })
	report.OpenFilesAfter, report.ResidentAfter = c.OpenFiles(t), c.ResidentBytes(t)
	for i := range topics {
		if got := len((grpcDoor{c}).read(t, fmt.Sprintf("t%d", i), each)); got != each {
			t.Errorf("topic %d holds %d records, want one in each of %d partitions", i, got, each)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		t.Fatal(err)
	}
}

func produceToEach(t *testing.T, c *testcluster.Cluster, topics int, each int32) {
	t.Helper()
	client, ctx := c.Produce(t), testcluster.Context(t)
	for i := range topics {
		for p := range each {
			resp, err := client.Produce(ctx, &pb.ProduceRequest{Topic: fmt.Sprintf("t%d", i), Partition: &p, Records: []*pb.Record{{Value: []byte("x")}}})
			requireAppended(t, resp, err)
		}
	}
}
