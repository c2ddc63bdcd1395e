package quota

import (
	"fmt"
	"math"
	"testing"
	"time"
)

func settings(rules ...any) map[string]string {
	s := map[string]string{"num.partitions": "3"}
	for i := 0; i < len(rules); i += 3 {
		s[Setting(rules[i].(Entity), rules[i+1].(string))] = Value(rules[i+2].(float64))
	}
	return s
}

func TestRulesSurviveTheirSettings(t *testing.T) {
	for _, e := range []Entity{
		{User: "alice"}, {User: Default}, {ClientID: "a.b,c=d*"}, {User: "*", ClientID: Default}, {IP: "::1"}, {User: "ü /", ClientID: "x"},
	} {
		r := Parse(settings(e, ProducerBytes, 1024.5))
		if len(r.All()) != 1 || r.All()[0].Entity.String() != e.String() || fmt.Sprint(r.All()[0].Entity) != fmt.Sprint(e) || r.All()[0].Limits[ProducerBytes] != 1024.5 {
			t.Errorf("%v came back as %v", e, r.All())
		}
	}
}

// TestTheStrongestRuleHolds goes by Kafka's order (KIP-55).
func TestTheStrongestRuleHolds(t *testing.T) {
	order := []Entity{
		{User: "u", ClientID: "c"}, {User: "u", ClientID: Default}, {User: "u"}, {User: Default, ClientID: "c"},
		{User: Default, ClientID: Default}, {User: Default}, {ClientID: "c"}, {ClientID: Default},
	}
	whom := []string{"client-id=c,user=u", "client-id=c,user=u", "user=u", "client-id=c,user=u", "client-id=c,user=u", "user=u", "client-id=c", "client-id=c"}
	for i := range order {
		var rules []any
		for j, e := range order[i:] {
			rules = append(rules, e, ConsumerBytes, float64(i+j+1))
		}
		limit, who, found := Parse(settings(rules...)).limit(ConsumerBytes, "u", "c")
		if !found || limit != float64(i+1) || who != ConsumerBytes+" "+whom[i] {
			t.Errorf("without the first %d rules: %v for %q", i, limit, who)
		}
	}
	if _, _, found := Parse(settings(Entity{User: "other"}, ConsumerBytes, 1.0)).limit(ConsumerBytes, "u", "c"); found {
		t.Error("a rule of another user holds")
	}
}

func TestItem76RatesAreHeldOverTheWindow(t *testing.T) {
	r, b := Parse(settings(Entity{ClientID: "c"}, ProducerBytes, 1000.0)), NewBook()
	now := time.Unix(1_800_000_000, 0)
	if wait := b.Use(r, now, ProducerBytes, "u", "c", 10_000); wait != 0 {
		t.Errorf("a burst of ten seconds' worth waits %s", wait)
	}
	if wait := b.Use(r, now, ProducerBytes, "u", "c", 1_000); wait != time.Second {
		t.Errorf("a second's worth more waits %s", wait)
	}
	if wait := b.Use(r, now, ProducerBytes, "u", "another", 1<<30); wait != 0 {
		t.Errorf("one without a rule waits %s", wait)
	}
	sent, at := 0.0, now.Add(time.Minute)
	for at.Before(now.Add(3 * time.Minute)) { // a client that obeys
		sent += 700
		at = at.Add(b.Use(r, at, ProducerBytes, "u", "c", 700) + time.Millisecond)
	}
	if rate := sent / 120; math.Abs(rate-1000) > 110 {
		t.Errorf("%.0f bytes a second, 1000 are allowed", rate)
	}
}

func TestWhatIsRefusedCountsNothing(t *testing.T) {
	r, b := Parse(settings(Entity{User: Default}, Mutations, 1.0, Entity{IP: Default}, NewConnections, 2.0)), NewBook()
	now := time.Unix(1_800_000_000, 0)
	if _, taken := b.Take(r, now, Mutations, "u", "c", 100); !taken {
		t.Error("the first one is refused")
	}
	for range 3 {
		if wait, taken := b.Take(r, now, Mutations, "u", "c", 100); taken || wait != 90*time.Second {
			t.Errorf("taken %v, wait %s", taken, wait)
		}
	}
	if _, taken := b.Take(r, now, Mutations, "v", "c", 100); !taken {
		t.Error("another user is refused")
	}
	n := 0
	for b.Connect(r, now, "10.0.0.1") {
		n++
	}
	if n != 21 || !b.Connect(r, now, "10.0.0.2") {
		t.Errorf("%d connections, then none", n)
	}
}

func TestB30RotatingClientIdsCostABoundedMemory(t *testing.T) {
	r, b := Parse(settings(Entity{ClientID: Default}, ProducerBytes, 1000.0)), NewBook()
	now := time.Unix(1_800_000_000, 0)
	for i := range 3 * maxMeters {
		b.Use(r, now, ProducerBytes, "u", fmt.Sprint(i), 1)
	}
	if len(b.meters) > maxMeters {
		t.Errorf("%d meters", len(b.meters))
	}
}

func TestLimitsThatKafkaRefuses(t *testing.T) {
	for _, tc := range []struct {
		e     Entity
		key   string
		limit float64
		ok    bool
	}{
		{Entity{User: "u"}, ProducerBytes, 1024, true}, {Entity{User: "u"}, ProducerBytes, 0, false}, {Entity{User: "u"}, ProducerBytes, -1, false},
		{Entity{User: "u"}, ProducerBytes, 1.5, false}, {Entity{User: "u"}, ProducerBytes, math.NaN(), false}, {Entity{User: "u"}, RequestShare, 12.5, true},
		{Entity{User: "u"}, NewConnections, 1, false}, {Entity{IP: "1.2.3.4"}, NewConnections, 1, true}, {Entity{IP: "1.2.3.4"}, ProducerBytes, 1, false},
		{Entity{ClientID: "c"}, "no_such_rate", 1, false},
	} {
		if err := Check(tc.e, tc.key, tc.limit); (err == nil) != tc.ok {
			t.Errorf("%v %s=%v: %v", tc.e, tc.key, tc.limit, err)
		}
	}
}
