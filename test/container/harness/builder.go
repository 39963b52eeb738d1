package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BuilderImage makes the image that Dockerfiles are built with: the base image, the Go that runs here, and the modules
// that the go.mod files in dirs name. With it the build needs no network.
func (d *Docker) BuilderImage(ctx context.Context, img *Images, dirs ...string) (string, error) {
	env, err := goEnv(ctx, dirs[0], "GOROOT", "GOVERSION", "GOMODCACHE", "GOARCH", "GOPROXY")
	if err != nil {
		return "", err
	}
	goroot, cache := env[0], env[2]
	key := map[string][]byte{"go": []byte(env[1] + env[3]), "base": []byte(img.Base)}
	for i, dir := range dirs {
		for _, f := range []string{"go.mod", "go.sum"} {
			if key[fmt.Sprint(f, i)], err = os.ReadFile(filepath.Join(dir, f)); err != nil {
				return "", err
			}
		}
	}
	sum := hash(key)
	tag := "graceinit-test-builder:" + sum
	if d.hasImage(ctx, tag) {
		return tag, nil
	}

	tmp, err := os.MkdirTemp("", "graceinit-builder-")
	if err != nil {
		return "", err
	}
	// The module cache is made read-only.
	defer func() {
		_ = exec.Command("chmod", "-R", "u+w", tmp).Run()
		_ = os.RemoveAll(tmp)
	}()
	if err := os.MkdirAll(filepath.Join(tmp, "usr/local"), 0o755); err != nil {
		return "", err
	}
	if b, err := exec.CommandContext(ctx, "cp", "-rL", goroot, filepath.Join(tmp, "usr/local/go")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot copy %s: %w: %s", goroot, err, tail(string(b), 1000))
	}
	// Only what go.mod names, taken from this machine's cache first.
	for _, dir := range dirs {
		get := exec.CommandContext(ctx, "go", "mod", "download")
		get.Dir = dir
		get.Env = append(os.Environ(), "GOMODCACHE="+filepath.Join(tmp, "go/pkg/mod"), "GOFLAGS=",
			"GOPROXY=file://"+filepath.Join(cache, "cache/download")+","+env[4])
		if b, err := get.CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot download the modules of %s: %w: %s", dir, err, tail(string(b), 1000))
		}
	}

	// An import has no parent: what it adds to the base image is copied on top of it.
	layer := "graceinit-test-toolchain:" + sum
	if err := d.importDir(ctx, layer, tmp, nil); err != nil {
		return "", err
	}
	return d.buildAs(ctx, tag, "FROM "+img.Base+"\nCOPY --from="+layer+" / /\n"+
		"ENV GOPATH=/go GOPROXY=off GOSUMDB=off GOTOOLCHAIN=local PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", nil)
}

func goEnv(ctx context.Context, dir string, names ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"env"}, names...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot ask go env: %w", err)
	}
	values := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(values) != len(names) {
		return nil, fmt.Errorf("go env %q says %q", names, out)
	}
	return values, nil
}

// CreateArgs are the arguments that create a container of this run without starting it.
func (d *Docker) CreateArgs(args ...string) []string {
	return append([]string{"create", "--label", Label + "=" + d.run}, args...)
}

// RunAttached runs a container to its end and returns its output and status.
func (d *Docker) RunAttached(ctx context.Context, args ...string) (string, int) {
	cmd := exec.CommandContext(ctx, d.bin, d.RunArgs(append([]string{"--rm"}, args...)...)...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return b.String() + err.Error(), -1
	}
	return b.String(), cmd.ProcessState.ExitCode()
}
