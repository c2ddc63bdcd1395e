package topicconfig

import (
	"maps"
	"slices"
	"time"

	"moldau.dev/services/errcode"
)

// Entry is one config of one topic, as shown to people.
type Entry struct {
	Name          string
	Value         string // in force
	Default       string
	Overridden    bool // Value was set on the topic, even if it equals Default
	Documentation string
}

// Definitions returns the table, by name.
func Definitions() []Definition { return slices.Clone(definitions) }

// Default returns the configuration of a topic without overrides.
func Default() Config {
	var c Config
	for i := range definitions {
		if err := definitions[i].set(&c, definitions[i].Default); err != nil {
			panic("topicconfig: the default of " + definitions[i].Name + " breaks its own bounds: " + err.Error())
		}
	}
	return c
}

// Parse returns the configuration of a topic with overrides. The error is an
// INVALID_CONFIG that names the first bad one, by name, in Field.
func Parse(overrides map[string]string) (Config, error) {
	c := Default()
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		d := find(name)
		if d == nil {
			return Config{}, unknown(name)
		}
		if err := d.set(&c, overrides[name]); err != nil {
			return Config{}, errcode.New(errcode.InvalidConfig, "config %s: %v", name, err).
				WithField(field(name)).WithHint("%s", d.Documentation)
		}
	}
	if c.MaxCompactionLag < c.MinCompactionLag {
		return Config{}, errcode.New(errcode.InvalidConfig, "config max.compaction.lag.ms: %d is below min.compaction.lag.ms, %d",
			c.MaxCompactionLag/time.Millisecond, c.MinCompactionLag/time.Millisecond).WithField(field("max.compaction.lag.ms"))
	}
	return c, nil
}

// Effective returns every config of a topic with overrides, by name. It does
// not judge values: what Parse refuses never became an override.
func Effective(overrides map[string]string) []Entry {
	entries := make([]Entry, len(definitions))
	for i, d := range definitions {
		value, set := overrides[d.Name]
		if !set {
			value = d.Default
		}
		entries[i] = Entry{Name: d.Name, Value: value, Default: d.Default, Overridden: set, Documentation: d.Documentation}
	}
	return entries
}

// Known tells whether name is in the table.
func Known(name string) bool { return find(name) != nil }

func find(name string) *Definition {
	for i := range definitions {
		if definitions[i].Name == name {
			return &definitions[i]
		}
	}
	return nil
}

// field is where a config stands in the requests that set it, and in their
// update masks.
func field(name string) string { return "configs." + name }

func unknown(name string) error {
	err := errcode.New(errcode.InvalidConfig, "config %q is not known", name).WithField(field(name))
	best, distance := "", len(name)/2+1
	for _, d := range definitions {
		if n := editDistance(name, d.Name); n < distance {
			best, distance = d.Name, n
		}
	}
	if best == "" {
		return err
	}
	return err.WithHint("Did you mean %s?", best)
}

// editDistance is Levenshtein's, over bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
