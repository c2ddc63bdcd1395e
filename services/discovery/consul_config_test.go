package discovery

import "testing"

func TestConsulSettingsAreChecked(t *testing.T) {
	for _, bad := range []ConsulConfig{
		{Prefix: "moldau/"}, {Address: "x:1"}, {Address: "x:1", Prefix: "moldau"},
		{Address: "x:1", Prefix: "/moldau/"}, {Address: "x:1", Prefix: "a//"}, {Address: "ftp://x:1", Prefix: "moldau/"},
	} {
		if _, err := bad.Client(); err == nil {
			t.Errorf("%+v passed", bad)
		}
	}
}
