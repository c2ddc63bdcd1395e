package kafka_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSemanticsNameTestsThatExist holds SEMANTICS.md to its word: each of the 81
// items has one row, and each test a row names exists in the folder it names.
func TestSemanticsNameTestsThatExist(t *testing.T) {
	table, err := os.ReadFile("SEMANTICS.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| [^|]+ \| ([^|]+) \|$`)
	name := regexp.MustCompile(`\bTest\w+`)
	transcript := regexp.MustCompile(`TestTranscripts/(\w+)`)
	sources := map[string]string{}
	next := 1
	for _, m := range row.FindAllStringSubmatch(string(table), -1) {
		if m[1] != strconv.Itoa(next) {
			t.Fatalf("the row after item %d is item %s", next-1, m[1])
		}
		next++
		if m[2] == "none found" || strings.HasPrefix(m[2], "out of scope: ") {
			continue
		}
		for _, part := range strings.Split(m[2], "; ") {
			folder, tests, ok := strings.Cut(part, ": ")
			names := name.FindAllString(tests, -1)
			if !ok || len(names) == 0 {
				t.Errorf("item %s: %q names no test", m[1], part)
				continue
			}
			if _, ok := sources[folder]; !ok {
				sources[folder] = testSources(t, folder)
			}
			for _, n := range names {
				if !strings.Contains(sources[folder], "\nfunc "+n+"(") {
					t.Errorf("item %s: %s has no test %s", m[1], folder, n)
				}
			}
			for _, played := range transcript.FindAllStringSubmatch(tests, -1) {
				if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(folder), "testdata", played[1]+".txt")); err != nil {
					t.Errorf("item %s: %v", m[1], err)
				}
			}
		}
	}
	if next != 82 {
		t.Errorf("the table ends after item %d, not 81", next-1)
	}
}

// testSources returns the text of all test files of a folder of the module.
func testSources(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
