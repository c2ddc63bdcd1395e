package coordinatorclient

import "testing"

// TestShardsAreThoseOfKafka has the absolute values that a JVM gives for
// id.hashCode(), and Kafka's exception for Integer.MIN_VALUE.
func TestShardsAreThoseOfKafka(t *testing.T) {
	for id, hash := range map[string]int32{
		"": 0, "a": 97, "hello": 99162322, "my-group": 1906497762, "console-consumer-12345": 158455506,
		"größe": 98762257, "𝄞": 1772394, "polygenelubricants": 0,
	} {
		for _, n := range []int{1, 7, 50, 1000} {
			if got, want := ShardOf(id, n), hash%int32(n); got != want {
				t.Errorf("%q of %d: %d, want %d", id, n, got, want)
			}
		}
	}
}
