package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"moldau.dev/metadata"
	"moldau.dev/metadata/store"
	"moldau.dev/services/clock"
)

// acceptRestoreCommand is the operator's word that metadata which was set back
// to a snapshot is to be believed. It works on the store itself, with the
// settings of a metadata process.
func (c *cli) acceptRestoreCommand() *cobra.Command {
	var care care
	cmd := &cobra.Command{
		Use:   "accept-restore",
		Short: "Go on from metadata that was set back to a snapshot, losing what came after",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.settings(defaultSettings(), nil)
			if err != nil {
				return err
			}
			if err := care.ask(cmd, "Topics, partitions and replicas that came after the snapshot are forgotten; their data stays on the nodes. Go on?"); err != nil {
				return err
			}
			if care.dryRun {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "would raise the generation of the metadata in store %s\n", s.Metadata.Store)
				return err
			}
			return c.acceptRestore(cmd, s)
		},
	}
	care.add(cmd)
	return cmd
}

func (c *cli) acceptRestore(cmd *cobra.Command, s Settings) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	cfg := metadata.Default()
	cfg.StoreKind, cfg.Consul = s.Metadata.Store, s.consul()
	p := process{settings: s}
	cfg.DataDir = p.dir("metadata")
	generation, err := metadata.AcceptRestore(ctx, cfg, clock.Real(), slog.New(slog.DiscardHandler))
	if errors.Is(err, store.ErrLocked) {
		return dirInUse(s.DataDir)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "the metadata is generation %d now\n", generation)
	return err
}
