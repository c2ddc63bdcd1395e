package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.dev/services/test/testcluster"
)

var (
	adminListens = regexp.MustCompile(`msg="admin listens" addr=(\S+)`)
	metricName   = regexp.MustCompile(`\bmoldau_[a-z_]+`)
)

// TestDashboardsAndAlertsNameMetricsThatExist: every name in services/deploy/observability
// is one that processes at work tell.
func TestDashboardsAndAlertsNameMetricsThatExist(t *testing.T) {
	c := testcluster.Start(t, testcluster.WithNodes(3))
	work := func(in string, args ...string) {
		t.Helper()
		if got := c.Command(t, strings.NewReader(in), args...); got.Code != 0 {
			t.Fatalf("%v: %s", args, got.Stderr)
		}
	}
	work("", "topic", "create", "t", "-r", "3")
	work("a\nb\n", "produce", "t")
	work("", "consume", "t", "--group", "g", "--from", "start", "--until-end")
	client, err := kgo.NewClient(kgo.SeedBrokers(c.KafkaAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Ping(testcluster.Context(t)); err != nil {
		t.Fatal(err)
	}
	told := scrape(t, c)
	files, err := filepath.Glob("../../deploy/observability/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../deploy/observability/alerts.yml")
	asked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			if asked++; !strings.Contains(told, "\n# TYPE "+name+" ") {
				t.Errorf("%s asks for %s, which nobody tells", filepath.Base(file), name)
			}
		}
	}
	if asked < 20 {
		t.Errorf("only %d metrics are asked for", asked)
	}
}

// scrape returns what all processes of the cluster tell at /metrics.
func scrape(t *testing.T, c *testcluster.Cluster) string {
	t.Helper()
	var told strings.Builder
	for _, listens := range adminListens.FindAllStringSubmatch(c.Log(), -1) {
		resp, err := http.Get("http://" + listens[1] + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		told.WriteString("\n" + string(text))
	}
	return told.String()
}
