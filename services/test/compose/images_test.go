//go:build compose

package compose

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// Images that the files name. Where the engine has one, or can pull it, it is
// what it is elsewhere; otherwise the same programs of this machine stand in.
var images = []struct {
	name   string
	config []string // as docker import's -c
	files  func(t *testing.T) []file
}{
	{"golang:1.26", []string{"ENV PATH=/usr/local/go/bin:/bin GOTOOLCHAIN=local"}, toolchain},
	{"hashicorp/consul:1.21", []string{"ENV PATH=/bin", "VOLUME /consul/data"}, consulServer},
}

// file is one of an image: a copy of a file or folder, a text, or an empty folder.
type file struct {
	to, from, text string
	mode           int64 // of text and folders
	uid, gid       int
}

func toolchain(t *testing.T) []file {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	files := []file{
		{to: "tmp", mode: 0o1777},
		{to: "root", mode: 0o700},
		{to: "usr/local/go", from: strings.TrimSpace(string(out))},
		{to: "etc/ssl/certs/ca-certificates.crt", from: "/etc/ssl/certs/ca-certificates.crt"},
		{to: "bin/sh", from: "/bin/sh"},
	}
	libraries, err := exec.Command("ldd", "/bin/sh").Output()
	if err != nil {
		t.Fatalf("ldd: %v", err)
	}
	for _, word := range strings.Fields(string(libraries)) {
		if path.IsAbs(word) {
			files = append(files, file{to: word[1:], from: word})
		}
	}
	return files
}

func consulServer(*testing.T) []file {
	return []file{
		{to: "tmp", mode: 0o1777},
		{to: "bin/consul", from: filepath.Join(root, "bin", "consul")},
		{to: "etc/passwd", text: "root:x:0:0::/root:\nconsul:x:100:1000::/consul:\n", mode: 0o644},
		{to: "etc/group", text: "root:x:0:\nconsul:x:1000:\n", mode: 0o644},
		{to: "consul", mode: 0o755, uid: 100, gid: 1000},
		{to: "consul/data", mode: 0o755, uid: 100, gid: 1000},
	}
}

// haveImages brings the images into the engine.
func haveImages(t *testing.T) {
	t.Helper()
	for _, image := range images {
		if exec.Command("docker", "image", "inspect", image.name).Run() == nil {
			continue
		}
		if exec.Command("docker", "pull", "--quiet", image.name).Run() == nil {
			continue
		}
		t.Logf("%s cannot be pulled; this machine's own stands in", image.name)
		args := []string{"import"}
		for _, c := range image.config {
			args = append(args, "-c", c)
		}
		cmd := exec.Command("docker", append(args, "-", image.name)...)
		in, out := io.Pipe()
		cmd.Stdin = in
		go func() { out.CloseWithError(pack(out, image.files(t))) }()
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("docker import %s: %v\n%s", image.name, err, said)
		}
	}
}

func pack(to io.Writer, files []file) error {
	w := tar.NewWriter(to)
	for _, f := range files {
		if err := f.pack(w); err != nil {
			return err
		}
	}
	return w.Close()
}

func (f file) pack(w *tar.Writer) error {
	switch {
	case f.text != "":
		err := w.WriteHeader(&tar.Header{Name: f.to, Mode: f.mode, Size: int64(len(f.text)), Uid: f.uid, Gid: f.gid})
		_, wrote := io.WriteString(w, f.text)
		return errors.Join(err, wrote)
	case f.from == "":
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: f.to + "/", Mode: f.mode, Uid: f.uid, Gid: f.gid})
	}
	from, err := filepath.EvalSymlinks(f.from)
	if err != nil {
		return err
	}
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid = f.to+strings.TrimPrefix(name, from), 0, 0
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		content, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, content)
		return errors.Join(err, content.Close())
	})
}
