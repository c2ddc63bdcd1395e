package journal

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	coordinatorv1 "moldau.dev/proto/gen/coordinator/v1"
)

// TestKeysHaveTheBytesOfTheFormat is the example of FORMAT.md.
func TestKeysHaveTheBytesOfTheFormat(t *testing.T) {
	if got, want := Key(7, "ab", "", "c"), []byte{1, 7, 2, 'a', 'b', 0, 1, 'c'}; !bytes.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r := Put(7, &coordinatorv1.PartError{Reason: "R"}, "k")
	if want := []byte{1, 0x0a, 1, 'R'}; !bytes.Equal(r.Value, want) {
		t.Errorf("value %v, want %v", r.Value, want)
	}
	if d := Drop(7, "k"); !bytes.Equal(d.Key, r.Key) || d.Value != nil {
		t.Errorf("a drop is %v", d)
	}
}

func TestKeysComeBack(t *testing.T) {
	for _, parts := range [][]string{nil, {""}, {"a", "", "b"}, {strings.Repeat("x", maxPartBytes)}, make([]string, maxParts)} {
		kind, got, err := ParseKey(Key(9, parts...))
		if err != nil || kind != 9 || !slices.Equal(got, parts) {
			t.Errorf("%d parts came back as %d of kind %d, %v", len(parts), len(got), kind, err)
		}
	}
}

func TestWhatIsNoKeyOrValueIsRefused(t *testing.T) {
	for name, key := range map[string][]byte{
		"empty": nil, "short": {1}, "another version": {2, 7}, "cut part": {1, 7, 3, 'a'}, "cut length": {1, 7, 0x80},
		"length beyond bounds": {1, 7, 0xff, 0xff, 0xff, 0x7f}, "too many parts": append([]byte{1, 7}, make([]byte, maxParts+1)...),
	} {
		if _, _, err := ParseKey(key); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	for name, value := range map[string][]byte{"empty": {}, "another version": {2}, "no message": {1, 0xff}} {
		if err := ReadValue(value, new(coordinatorv1.PartError)); err == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(Key(1, "a", "b"))
	f.Add([]byte{1, 7, 0xff, 0xff, 3})
	f.Fuzz(func(t *testing.T, key []byte) {
		kind, parts, err := ParseKey(key)
		if err != nil {
			return
		}
		again, same, err := ParseKey(Key(kind, parts...)) // lengths may come longer than need be
		if err != nil || again != kind || !slices.Equal(same, parts) {
			t.Errorf("%v is read as %q and then as %q, %v", key, parts, same, err)
		}
		_ = ReadValue(key, proto.Message(new(coordinatorv1.PartError)))
	})
}
