package floors

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowed maps who may call to why.
type allowed map[string]string

// calls are functions of the standard library that one package has for all.
var calls = []struct {
	pkg   string
	funcs []string
	who   allowed
}{
	{"os", []string{"Open", "OpenFile", "Create", "CreateTemp", "ReadFile", "WriteFile", "Mkdir", "MkdirAll", "Remove", "RemoveAll", "Rename"}, allowed{
		"storage-node/vfs": "the way to disk",
		"services/moldau":  "config file, doctor, and what the user names on the command line",
		"services/config":  "config files",
		"services/test":    "tests",
		"metadata/store":   "the embedded store is one bbolt file beside its folder",
	}},
	{"time", []string{"Now", "Since", "Until", "Sleep", "After", "NewTimer", "NewTicker", "AfterFunc", "Tick"}, allowed{
		"services/clock": "the clock",
		"services/test":  "tests",
	}},
}

func TestOnlyTheOwnerCalls(t *testing.T) {
	dir := root(t)
	eachGoFile(t, dir, func(name string) {
		if strings.HasSuffix(name, "_test.go") || within(name, "proto/gen") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range calls {
			if rule.who.has(name) {
				continue
			}
			ast.Inspect(file, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == rule.pkg && slices.Contains(rule.funcs, sel.Sel.Name) {
					t.Errorf("%s uses %s.%s", name, rule.pkg, sel.Sel.Name)
				}
				return true
			})
		}
	})
}

func (a allowed) has(name string) bool {
	for dir := range a {
		if within(name, dir) {
			return true
		}
	}
	return false
}

func eachGoFile(t *testing.T, dir string, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if filepath.Ext(p) == ".go" {
			name, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			visit(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGeneratedFolderHoldsOnlyGeneratedCode(t *testing.T) {
	dir := root(t)
	eachGoFile(t, dir, func(name string) {
		if !within(name, "proto/gen") {
			return
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if head, _, _ := bytes.Cut(text, []byte("\npackage ")); !bytes.Contains(head, []byte("DO NOT EDIT")) {
			t.Errorf("%s was written by hand", name)
		}
	})
}

// TestRootHoldsWhatItShould keeps the first thing that a reader sees short.
func TestRootHoldsWhatItShould(t *testing.T) {
	legal := []string{
		"proto", "services", "gateway", "storage-node", "coordinator", "metadata", ".ci",
		"buf.yaml", "docker-compose.yml", "go.mod", "go.sum", "README.md",
		"LICENSE", "Makefile", ".gitignore", ".golangci.yml", ".dockerignore", ".editorconfig",
		".git", "bin", ".cache", "data", // not in the repository
	}
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(legal, e.Name()) {
			t.Errorf("%s does not belong in the root", e.Name())
		}
	}
}
