// Package quota holds clients to rates: bytes produced and consumed, and changes
// of the cluster, by user and client id (KIP-13, KIP-546, KIP-599), and new
// connections by address (KIP-612). Rules are settings of the cluster, which
// every gateway sees; each gateway enforces them by itself, as each of Kafka's
// brokers does.
//
// Invariant: it decides from what it is told and the time it is given; it reads
// no clock and waits for nothing.
package quota

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The kinds of entities, and the keys of what is limited, by Kafka's names.
const (
	User     = "user"
	ClientID = "client-id"
	IP       = "ip"

	ProducerBytes  = "producer_byte_rate"       // bytes a second
	ConsumerBytes  = "consumer_byte_rate"       // bytes a second
	RequestShare   = "request_percentage"       // percent of a core; kept, not enforced
	Mutations      = "controller_mutation_rate" // partitions created or deleted a second
	NewConnections = "connection_creation_rate" // connections a second
)

// Default is the name of the entity that stands for all others of its kind. No
// entity is named so.
const Default = ""

// Entity is whom a rule is for: names by kind, Default for all others.
type Entity map[string]string

// String is the entity in a form that equal entities share.
func (e Entity) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(e)) {
		name := "*"
		if e[kind] != Default {
			name = url.QueryEscape(e[kind])
		}
		parts = append(parts, kind+"="+name)
	}
	return strings.Join(parts, ",")
}

// settings of quotas begin so.
const prefix = "moldau.quota."

// Setting is the name of the cluster's setting that holds one limit.
func Setting(e Entity, key string) string { return prefix + e.String() + "." + key }

// Value writes a limit as a setting holds it.
func Value(limit float64) string { return strconv.FormatFloat(limit, 'g', -1, 64) }

// parseSetting reads the name of a setting; false where it is none of a quota.
func parseSetting(name string) (Entity, string, bool) {
	rest, is := strings.CutPrefix(name, prefix)
	at := strings.LastIndexByte(rest, '.')
	if !is || at < 0 {
		return nil, "", false
	}
	e := Entity{}
	for part := range strings.SplitSeq(rest[:at], ",") {
		kind, escaped, _ := strings.Cut(part, "=")
		if escaped == "*" {
			e[kind] = Default
			continue
		}
		text, err := url.QueryUnescape(escaped)
		if err != nil || text == "" {
			return nil, "", false
		}
		e[kind] = text
	}
	return e, rest[at+1:], true
}

// Rule is the limits of one entity, by key.
type Rule struct {
	Entity Entity
	Limits map[string]float64
}

// Rules are all rules of a cluster.
type Rules struct {
	all      []Rule // by entity
	byEntity map[string]map[string]float64
}

// Parse finds the rules among a cluster's settings. What is not one is passed
// over: other settings have other readers.
func Parse(settings map[string]string) *Rules {
	r := &Rules{byEntity: map[string]map[string]float64{}}
	entities := map[string]Entity{}
	for name, value := range settings {
		e, key, is := parseSetting(name)
		limit, err := strconv.ParseFloat(value, 64)
		if !is || err != nil {
			continue
		}
		text := e.String()
		if r.byEntity[text] == nil {
			r.byEntity[text], entities[text] = map[string]float64{}, e
		}
		r.byEntity[text][key] = limit
	}
	for _, text := range slices.Sorted(maps.Keys(entities)) {
		r.all = append(r.all, Rule{entities[text], r.byEntity[text]})
	}
	return r
}

// All returns the rules by entity.
func (r *Rules) All() []Rule { return r.all }

// limit finds the strongest rule that limits a client, and whom its use counts
// for: under a default rule, each entity by itself.
func (r *Rules) limit(key, user, client string) (limit float64, whom string, found bool) {
	if len(r.all) == 0 {
		return 0, "", false
	}
	for _, e := range []Entity{
		{User: user, ClientID: client}, {User: user, ClientID: Default}, {User: user},
		{User: Default, ClientID: client}, {User: Default, ClientID: Default}, {User: Default},
		{ClientID: client}, {ClientID: Default},
	} {
		if limit, found := r.byEntity[e.String()][key]; found {
			whom := Entity{}
			if _, ofUser := e[User]; ofUser {
				whom[User] = user
			}
			if _, ofClient := e[ClientID]; ofClient {
				whom[ClientID] = client
			}
			return limit, key + " " + whom.String(), true
		}
	}
	return 0, "", false
}

func (r *Rules) limitIP(ip string) (limit float64, whom string, found bool) {
	if len(r.all) == 0 {
		return 0, "", false
	}
	for _, name := range []string{ip, Default} {
		if limit, found := r.byEntity[Entity{IP: name}.String()][NewConnections]; found {
			return limit, NewConnections + " " + ip, true
		}
	}
	return 0, "", false
}

// Check refuses a limit that Kafka refuses.
func Check(e Entity, key string, limit float64) error {
	keys := []string{ProducerBytes, ConsumerBytes, RequestShare, Mutations}
	if _, ofIP := e[IP]; ofIP {
		keys = []string{NewConnections}
	}
	switch {
	case !slices.Contains(keys, key):
		return fmt.Errorf("invalid configuration key %s", key)
	case !(limit > 0): // the negation also catches NaN
		return fmt.Errorf("quota %s must be greater than 0", key)
	case (key == ProducerBytes || key == ConsumerBytes || key == NewConnections) && limit != float64(int64(limit)):
		return fmt.Errorf("quota %s must be a whole number", key)
	}
	return nil
}
