package main

import (
	"fmt"
	"slices"
	"strings"

	"moldau.dev/services/lifecycle"
)

// role is one kind of service.
type role struct {
	name  string
	about string
	needs []string // roles that it calls; they stand before it in the table
	build func(*process) []lifecycle.Part
}

// roles is the river: a process starts its roles down this table and stops
// them up it, so that a role is never without those it calls.
var roles = []role{
	{"metadata", "the controller: topics, nodes, leaders", nil, buildMetadata},
	{"storage-node", "keeps partitions and serves their batches", []string{"metadata"}, buildStorageNodes},
	{"coordinator", "groups, offsets and transactions", []string{"metadata", "storage-node"}, buildCoordinator},
	{"gateway", "the door for clients", []string{"metadata", "storage-node", "coordinator"}, buildGateway},
}

// pickRoles returns the named roles in river order.
func pickRoles(names []string) ([]role, error) {
	for _, name := range names {
		if !slices.ContainsFunc(roles, func(r role) bool { return r.name == name }) {
			return nil, usagef("no role %q; there are %s", name, strings.Join(roleNames(), ", "))
		}
	}
	var picked []role
	for _, r := range roles {
		if slices.Contains(names, r.name) {
			picked = append(picked, r)
		}
	}
	if len(picked) == 0 {
		return nil, usagef("no role given")
	}
	return picked, nil
}

func roleNames() []string {
	var names []string
	for _, r := range roles {
		names = append(names, r.name)
	}
	return names
}

// checkRiver returns an error where a role needs one that does not stand before it.
func checkRiver(table []role) error {
	var above []string
	for _, r := range table {
		for _, need := range r.needs {
			if !slices.Contains(above, need) {
				return fmt.Errorf("role %s needs %s, which does not stand before it", r.name, need)
			}
		}
		above = append(above, r.name)
	}
	return nil
}
