package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

const (
	tagName   = "koanf"
	delimiter = "."
)

// setting is one leaf of a config: a value with a key such as "log.format".
type setting struct {
	key   string
	value reflect.Value
}

// settings returns the leaves of a struct in the order of its fields.
func settings(cfg any) []setting {
	return appendSettings(nil, "", reflect.Indirect(reflect.ValueOf(cfg)))
}

func appendSettings(list []setting, prefix string, v reflect.Value) []setting {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := field.Tag.Get(tagName)
		if name == "" || name == "-" {
			continue
		}
		key := join(prefix, name)
		if isSection(field.Type) {
			list = appendSettings(list, key, v.Field(i))
		} else {
			list = append(list, setting{key, v.Field(i)})
		}
	}
	return list
}

var textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()

// isSection reports whether a field holds settings rather than being one.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !t.Implements(textMarshaler)
}

// plain returns the value as YAML shows it and a loader can read it again.
func (s setting) plain() any {
	switch v := s.value.Interface().(type) {
	case time.Duration:
		return FormatDuration(v)
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(text)
	default:
		return v
	}
}

// loadable is plain, save that secrets stay what they are.
func (s setting) loadable() any {
	if secret, ok := s.value.Interface().(Secret); ok {
		return secret.Reveal()
	}
	return s.plain()
}

func (s setting) isMap() bool { return s.value.Kind() == reflect.Map }

// schema knows the legal keys.
type schema struct {
	keys  []string
	byEnv map[string]string // environment variable to key
	maps  []string          // settings whose own keys are free
}

func schemaOf(cfg any) schema {
	s := schema{byEnv: map[string]string{}}
	for _, set := range settings(cfg) {
		env := EnvName(set.key)
		if other, taken := s.byEnv[env]; taken {
			panic(fmt.Sprintf("config: %s and %s share the variable %s", other, set.key, env))
		}
		s.byEnv[env] = set.key
		s.keys = append(s.keys, set.key)
		if set.isMap() {
			s.maps = append(s.maps, set.key)
		}
	}
	return s
}

func (s schema) knows(key string) bool {
	return slices.Contains(s.keys, key) ||
		slices.ContainsFunc(s.maps, func(m string) bool { return strings.HasPrefix(key, m+delimiter) })
}

// section reports whether settings lie below key.
func (s schema) section(key string) bool {
	return slices.ContainsFunc(s.keys, func(k string) bool { return strings.HasPrefix(k, key+delimiter) })
}

// EnvName returns the variable that sets a key: MOLDAU_LOG_FORMAT for
// log.format.
func EnvName(key string) string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(delimiter, "_", "-", "_").Replace(key))
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + delimiter + name
}
