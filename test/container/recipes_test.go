package container

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graceinit/graceinit/test/container/harness"
)

// recipe is how a recipe of docs/recipes is run: built from its own Dockerfile, with its own flags, upgraded by the
// command that its README gives.
type recipe struct {
	server harness.Server
	notRun string // why it cannot be
	// front is the configuration of an nginx in the recipe's directory that stands before a server that does not speak
	// HTTP, in the same network namespace.
	front string
	// standIn is the build argument for an image with something in the server's place, which is run although the server
	// itself is not.
	standIn string
	drains  time.Duration // how long the predecessor is to live at least, where nobody but the app may end it
}

var recipes = []recipe{
	{server: harness.Server{Name: "grace", ClosesIdle: harness.AfterReading}},
	{server: harness.Server{Name: "tableflip"}},
	{server: harness.Server{Name: "nginx", ClosesIdle: harness.BeforeReading}},
	{server: harness.Server{Name: "gunicorn"}},
	{server: harness.Server{Name: "unicorn"}},
	{server: harness.Server{Name: "puma"}},
	{server: harness.Server{Name: "haproxy", Outcome: harness.InPlace, Final: "upgrade done in place"}},
	{server: harness.Server{Name: "php-fpm"}, front: "nginx.conf"},
	{server: harness.Server{Name: "node"}},
	{server: harness.Server{Name: "python"}},
	{server: harness.Server{Name: "java"}},
	{server: harness.Server{Name: "systemd-go"}},
	{server: harness.Server{Name: "systemd-rust"}},
	// A stand-in is run in Envoy's place. The predecessor is to live for --parent-shutdown-time-s.
	{server: harness.Server{Name: "envoy"}, notRun: "no image with Envoy is pulled", standIn: "ENVOY_IMAGE", drains: 30 * time.Second},
	{server: harness.Server{Name: "mosn"}, notRun: "MOSN is neither pulled nor built"},
}

func recipesDir() string {
	return filepath.Join(filepath.Dir(filepath.Dir(harness.Dir())), "docs", "recipes")
}

// debianCrates has cargo take crates from Debian's packages.
const debianCrates = `
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "/usr/share/cargo/registry"
`

// prepareRecipes makes the images that all recipes are built with, and returns the arguments of docker build that name
// them.
var prepareRecipes = sync.OnceValues(func() ([]string, error) {
	ctx := context.Background()
	var modules []string
	for _, r := range recipes {
		if _, err := os.Stat(filepath.Join(recipesDir(), r.server.Name, "go.mod")); err == nil {
			modules = append(modules, filepath.Join(recipesDir(), r.server.Name))
		}
	}
	var golang string
	var golangErr error
	var wg sync.WaitGroup
	wg.Go(func() { golang, golangErr = docker.BuilderImage(ctx, images, modules...) })
	base, err := docker.RecipeBase(ctx, os.Stderr)
	wg.Wait()
	if err = errors.Join(err, golangErr); err != nil {
		return nil, err
	}
	init, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	envoy, err := os.ReadFile(filepath.Join(harness.Dir(), "fixtures", "recipe", "envoy.py"))
	if err != nil {
		return nil, err
	}
	const install = "\nRUN apt-get update && apt-get install -y --no-install-recommends "
	args := []string{"--build-arg", "BASE=" + base}
	for _, i := range []struct {
		arg, name, dockerfile string
		files                 map[string][]byte
	}{
		{"GRACEINIT", "graceinit", "FROM scratch\nCOPY graceinit /graceinit\n", map[string][]byte{"graceinit": init}},
		// With the standard library compiled, once for all.
		{"GO_IMAGE", "go", "FROM " + golang + "\nRUN CGO_ENABLED=0 go build -trimpath net/http\n", map[string][]byte{}},
		{"RUST_IMAGE", "rust", "FROM " + base + install + "cargo librust-listenfd-dev librust-signal-hook-dev\n" +
			"COPY config.toml /.cargo/config.toml\n", map[string][]byte{"config.toml": []byte(debianCrates)}},
		{"ENVOY_IMAGE", "envoy", "FROM " + base + install + "python3 && useradd envoy\n" +
			"COPY envoy /usr/local/bin/envoy\n", map[string][]byte{"envoy": envoy}},
	} {
		tag, err := docker.Image(ctx, i.name, i.dockerfile, i.files)
		if err != nil {
			return nil, err
		}
		args = append(args, "--build-arg", i.arg+"="+tag)
	}
	return append(args, "--network", "none"), nil
})

// TestRecipes builds every recipe from its own directory, without a network, and upgrades it under load.
func TestRecipes(t *testing.T) {
	needDocker(t)
	args, err := prepareRecipes()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recipes {
		t.Run(r.server.Name, func(t *testing.T) {
			if r.notRun != "" && r.standIn == "" {
				t.Skip(r.notRun)
			}
			t.Parallel()
			r.run(t, args)
		})
	}
}

func (r recipe) run(t *testing.T, args []string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // a first build on a busy machine
	defer cancel()
	dir := filepath.Join(recipesDir(), r.server.Name)
	dockerfile, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	tag := "graceinit-test-recipe-" + r.server.Name + ":latest"
	// A stage that builds gets a name too, so that the next run finds it and replaces it.
	if strings.Contains(string(dockerfile), " AS build\n") {
		stage := slices.Concat(args, []string{"--target", "build"})
		if err := docker.Rebuild(ctx, strings.Replace(tag, "latest", "build", 1), dir, stage...); err != nil {
			t.Fatal(err)
		}
	}
	if err := docker.Rebuild(ctx, tag, dir, args...); err != nil {
		t.Fatal(err)
	}
	if r.front != "" {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			front(ctx, t, tag, filepath.Join(dir, r.front))
		}()
		defer func() { cancel(); <-ended }()
	}
	own := *images
	own.Scratch = maps.Clone(images.Scratch)
	own.Scratch[tag] = tag
	s := r.server
	s.Image, s.Fast, s.Slow = tag, "/", "/slow"
	if s.Final == "" {
		s.Final = "upgrade done"
	}
	// The init and its flags are in the image's entry point.
	in := harness.Init{Name: "graceinit", Command: []string{"/graceinit"}, Ours: true, InImage: true}
	rep := docker.Run(ctx, &own, harness.Case{Server: s, Init: in, Scratch: true, Upgrades: 2})
	check(t, rep)
	for i, u := range rep.Upgrades {
		if u.Drained < r.drains {
			t.Errorf("upgrade %d: the predecessor has gone after %v, want %v at least\n%s", i+1, u.Drained, r.drains, rep)
		}
	}
}

// front starts an nginx in the network namespace of the container that runs from an image, as soon as there is one.
func front(ctx context.Context, t *testing.T, image, conf string) {
	id, err := docker.WaitFor(ctx, image)
	if err == nil {
		_, err = docker.Output(ctx, docker.RunArgs("-d", "--network", "container:"+id, "-v", conf+":/front.conf:ro",
			images.Base, "/usr/sbin/nginx", "-e", "stderr", "-c", "/front.conf", "-g", "daemon off;")...)
	}
	if err != nil && ctx.Err() == nil {
		t.Errorf("cannot start the web server in front: %v", err)
	}
}

// TestRecipesIndex: the index, the directories and what runs here are the same set, and each recipe is complete.
func TestRecipesIndex(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile(filepath.Join(recipesDir(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| \[([^\]]+)\]\(([^)]+)\) \|.*$`).FindAllStringSubmatch(string(index), -1) {
		if m[2] != m[1]+"/README.md" {
			t.Errorf("the index links %s to %s", m[1], m[2])
		}
		listed[m[1]] = m[0]
	}
	entries, err := os.ReadDir(recipesDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := listed[e.Name()]; e.IsDir() && !ok {
			t.Errorf("%s is not in the index", e.Name())
		}
	}
	for _, r := range recipes {
		name := r.server.Name
		row, ok := listed[name]
		if !ok {
			t.Errorf("%s is not in the index", name)
		}
		delete(listed, name)
		if got, want := strings.Contains(row, "not run"), r.notRun != ""; got != want {
			t.Errorf("the index calls %s not run: %v, want %v", name, got, want)
		}
		file := func(f string) string {
			b, err := os.ReadFile(filepath.Join(recipesDir(), name, f))
			if err != nil {
				t.Error(err)
			}
			return string(b)
		}
		dockerfile := file("Dockerfile")
		readme := strings.Join(strings.Fields(file("README.md")), " ") // however its lines are broken
		for _, want := range []string{"docker kill -s ", "kubectl exec POD -- /graceinit upgrade", "graceinit status", "upgrade done"} {
			if !strings.Contains(readme, want) {
				t.Errorf("%s/README.md does not say %q", name, want)
			}
		}
		if got, want := strings.Contains(readme, "**not run**"), r.notRun != ""; got != want {
			t.Errorf("%s/README.md says that it is not run: %v, want %v", name, got, want)
		}
		for _, want := range []string{"ARG GRACEINIT=graceinit\n", "FROM ${GRACEINIT} AS graceinit\n",
			"COPY --from=graceinit /graceinit /graceinit\n", "ENTRYPOINT [\"/graceinit\", ", "\nUSER "} {
			if !strings.Contains(dockerfile, want) {
				t.Errorf("%s/Dockerfile does not say %q", name, want)
			}
		}
	}
	for name := range listed {
		t.Errorf("the index has %s, which this test does not know", name)
	}
}
