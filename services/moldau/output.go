package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

var formats = []string{"table", "wide", "json", "yaml", "name"}

// answer is what a reading verb found, in all the forms it can be shown in.
type answer struct {
	message proto.Message // for json and yaml
	names   []string      // for name
	header  []string
	wide    int // columns from this one on are only for wide; 0 means none
	rows    [][]string
}

type outputFlag struct{ format string }

func (o *outputFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", strings.Join(formats, "|"))
	complete(cmd, "output", formats...)
}

func (o *outputFlag) show(w io.Writer, a answer) error {
	switch o.format {
	case "json":
		return writeJSON(w, a.message)
	case "yaml":
		return writeYAML(w, a.message)
	case "name":
		for _, name := range a.names {
			fmt.Fprintln(w, name)
		}
		return nil
	case "table", "wide":
		return o.table(w, a)
	default:
		return usagef("-o %s: not one of %s", o.format, strings.Join(formats, ", "))
	}
}

func writeJSON(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("show as JSON: %w", err)
	}
	var indented bytes.Buffer // protojson's own spaces change from build to build
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		return fmt.Errorf("show as JSON: %w", err)
	}
	_, err = fmt.Fprintln(w, indented.String())
	return err
}

func writeYAML(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("show as YAML: %w", err)
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return fmt.Errorf("show as YAML: %w", err)
	}
	out, err := yaml.Marshal(tree)
	if err != nil {
		return fmt.Errorf("show as YAML: %w", err)
	}
	_, err = w.Write(out)
	return err
}

const columnGap = 3 // spaces

// table aligns columns on a terminal and writes tab-separated lines elsewhere, so
// that cut and awk see plain fields.
func (o *outputFlag) table(w io.Writer, a answer) error {
	columns := len(a.header)
	if a.wide > 0 && o.format != "wide" {
		columns = a.wide
	}
	if !isTerminal(w) {
		for _, row := range slices.Concat([][]string{a.header}, a.rows) {
			fmt.Fprintln(w, strings.Join(row[:columns], "\t"))
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, columnGap, ' ', 0)
	for _, row := range slices.Concat([][]string{a.header}, a.rows) {
		fmt.Fprintln(t, strings.Join(row[:columns], "\t"))
	}
	return t.Flush()
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// tell writes what a changing verb did, or would do.
func tell(cmd *cobra.Command, dryRun bool, did, would, format string, args ...any) error {
	if dryRun {
		did = "would " + would
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), did, fmt.Sprintf(format, args...))
	return err
}

// count returns "1 partition" and "2 partitions".
func count(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.FormatInt(n, 10) + " " + noun
}
