package group

import (
	"encoding/hex"
	"reflect"
	"testing"
)

// The bytes are what Kafka's Java client sends, and what its documentation says.
func TestConsumerProtocolIsKafkas(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  subscription
	}{
		"version 0, user data": {
			"0000" + "00000002" + "000161" + "000162" + "00000002" + "beef",
			subscription{topics: []string{"a", "b"}},
		},
		"version 1, topics out of order": {
			"0001" + "00000002" + "000162" + "000161" + "ffffffff" + "00000001" + "000161" + "00000002" + "00000000" + "00000003",
			subscription{version: 1, topics: []string{"a", "b"}, owned: []topicIndexes{{"a", []int32{0, 3}}}},
		},
		"version 3, and what a later one adds": {
			"0004" + "00000001" + "000161" + "ffffffff" + "00000000" + "00000007" + "000272" + "31" + "cafe",
			subscription{version: 4, topics: []string{"a"}, rack: "r1"},
		},
		"no rack": {
			"0003" + "00000000" + "ffffffff" + "00000000" + "ffffffff" + "ffff",
			subscription{version: 3},
		},
	} {
		b, err := hex.DecodeString(c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readSubscription(b); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	list := []topicIndexes{{"a", []int32{0, 3}}, {"b", []int32{1}}}
	b := writeAssignment(1, list)
	if got, want := hex.EncodeToString(b), "0001"+"00000002"+"000161"+"00000002"+"00000000"+"00000003"+"000162"+"00000001"+"00000001"+"ffffffff"; got != want {
		t.Errorf("an assignment is %s, want %s", got, want)
	}
	if got, err := readAssignment(b); err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("an assignment comes back as %+v, %v", got, err)
	}
	if got, err := readAssignment(nil); err != nil || got != nil {
		t.Errorf("no assignment is %+v, %v", got, err)
	}
	for _, bad := range []string{"", "00", "0001", "000100000001", "00010000000100ff61", "0001ffffff00", "ffff00000000ffffffff"} {
		b, _ := hex.DecodeString(bad)
		if _, err := readSubscription(b); err == nil {
			t.Errorf("%s passed", bad)
		}
	}
}

// FuzzConsumerProtocol: whatever clients say of themselves is read in bounds.
func FuzzConsumerProtocol(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 1, 0, 1, 'a', 255, 255, 255, 255, 0, 0, 0, 0})
	f.Add([]byte{0, 1, 0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := readSubscription(b); err == nil && len(s.topics) > len(b) {
			t.Errorf("%d topics in %d bytes", len(s.topics), len(b))
		}
		if list, err := readAssignment(b); err == nil {
			if again, err := readAssignment(writeAssignment(1, list)); err != nil || !reflect.DeepEqual(again, list) {
				t.Errorf("%+v comes back as %+v, %v", list, again, err)
			}
		}
	})
}
