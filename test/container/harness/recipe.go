package harness

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// What the recipes' Dockerfiles install by apt-get, and what the builder images of the recipes do.
var recipePackages = []string{
	"ca-certificates", "cargo", "gunicorn", "haproxy", "libjetty9-java", "librust-listenfd-dev", "librust-signal-hook-dev",
	"nginx-light", "nodejs", "openjdk-17-jdk-headless", "openjdk-17-jre-headless", "php8.2-fpm", "puma", "python3", "ruby-sd-notify", "unicorn",
}

// repository is where RecipeBase keeps these packages, in the image.
const repository = "/var/lib/recipes"

// RecipeBase makes the image that the recipes are built from: a minimal Debian whose only package source is a
// directory in it, with everything that a recipe may install. So `apt-get update && apt-get install` in a Dockerfile
// does its whole work and needs no network; and what a Dockerfile forgets to install is not there.
func (d *Docker) RecipeBase(ctx context.Context, progress io.Writer) (string, error) {
	list := slices.Sorted(slices.Values(recipePackages))
	tag := "graceinit-test-recipes:" + hash(map[string][]byte{suite: []byte(strings.Join(list, ",") + runtime.GOARCH)})
	if d.hasImage(ctx, tag) {
		return tag, nil
	}
	root, err := os.MkdirTemp("", "graceinit-recipes-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(root)
	fmt.Fprintf(progress, "installing Debian %s for the recipes, and downloading %s (once; about two minutes)\n",
		suite, strings.Join(list, ", "))
	get := slices.Concat([]string{"chroot", root, "apt-get", "-q", "-y", "--no-install-recommends", "--download-only", "install"}, list)
	for _, args := range [][]string{
		{"debootstrap", "--variant=minbase", "--include=apt-utils", suite, root, mirror()},
		// What debootstrap left there is installed already.
		{"chroot", root, "apt-get", "clean"},
		get,
		{"mv", filepath.Join(root, "var/cache/apt/archives"), filepath.Join(root, repository)},
		{"chroot", root, "sh", "-c", "cd " + repository + " && apt-ftparchive packages . >Packages && rm -rf lock partial"},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
		if b, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot run %s: %w: %s", strings.Join(args, " "), err, tail(string(b), 3000))
		}
	}
	source := []byte("deb [trusted=yes] file:" + repository + " ./\n")
	if err := os.WriteFile(filepath.Join(root, "etc/apt/sources.list"), source, 0o644); err != nil {
		return "", err
	}
	return tag, d.importDir(ctx, tag, root, []string{"var/lib/apt/lists/*", "usr/share/doc/*", "usr/share/locale/*"})
}

// Image makes an image from a Dockerfile and files, whose names are paths in the build context, or finds it.
func (d *Docker) Image(ctx context.Context, name, dockerfile string, files map[string][]byte) (string, error) {
	return d.build(ctx, name, dockerfile, files)
}

// WaitFor polls for a container of this run that was made from an image, and returns its id.
func (d *Docker) WaitFor(ctx context.Context, image string) (string, error) {
	for {
		id, err := d.out(ctx, "ps", "-q", "--no-trunc", "--filter", "ancestor="+image, "--filter", "label="+Label+"="+d.run)
		if err != nil || id != "" {
			return id, err
		}
		time.Sleep(poll)
	}
}
