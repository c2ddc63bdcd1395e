//go:build kafkaclients

package kafkaclients

import (
	"strings"
	"testing"

	"moldau.dev/services/test/testcluster"
)

func TestKcatListsAndFindsOffsets(t *testing.T) {
	c := testcluster.Start(t)
	kcat := program{"kcat", "-b", c.KafkaAddr()}
	c.CreateTopic(t, "listed", 3, nil)
	if got := kcat.run(t, "", "-L"); !strings.Contains(got, `topic "listed" with 3 partitions`) {
		t.Errorf("kcat lists\n%s", got)
	}
	kcat.run(t, "a\nb\nc\n", "-t", "listed", "-p", "1", "-P", "-H", "from=here", "-H", "empty=")
	for at, want := range map[string]string{"-2": "offset 0", "-1": "offset 3", "1": "offset 0"} {
		if got := kcat.run(t, "", "-Q", "-t", "listed:1:"+at); !strings.Contains(got, want) {
			t.Errorf("offset at %s: %q, want %s", at, got, want)
		}
	}
	const format = "%o %s %h;"
	if got := kcat.run(t, "", "-t", "listed", "-p", "1", "-C", "-o", "1", "-c", "2", "-f", format, "-q"); got != "1 b from=here,empty=;2 c from=here,empty=;" {
		t.Errorf("kcat read %q", got)
	}
	if got := kcat.run(t, "", "-t", "listed", "-p", "1", "-C", "-o", "s@1", "-o", "e@9999999999999", "-e", "-f", format, "-q"); strings.Count(got, ";") != 3 {
		t.Errorf("kcat read by time %q", got)
	}
}
