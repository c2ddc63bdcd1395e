package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// quotaOf sets one limit of an entity given as kind, name, kind, name; nil is
// the default.
func quotaOf(c *cluster, key string, value float64, remove bool, entity ...*string) int16 {
	c.t.Helper()
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Version = 1
	in := kmsg.AlterClientQuotasRequestEntry{Ops: []kmsg.AlterClientQuotasRequestEntryOp{{Key: key, Value: value, Remove: remove}}}
	for i := 0; i+1 < len(entity); i += 2 {
		in.Entity = append(in.Entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: *entity[i], Name: entity[i+1]})
	}
	req.Entries = append(req.Entries, in)
	return ask[*kmsg.AlterClientQuotasResponse](c, req).Entries[0].ErrorCode
}

func TestQuotasAreKeptAndTold(t *testing.T) {
	c := newCluster(t)
	text := kmsg.StringPtr
	for _, tc := range []struct {
		key    string
		value  float64
		entity []*string
		code   int16
	}{
		{"producer_byte_rate", 1000, []*string{text("user"), text("alice")}, 0},
		{"consumer_byte_rate", 2000, []*string{text("user"), text("alice")}, 0},
		{"producer_byte_rate", 3000, []*string{text("user"), nil, text("client-id"), text("a.b,c")}, 0},
		{"producer_byte_rate", 4000, []*string{text("client-id"), nil}, 0},
		{"connection_creation_rate", 5, []*string{text("ip"), text("10.0.0.1")}, 0},
		{"producer_byte_rate", 0, []*string{text("user"), text("alice")}, invalidRequest},
		{"producer_byte_rate", 1.5, []*string{text("user"), text("alice")}, invalidRequest},
		{"no_such_rate", 1, []*string{text("user"), text("alice")}, invalidRequest},
		{"producer_byte_rate", 1, []*string{text("ip"), text("10.0.0.1")}, invalidRequest},
		{"connection_creation_rate", 1, []*string{text("ip"), text("not an address")}, invalidRequest},
		{"producer_byte_rate", 1, []*string{text("user"), text("")}, invalidRequest},
		{"producer_byte_rate", 1, []*string{text("team"), text("x")}, invalidRequest},
		{"producer_byte_rate", 1, nil, invalidRequest},
	} {
		if code := quotaOf(c, tc.key, tc.value, false, tc.entity...); code != tc.code {
			t.Errorf("%s=%v: code %d, want %d", tc.key, tc.value, code, tc.code)
		}
	}
	adm := c.admin()
	all, err := adm.DescribeClientQuotas(t.Context(), false, nil)
	check(t, err)
	if len(all) != 4 {
		t.Errorf("all: %+v", all)
	}
	alice, err := adm.DescribeClientQuotas(t.Context(), true, []kadm.DescribeClientQuotaComponent{{Type: "user", MatchName: text("alice")}})
	check(t, err)
	if len(alice) != 1 || len(alice[0].Values) != 2 || alice[0].Values[0].Value != 2000 {
		t.Errorf("alice: %+v", alice)
	}
	defaults, err := adm.DescribeClientQuotas(t.Context(), false, []kadm.DescribeClientQuotaComponent{{Type: "client-id", MatchType: kmsg.QuotasMatchTypeAny}})
	check(t, err)
	if len(defaults) != 2 {
		t.Errorf("client ids: %+v", defaults)
	}
	strict, err := adm.DescribeClientQuotas(t.Context(), true, []kadm.DescribeClientQuotaComponent{{Type: "client-id", MatchType: kmsg.QuotasMatchTypeDefault}})
	check(t, err)
	if len(strict) != 1 || strict[0].Values[0].Value != 4000 {
		t.Errorf("the default client id: %+v", strict)
	}
	if code := quotaOf(c, "consumer_byte_rate", 0, true, text("user"), text("alice")); code != 0 {
		t.Errorf("remove: code %d", code)
	}
	if alice, err = adm.DescribeClientQuotas(t.Context(), true, []kadm.DescribeClientQuotaComponent{{Type: "user", MatchName: text("alice")}}); err != nil || len(alice[0].Values) != 1 {
		t.Errorf("alice: %+v, %v", alice, err)
	}
	if configs, _ := describe(c, kmsg.ConfigResourceTypeBroker, ""); len(configs) != 0 {
		t.Errorf("quotas show as configs: %v", configs)
	}
}

// TestItem76ThrottledClientsAreToldAndMuted does not wait for the mute to end:
// that the next answer says so much more shows that it was counted.
func TestItem76ThrottledClientsAreToldAndMuted(t *testing.T) {
	c := newCluster(t)
	c.topic("t", 1, nil)
	text := kmsg.StringPtr
	if code := quotaOf(c, "producer_byte_rate", 1, false, text("client-id"), text("test")); code != 0 {
		t.Fatalf("code %d", code)
	}
	if code := quotaOf(c, "consumer_byte_rate", 1, false, text("user"), text("ANONYMOUS")); code != 0 {
		t.Fatalf("code %d", code)
	}
	sent := produceOf("t", 0, batch("x"))
	made := ask[*kmsg.ProduceResponse](c, sent)
	if made.Topics[0].Partitions[0].ErrorCode != 0 || made.ThrottleMillis < 60_000 {
		t.Errorf("produce: %+v", made)
	}
	w := dial(t, c.addr)
	read, err := w.ask(fetchOf("t", 0, 0))
	check(t, err)
	if got := read.(*kmsg.FetchResponse); len(got.Topics[0].Partitions[0].RecordBatches) == 0 || got.ThrottleMillis < 50_000 {
		t.Errorf("fetch: %d ms", got.ThrottleMillis)
	}
	w.write(kmsg.NewPtrApiVersionsRequest()) // which is not read: the client is muted
	other := dial(t, c.addr)
	if _, err := other.ask(kmsg.NewPtrApiVersionsRequest()); err != nil {
		t.Errorf("another connection: %v", err)
	}
	check(t, c.gateway.Stop(t.Context())) // which does not wait for the mute
	if n, _ := w.conn.Read(make([]byte, 1)); n != 0 {
		t.Error("a muted client was answered")
	}
}

func TestItem49MutationsBeyondTheQuotaAreRefused(t *testing.T) {
	c := newCluster(t)
	text := kmsg.StringPtr
	if code := quotaOf(c, "controller_mutation_rate", 0.1, false, text("user"), nil); code != 0 {
		t.Fatalf("code %d", code)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.Topics = 7, []kmsg.CreateTopicsRequestTopic{creation("a", 5, 1), creation("b", 5, 1)}
	got := ask[*kmsg.CreateTopicsResponse](c, req)
	if got.Topics[0].ErrorCode != 0 || got.Topics[1].ErrorCode != 89 || got.ThrottleMillis < 30_000 {
		t.Errorf("got %+v", got)
	}
	req.Version, req.Topics = 5, []kmsg.CreateTopicsRequestTopic{creation("b", 5, 1)}
	if got := ask[*kmsg.CreateTopicsResponse](c, req); got.Topics[0].ErrorCode != 0 || got.ThrottleMillis < 80_000 {
		t.Errorf("a client that does not know of it: %+v", got)
	}
}

func TestConnectionsComeAtTheirRate(t *testing.T) {
	c := newCluster(t)
	text := kmsg.StringPtr
	if code := quotaOf(c, "connection_creation_rate", 1, false, text("ip"), nil); code != 0 {
		t.Fatalf("code %d", code)
	}
	served := 0
	for range 30 {
		w := dial(t, c.addr)
		if _, err := w.ask(kmsg.NewPtrApiVersionsRequest()); err == nil {
			served++
		}
	}
	if served < 5 || served > 25 {
		t.Errorf("%d of 30 connections were served", served)
	}
}
