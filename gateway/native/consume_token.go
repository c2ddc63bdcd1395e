package native

import (
	"encoding/json"
	"slices"
	"time"

	"moldau.dev/services/errcode"
	"moldau.dev/services/topicid"
	"moldau.dev/storage-node/storageclient"
)

// consumePurpose tells tokens of Consume from others.
const consumePurpose = "consume"

// noPlace says that a partition's place is the committed offset.
const noPlace = -1

// membership is what a stream must know to go on as a member. A gateway signs it
// and keeps nothing of it.
type membership struct {
	group, member string
	epoch         int32
	// deadline is of the revoke that is under way; zero where none is.
	deadline time.Time
	// places are those of the partitions that the member has, what it is to give
	// up included; noPlace where the stream before did not end by itself.
	places map[storageclient.PartitionID]int64
}

// tokenJSON is a membership as a token carries it.
type tokenJSON struct {
	Group      string                `json:"g"`
	Member     string                `json:"m"`
	Epoch      int32                 `json:"e"`
	DeadlineMs int64                 `json:"d,omitempty"`
	Places     map[string][][2]int64 `json:"p,omitempty"` // by topic id: index, next offset
}

func (s *Server) signMembership(m membership) string {
	t := tokenJSON{Group: m.group, Member: m.member, Epoch: m.epoch, Places: map[string][][2]int64{}}
	if !m.deadline.IsZero() {
		t.DeadlineMs = m.deadline.UnixMilli()
	}
	for id, next := range m.places {
		name := id.Topic.String()
		t.Places[name] = append(t.Places[name], [2]int64{int64(id.Index), next})
	}
	for _, places := range t.Places {
		slices.SortFunc(places, func(a, b [2]int64) int { return int(a[0] - b[0]) })
	}
	payload, err := json.Marshal(t)
	if err != nil {
		panic("a membership is not JSON: " + err.Error())
	}
	return s.tokens.Sign(s.meta.View().ClusterID, consumePurpose, payload)
}

// readMembership opens a token that is of a member of group.
func (s *Server) readMembership(group, token string) (membership, error) {
	payload, err := s.tokens.Open(s.meta.View().ClusterID, consumePurpose, token)
	if err != nil {
		return membership{}, errcode.Of(err).WithField("resume_token")
	}
	bad := errcode.New(errcode.InvalidToken, "the token is not of a member of this group").WithField("resume_token")
	var t tokenJSON
	if json.Unmarshal(payload, &t) != nil || t.Group != group || t.Member == "" || t.Epoch < 1 {
		return membership{}, bad
	}
	m := membership{group: t.Group, member: t.Member, epoch: t.Epoch, places: map[storageclient.PartitionID]int64{}}
	if t.DeadlineMs > 0 {
		m.deadline = time.UnixMilli(t.DeadlineMs)
	}
	for name, places := range t.Places {
		topic, err := topicid.Parse(name)
		if err != nil {
			return membership{}, bad
		}
		for _, p := range places {
			m.places[storageclient.PartitionID{Topic: topic, Index: int32(p[0])}] = p[1]
		}
	}
	return m, nil
}
