package discovery

import (
	"testing"

	"github.com/hashicorp/consul/api"
)

// TestWhatIsRegisteredIsWhatIsFound: the catalog's form of an instance.
func TestWhatIsRegisteredIsWhatIsFound(t *testing.T) {
	c := &Consul{names: serviceNames("teams/a/moldau/")}
	want := Instance{ID: "7", Addr: "[::1]:9192", Rack: "r1"}
	r, err := c.registration("storage-node", want, map[string]string{"kafka": "x:9092"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "teams-a-moldau-storage-node" || r.ID != "teams-a-moldau-storage-node-7" || r.Check.GRPC != want.Addr || r.Meta["kafka"] != "x:9092" {
		t.Errorf("registered as %+v", r)
	}
	if got := instanceOf(&api.AgentService{Address: r.Address, Port: r.Port, Meta: r.Meta}); got != want {
		t.Errorf("found as %+v", got)
	}
	for _, bad := range []string{"", "host", "host:port"} {
		if _, err := c.registration("gateway", Instance{Addr: bad}, nil); err == nil {
			t.Errorf("address %q passed", bad)
		}
	}
}
