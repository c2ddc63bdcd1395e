package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"moldau.dev/services/config"
)

// A profile is a config file of the user's, NAME.yaml in one folder, so that a
// word chooses between clusters. The profile config is there without asking.
const (
	profileVar     = "MOLDAU_PROFILE"
	defaultProfile = "config"
)

// readProfile puts the profile's file into src. Only the default one need not
// exist.
func readProfile(src *config.Sources, name string) error {
	name = cmp.Or(name, os.Getenv(profileVar))
	if strings.ContainsRune(name, filepath.Separator) {
		return usagef("profile %s: a name, not a path; --config takes a file", name)
	}
	path := profileFile(cmp.Or(name, defaultProfile))
	if path == "" {
		return nil // no home: a container, say
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && name == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return &failure{code: exitNotFound, hint: "moldau config profiles lists those that exist", err: errors.New("no profile " + name + ": there is no file " + path)}
	case err != nil:
		return usagef("read the profile: %w", err)
	}
	src.FileName, src.File = path, text
	return nil
}

func profileFile(name string) string {
	dir := profileDir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name+".yaml")
}

func profileDir() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "moldau")
}

// profiles are the names of those that exist.
func profiles() []string {
	files, _ := os.ReadDir(profileDir()) // no folder, no profiles
	var names []string
	for _, file := range files {
		if name, ok := strings.CutSuffix(file.Name(), ".yaml"); ok {
			names = append(names, name)
		}
	}
	return names
}

// withoutProfile drops the variable that chooses a profile: it is no setting.
func withoutProfile(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(kv string) bool { return strings.HasPrefix(kv, profileVar+"=") })
}
