// Package floors holds the law of the house: everything runs downhill. It
// looks at what packages import, and names who breaks the law.
package floors

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "moldau.dev/"

// floors are the services by height. Ground is floor 1, contracts floor 0.
var floors = map[string]int{"proto": 0, "services": 1, "metadata": 2, "storage-node": 3, "coordinator": 4, "gateway": 5}

// roof are folders of services/ that stand on the whole house: the binary
// composes it and tests look at it.
var roof = []string{"services/moldau", "services/test", "services/examples"}

type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func (p pkg) path() string { return strings.TrimPrefix(p.ImportPath, module) }

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	return path.Dir(strings.TrimSpace(string(out)))
}

func onRoof(p string) bool {
	return slices.ContainsFunc(roof, func(r string) bool { return within(p, r) })
}

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func service(p string) string { top, _, _ := strings.Cut(p, "/"); return top }

// offence says how an import breaks the law, or "" if it does not.
func offence(from, to string) string {
	above, below := service(from), service(to)
	switch {
	case onRoof(from) || above == below && !onRoof(to):
		return ""
	case onRoof(to):
		return "nothing stands on the roof"
	case floors[below] >= floors[above]:
		return "imports run downhill"
	case floors[below] >= 2 && !strings.HasSuffix(to, "client"):
		return "services meet only through doors (*client)"
	default:
		return ""
	}
}

func TestImportsRunDownhill(t *testing.T) {
	for _, p := range packages(t) {
		for _, to := range p.Imports {
			if to, ours := strings.CutPrefix(to, module); ours {
				if why := offence(p.path(), to); why != "" {
					t.Errorf("%s imports %s: %s", p.path(), to, why)
				}
			}
		}
	}
}

func TestOffencesAreSeen(t *testing.T) {
	for _, c := range []struct {
		from, to string
		legal    bool
	}{
		{"gateway/native", "storage-node/storageclient", true},
		{"gateway/native", "gateway/routing", true},
		{"metadata", "services/clock", true},
		{"services/moldau", "gateway", true},
		{"gateway/native", "storage-node/commitlog", false},
		{"metadata", "storage-node/storageclient", false},
		{"services/clock", "metadata/metadataclient", false},
		{"services/record", "services/moldau", false},
		{"storage-node", "services/test/testcluster", false},
	} {
		if why := offence(c.from, c.to); (why == "") != c.legal {
			t.Errorf("%s imports %s: legal should be %v, is %q", c.from, c.to, c.legal, why)
		}
	}
}

// TestOnlyTheOwnerImports keeps each outside library with its one owner.
func TestOnlyTheOwnerImports(t *testing.T) {
	for _, rule := range []struct {
		library string
		owners  []string
	}{
		{"github.com/hashicorp/consul", []string{"metadata/store", "services/discovery"}},
		{"github.com/twmb/franz-go", []string{"gateway/kafka"}},
	} {
		for _, p := range packages(t) {
			owned := slices.ContainsFunc(rule.owners, func(o string) bool { return within(p.path(), o) })
			for _, to := range p.Imports {
				if within(to, rule.library) && !owned && !within(p.path(), "services/test") {
					t.Errorf("%s imports %s, which belongs to %v", p.path(), to, rule.owners)
				}
			}
		}
	}
}
