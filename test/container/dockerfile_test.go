package container

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

const builtVersion = "1.2.3-test"

// TestDockerfile builds the repository's Dockerfile, for both architectures, with a builder image made of the Go
// that runs this test, and without a network. Then it takes the binary into an image of a server's, as documented.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	needDocker(t)
	top := filepath.Dir(filepath.Dir(harness.Dir()))
	builder, err := docker.BuilderImage(t.Context(), images, top)
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			tag := "graceinit-test-product:" + arch
			args := []string{"--network", "none", "--build-arg", "GO_IMAGE=" + builder, "--build-arg", "VERSION=" + builtVersion,
				"--build-arg", "REVISION=0123abc"}
			if arch != runtime.GOARCH {
				args = append(args, "--build-arg", "TARGETARCH="+arch)
			}
			// The stage gets a name too, so that the next run finds it and replaces it.
			for _, b := range [][]string{{"graceinit-test-stage:" + arch, "--target", "build"}, {tag}} {
				if err := docker.Rebuild(t.Context(), b[0], top, append(b[1:], args...)...); err != nil {
					t.Fatal(err)
				}
			}
			binary := copyOut(t, tag)
			checkBinary(t, binary, arch)
			checkConfig(t, tag)
			if arch == runtime.GOARCH {
				t.Run("runs", func(t *testing.T) { checkRuns(t, tag) })
				t.Run("copied", func(t *testing.T) { checkCopied(t, tag) })
			}
		})
	}
}

// The exporter's Dockerfile is built the same way, and answers.
func TestExporterDockerfile(t *testing.T) {
	t.Parallel()
	needDocker(t)
	top := filepath.Dir(filepath.Dir(harness.Dir()))
	builder, err := docker.BuilderImage(t.Context(), images, top, filepath.Join(top, "cmd/graceinit-exporter"))
	if err != nil {
		t.Fatal(err)
	}
	const tag = "graceinit-test-exporter"
	for _, b := range [][]string{{tag + "-stage", "--target", "build"}, {tag}} {
		err := docker.Rebuild(t.Context(), b[0], top, append(b[1:], "-f", filepath.Join(top, "cmd/graceinit-exporter/Dockerfile"),
			"--network", "none", "--build-arg", "GO_IMAGE="+builder, "--build-arg", "VERSION="+builtVersion)...)
		if err != nil {
			t.Fatal(err)
		}
	}
	out, err := docker.Output(t.Context(), "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", tag, "--version")
	if err != nil || strings.TrimSpace(out) != "graceinit-exporter version "+builtVersion {
		t.Errorf("%q, %v", out, err)
	}
}

// copyOut returns the only file of the image.
func copyOut(t *testing.T, tag string) []byte {
	t.Helper()
	id, err := docker.Output(t.Context(), docker.CreateArgs(tag)...)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "graceinit")
	if _, err := docker.Output(t.Context(), "cp", id+":/graceinit", path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkBinary: for the architecture, static, stripped, small.
func checkBinary(t *testing.T, b []byte, arch string) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != want {
		t.Errorf("machine %v, want %v", f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("not static: has %v", p.Type)
		}
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB || strings.HasPrefix(s.Name, ".debug") || strings.HasPrefix(s.Name, ".zdebug") {
			t.Errorf("not stripped: has %s", s.Name)
		}
	}
	t.Logf("%s: %d bytes", arch, len(b))
}

// checkConfig: labels, entry point, and one layer of content.
func checkConfig(t *testing.T, tag string) {
	t.Helper()
	out, err := docker.Output(t.Context(), "inspect", "--format", "{{json .Config}}", tag)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		User       string
		Entrypoint []string
		Labels     map[string]string
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(c.Entrypoint) != "[/graceinit]" {
		t.Errorf("entry point %q", c.Entrypoint)
	}
	for label, want := range map[string]string{
		"title": "graceinit", "licenses": "Apache-2.0", "version": builtVersion, "revision": "0123abc",
		"source": "", "description": "", "documentation": "",
	} {
		if got := c.Labels["org.opencontainers.image."+label]; got == "" || want != "" && got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	if out, err = docker.Output(t.Context(), "inspect", "--format", "{{len .RootFS.Layers}}", tag); err != nil || out != "1" {
		t.Errorf("%s layers (%v), want one", out, err)
	}
}

var hardened = []string{"--user", "1000", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"}

// checkRuns: without any privilege and without anything else in the image.
func checkRuns(t *testing.T, tag string) {
	run := func(args ...string) (string, int) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return docker.RunAttached(ctx, append(append(hardened[:len(hardened):len(hardened)], tag), args...)...)
	}
	if out, code := run("--version"); code != 0 || !strings.Contains(out, builtVersion) {
		t.Errorf("--version: %q, status %d", out, code)
	}
	if out, code := run("--", "/nothing"); code != 127 || !strings.Contains(out, "/nothing") {
		t.Errorf("a command that is not there: %q, status %d, want 127", out, code)
	}
	if out, code := run("--", "/graceinit", "--version"); code != 0 || !strings.Contains(out, builtVersion) {
		t.Errorf("itself as the command: %q, status %d", out, code)
	}
}

// checkCopied: the documented use, COPY --from, with a server that upgrades.
func checkCopied(t *testing.T, tag string) {
	server := images.Scratch["gracedemo"]
	const mine = "graceinit-test-copied:latest"
	file := "FROM " + server + "\nCOPY --from=" + tag + " /graceinit /graceinit\nENTRYPOINT [\"/graceinit\", \"--\"]\n"
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := docker.Rebuild(t.Context(), mine, dir); err != nil {
		t.Fatal(err)
	}
	s := harness.Servers()[0]
	if s.Name != "gracedemo" {
		t.Fatalf("the first server is %s", s.Name)
	}
	own := *images
	own.Scratch = map[string]string{"gracedemo": mine}
	// The init is in the image's entry point.
	in := harness.Init{Name: "graceinit", Command: []string{"/graceinit"}, Ours: true, InImage: true}
	check(t, docker.Run(t.Context(), &own, harness.Case{Server: s, Init: in, Hardened: true, Scratch: true, Upgrades: 1}))
}
