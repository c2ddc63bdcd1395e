package group

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what happens into the transcripts")

// TestTranscripts plays the files of testdata. Each begins with why it is
// there, with the number of the item or rule. A block is one command or
// several, a line `----`, and what the machine did; see script.run for the
// commands. Run with -update to write them anew, and read what changed.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			was, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			is := play(t, string(was))
			if *update {
				if err := os.WriteFile(file, []byte(is), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if is != string(was) {
				t.Errorf("%s tells otherwise; this happened:\n%s", file, is)
			}
		})
	}
}

// play runs the commands of a transcript and returns it with what happened.
func play(t *testing.T, text string) string {
	s := newScript(t)
	var out bytes.Buffer
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		command, _, _ := strings.Cut(block, "\n----")
		out.WriteString(command + "\n")
		if last := command[strings.LastIndex(command, "\n")+1:]; strings.HasPrefix(last, "#") {
			continue // words alone
		}
		out.WriteString("----\n")
		for line := range strings.SplitSeq(command, "\n") {
			if !strings.HasPrefix(line, "#") {
				out.WriteString(s.run(line))
			}
		}
	}
	return out.String()
}
