package config

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzFile: whatever a config file holds, Load refuses it or understands it, and
// what it understood reads the same once it is printed.
func FuzzFile(f *testing.F) {
	for _, text := range []string{
		"", "node_id: 2\nretention: 2d\nsegment_bytes: 64MiB\nlog:\n  format: json\n  level: debug\n",
		"peers: [a, b]\nlabels: {zone: y, rack: '1'}\npassword: x\n", "log:\n", "log: 1\n", "node_id: 9999999999\n",
		"a: &a [x, x]\nb: &b [*a, *a]\n", "node_id: !!binary aGk=\n", "? {a: b}\n: c\n", "retention: -1ns\n", "labels: {a: }\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Load(testDefaults(), Sources{File: text})
		if err != nil {
			return
		}
		var printed bytes.Buffer
		if err := Print(&printed, got); err != nil {
			t.Fatal(err)
		}
		again, err := Load(testDefaults(), Sources{File: printed.Bytes()})
		if err != nil {
			t.Fatalf("%v:\n%s", err, printed.Bytes())
		}
		again.Password = got.Password // hidden where it is printed
		if diff := cmp.Diff(got, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-loaded +printed and loaded):\n%s", diff)
		}
	})
}
