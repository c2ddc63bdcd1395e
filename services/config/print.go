package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Print writes the effective config as YAML that Load reads again, in the
// order of the structs, secrets redacted.
func Print(w io.Writer, cfg any) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, set := range settings(cfg) {
		value := new(yaml.Node)
		if err := value.Encode(set.plain()); err != nil {
			return fmt.Errorf("print %s: %w", set.key, err)
		}
		path := strings.Split(set.key, delimiter)
		into := section(root, path[:len(path)-1])
		into.Content = append(into.Content, scalar(path[len(path)-1]), value)
	}
	text, err := yaml.Marshal(root)
	if err != nil {
		return fmt.Errorf("print config: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// section returns the mapping at path below root, made if it is not there.
func section(root *yaml.Node, path []string) *yaml.Node {
	for _, name := range path {
		root = child(root, name)
	}
	return root
}

func child(of *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(of.Content); i += 2 {
		if of.Content[i].Value == name {
			return of.Content[i+1]
		}
	}
	below := &yaml.Node{Kind: yaml.MappingNode}
	of.Content = append(of.Content, scalar(name), below)
	return below
}

func scalar(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Value: text}
}

// Change is a setting that differs from its default.
type Change struct {
	Key            string
	Default, Value any // as Print shows them
}

// String returns "log.format: json (default text)".
func (c Change) String() string { return fmt.Sprintf("%s: %v (default %v)", c.Key, c.Value, c.Default) }

// Diff returns what cfg changes of defaults, which must be of the same type.
func Diff(cfg, defaults any) []Change {
	var changes []Change
	before := settings(defaults)
	for i, now := range settings(cfg) {
		if !reflect.DeepEqual(now.value.Interface(), before[i].value.Interface()) {
			changes = append(changes, Change{now.key, before[i].plain(), now.plain()})
		}
	}
	return changes
}
