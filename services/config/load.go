// Package config loads a tree of Config structs: defaults, then a YAML file,
// then MOLDAU_* variables, then flags, each over the last. Every part of
// moldau owns its Config with a Default function and a Validate method;
// services/moldau puts them into one struct, whose fields carry `koanf` tags.
//
// Invariant: a key that no struct has is an error, never ignored.
package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v4"
)

const envPrefix = "MOLDAU_"

// Sources are where settings come from besides the defaults, weakest first.
type Sources struct {
	FileName string         // for messages
	File     []byte         // YAML; may be empty
	Env      []string       // as os.Environ gives it; all but MOLDAU_* is ignored
	Flags    map[string]any // key to value: {"log.format": "json"}
}

// Load returns defaults overlaid with the sources and validated.
func Load[T any](defaults T, src Sources) (T, error) {
	var cfg T
	s := schemaOf(defaults)
	layers := []func() (map[string]any, error){
		func() (map[string]any, error) { return defaultsLayer(defaults), nil },
		func() (map[string]any, error) { return s.fileLayer(src) },
		func() (map[string]any, error) { return s.envLayer(src.Env) },
		func() (map[string]any, error) { return s.flagLayer(src.Flags) },
	}
	k := koanf.New(delimiter)
	for _, layer := range layers {
		values, err := layer()
		if err != nil {
			return cfg, err
		}
		for _, key := range sortedKeys(values) {
			if err := k.Set(key, values[key]); err != nil {
				return cfg, fmt.Errorf("set %s: %w", key, err)
			}
		}
	}
	if err := decode(k, &cfg); err != nil {
		return cfg, err
	}
	return cfg, Validate(cfg)
}

func defaultsLayer(defaults any) map[string]any {
	values := map[string]any{}
	for _, set := range settings(defaults) {
		values[set.key] = set.loadable()
	}
	return values
}

func (s schema) fileLayer(src Sources) (map[string]any, error) {
	where := orName(src.FileName, "config file")
	var tree map[string]any
	if err := yaml.Unmarshal(src.File, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	values := map[string]any{}
	return values, s.flatten(where, "", tree, values)
}

// flatten turns nested sections into keys. A section that is present but empty
// sets nothing.
func (s schema) flatten(where, prefix string, tree, into map[string]any) error {
	for name, v := range tree {
		key := join(prefix, name)
		if s.knows(key) {
			into[key] = v
			continue
		}
		if !s.section(key) {
			return unknown(where, key, s.keys)
		}
		below, isMap := v.(map[string]any)
		if !isMap && v != nil {
			return fmt.Errorf("%s: %s is a section, not a value", where, key)
		}
		if err := s.flatten(where, key, below, into); err != nil {
			return err
		}
	}
	return nil
}

// clusterVars are what Kubernetes injects for a Service named moldau or
// moldau-something; they are not settings.
var clusterVars = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP)\w*)?$`)

func (s schema) envLayer(environ []string) (map[string]any, error) {
	values := map[string]any{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		key, ok := s.byEnv[name]
		switch {
		case ok:
			values[key] = value
		case !clusterVars.MatchString(name):
			return nil, unknown("environment", name, sortedKeys(s.byEnv))
		}
	}
	return values, nil
}

func (s schema) flagLayer(flags map[string]any) (map[string]any, error) {
	for _, key := range sortedKeys(flags) {
		if !s.knows(key) {
			return nil, unknown("flags", key, s.keys)
		}
	}
	return flags, nil
}

func decode(k *koanf.Koanf, into any) error {
	return k.UnmarshalWithConf("", into, koanf.UnmarshalConf{
		Tag: tagName,
		DecoderConfig: &mapstructure.DecoderConfig{
			Result:           into,
			TagName:          tagName,
			WeaklyTypedInput: true,
			DecodeHook: mapstructure.ComposeDecodeHookFunc(
				durationHook, bytesHook, mapstructure.TextUnmarshallerHookFunc(),
				mapstructure.StringToSliceHookFunc(","),
			),
		},
	})
}

func durationHook(from, to reflect.Type, v any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() || from == to {
		return v, nil
	}
	if text, ok := v.(string); ok {
		return ParseDuration(text)
	}
	return nil, fmt.Errorf("%v is a duration without a unit: write 250ms, 1h30m or 7d", v)
}

func bytesHook(_, to reflect.Type, v any) (any, error) {
	if text, ok := v.(string); ok && to == reflect.TypeFor[Bytes]() {
		return ParseBytes(text)
	}
	return v, nil
}

// Validate calls the Validate method of cfg and of all its sections, and names
// in each error the section it came from.
func Validate(cfg any) error {
	return validate("", reflect.Indirect(reflect.ValueOf(cfg)))
}

func validate(key string, v reflect.Value) error {
	var errs []error
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if name := field.Tag.Get(tagName); name != "" && name != "-" && isSection(field.Type) {
			errs = append(errs, validate(join(key, name), v.Field(i)))
		}
	}
	if part, ok := v.Interface().(interface{ Validate() error }); ok {
		if err := part.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", orName(key, "config"), err))
		}
	}
	return errors.Join(errs...)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func orName(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}
