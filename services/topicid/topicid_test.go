package topicid

import "testing"

func TestTextFormRoundTrips(t *testing.T) {
	for range 1000 {
		id := New()
		back, err := Parse(id.String())
		if err != nil || back != id {
			t.Fatalf("Parse(%q) = %v, %v", id, back, err)
		}
		if id.String()[0] == '-' {
			t.Fatalf("id %q starts with a dash", id)
		}
	}
}

func TestBadFormsAreRefused(t *testing.T) {
	for _, s := range []string{"", "AAAA", "!!!!!!!!!!!!!!!!!!!!!!", "AAAAAAAAAAAAAAAAAAAAAAAAAA"} {
		if _, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) gave no error", s)
		}
	}
}
