package harness

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// The Debian of the base image, and what is in it: the servers, the peers, and make for the builder image of the
// Dockerfile's test.
const suite = "bookworm"

var packages = []string{
	"ca-certificates", "catatonit", "dumb-init", "gunicorn", "haproxy", "make", "nginx-light", "nodejs", "puma", "python3",
	"ruby-sd-notify", "systemd", "tini",
}

// goProgram is a program that is built here.
type goProgram struct {
	module string // its module's directory, from this module's
	pkg    string
}

// goPrograms are the servers, and what else runs in the containers, by name.
var goPrograms = map[string]goProgram{
	"gracedemo":  {".", "github.com/facebookgo/grace/gracedemo"},
	"tableflip":  {".", "./fixtures/tableflip"},
	"plaingo":    {".", "./fixtures/plaingo"},
	"hostile":    {".", "./fixtures/hostile"},
	"httpserver": {"../../examples", "./httpserver"},
	"fdstore":    {"../../examples", "./fdstore"},
	"fdclient":   {"../../examples", "./fdstore/client"},
}

// Images are the images that the containers run from.
type Images struct {
	Base    string            // Debian with the servers, the peers and make
	Servers string            // Base with the fixtures, for every server
	Scratch map[string]string // for each program that is built here an image with nothing else
}

// BuildImages makes the images, or finds them from an earlier run: their tags are hashes of what is in them. dir is
// the directory of this module, tmp one for the binaries. progress gets a line per step that takes time.
func (d *Docker) BuildImages(ctx context.Context, dir, tmp string, progress io.Writer) (*Images, error) {
	files := map[string][]byte{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	for name, p := range goPrograms {
		wg.Go(func() {
			b, err := buildGo(ctx, filepath.Join(dir, p.module), p.pkg, filepath.Join(tmp, name))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			}
			files["servers/"+name] = b
		})
	}
	base, err := d.baseImage(ctx, progress)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	if len(errs) > 0 {
		return nil, errs[0]
	}

	img := &Images{Base: base, Scratch: map[string]string{}}
	for name := range goPrograms {
		tag, err := d.build(ctx, name, "FROM scratch\nCOPY servers/"+name+" /servers/"+name+"\n",
			map[string][]byte{"servers/" + name: files["servers/"+name]})
		if err != nil {
			return nil, err
		}
		img.Scratch[name] = tag
	}
	conf, err := filepath.Glob(filepath.Join(dir, "fixtures", "conf", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range conf {
		if files["conf/"+filepath.Base(path)], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	img.Servers, err = d.build(ctx, "servers", "FROM "+base+"\nCOPY servers /servers\nCOPY conf /conf\n", files)
	return img, err
}

// buildGo builds a static program and returns it.
func buildGo(ctx context.Context, dir, pkg, out string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build %s: %w: %s", pkg, err, tail(string(b), 2000))
	}
	return os.ReadFile(out)
}

// build makes an image from files, whose names are paths in the build context.
func (d *Docker) build(ctx context.Context, name, dockerfile string, files map[string][]byte) (string, error) {
	all := maps.Clone(files)
	all["Dockerfile"] = []byte(dockerfile)
	return d.buildAs(ctx, "graceinit-test-"+name+":"+hash(all), dockerfile, files)
}

// buildAs is build with a tag of the caller's.
func (d *Docker) buildAs(ctx context.Context, tag, dockerfile string, files map[string][]byte) (string, error) {
	if d.hasImage(ctx, tag) {
		return tag, nil
	}
	all := map[string][]byte{"Dockerfile": []byte(dockerfile)}
	maps.Copy(all, files)
	_, err := d.pipe(ctx, archive(all), "build", "--label", Label+"=image", "-t", tag, "-")
	return tag, err
}

// Rebuild builds an image from a directory and removes the one that had its tag before, which would stay for ever.
func (d *Docker) Rebuild(ctx context.Context, tag, dir string, args ...string) error {
	id := func() string {
		id, _ := d.out(ctx, "image", "inspect", "--format", "{{.Id}}", tag)
		return id
	}
	old := id()
	all := append([]string{"build", "--label", Label + "=image", "-t", tag}, args...)
	if out, err := d.out(ctx, append(all, dir)...); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(out, 4000))
	}
	if old != "" && old != id() {
		_, _ = d.out(ctx, "rmi", old) // in use by somebody: then it stays
	}
	return nil
}

func (d *Docker) hasImage(ctx context.Context, tag string) bool {
	_, err := d.out(ctx, "image", "inspect", "--format", "{{.Id}}", tag)
	return err == nil
}

// baseImage installs the Debian base image. No image is pulled: registries have limits, Debian's mirrors have not.
func (d *Docker) baseImage(ctx context.Context, progress io.Writer) (string, error) {
	list := strings.Join(packages, ",")
	tag := "graceinit-test-debian:" + hash(map[string][]byte{suite: []byte(list + runtime.GOARCH)})
	if d.hasImage(ctx, tag) {
		return tag, nil
	}
	root, err := os.MkdirTemp("", "graceinit-debian-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(root)
	fmt.Fprintf(progress, "installing Debian %s with %s for the test image (once; about two minutes)\n", suite, list)
	cmd := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include="+list, suite, root, mirror())
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot debootstrap: %w: %s", err, tail(string(b), 3000))
	}
	return tag, d.importDir(ctx, tag, root, []string{"var/cache/apt/*", "var/lib/apt/lists/*", "usr/share/doc/*", "usr/share/locale/*"})
}

// mirror is where Debian's packages come from.
func mirror() string {
	if m := os.Getenv("DEBIAN_MIRROR"); m != "" {
		return m
	}
	return "http://deb.debian.org/debian"
}

// importDir makes an image of a directory tree.
func (d *Docker) importDir(ctx context.Context, tag, root string, exclude []string, changes ...string) error {
	args := []string{"--one-file-system", "-C", root, "-c"}
	for _, e := range exclude {
		args = append(args, "--exclude=./"+e)
	}
	pack := exec.CommandContext(ctx, "tar", append(args, ".")...)
	out, err := pack.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	pack.Stderr = &stderr
	if err := pack.Start(); err != nil {
		return err
	}
	im := []string{"import"}
	for _, c := range append(changes, "LABEL "+Label+"=image") {
		im = append(im, "-c", c)
	}
	_, err = d.pipe(ctx, out, append(im, "-", tag)...)
	if werr := pack.Wait(); err == nil && werr != nil {
		err = fmt.Errorf("cannot pack %s: %w: %s", root, werr, tail(stderr.String(), 1000))
	}
	return err
}

// hash names a set of files.
func hash(files map[string][]byte) string {
	h := sha256.New()
	for _, n := range sorted(files) {
		fmt.Fprintf(h, "%s %d\n", n, len(files[n]))
		h.Write(files[n])
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// archive packs a build context. Everything in it is executable by all: the containers run as any user.
func archive(files map[string][]byte) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range sorted(files) {
		// Writing to a buffer cannot fail.
		_ = w.WriteHeader(&tar.Header{Name: n, Mode: 0o755, Size: int64(len(files[n])), Format: tar.FormatPAX})
		_, _ = w.Write(files[n])
	}
	_ = w.Close()
	return &b
}

func sorted(m map[string][]byte) []string {
	var out []string
	for n := range m {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
