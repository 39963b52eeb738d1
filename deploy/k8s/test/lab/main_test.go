package lab

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	swaps = flag.Int("swaps", 20, "how many times the payload and the streamed binary are swapped under load")
	keep  = flag.String("keep", "", "a directory to copy the lab's logs to")
)

// theLab is the one that all tests use; nil where there can be none.
var (
	theLab  *Lab
	missing error
)

const root = "../../../.."

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, cgroup, inside := Inside()
	if !inside {
		if missing = Tools(); missing != nil {
			return m.Run() // every test says so
		}
		dir, err := os.MkdirTemp("", "graceinit-lab-")
		if err == nil {
			err = build(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			_ = os.RemoveAll(dir)
			return 1
		}
		code, err := Enter(filepath.Join(dir, "bin", "graceinit"), dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	runtime, err := Prepare()
	if err == nil {
		theLab, err = Start(ctx, dir, runtime, cgroup)
	}
	if err == nil {
		err = theLab.Add(ctx, images(dir)...)
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	if theLab != nil {
		if err := theLab.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if *keep != "" {
		for from, to := range map[string]string{filepath.Join(dir, "lab.log"): "lab.log", runtime + "/containerd.log": "containerd.log"} {
			if text, err := os.ReadFile(from); err == nil {
				_ = os.WriteFile(filepath.Join(*keep, to), text, 0o644)
			}
		}
	}
	return code
}

// need skips a test where there is no lab; in CI that is a failure.
func need(t *testing.T) {
	t.Helper()
	switch {
	case missing == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(missing)
	default:
		t.Skip(missing)
	}
}

// build makes every program of the lab.
func build(dir string) error {
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	graceinit := filepath.Join(bin, "graceinit")
	if given := os.Getenv("GRACEINIT_BIN"); given != "" {
		text, err := os.ReadFile(given)
		if err == nil {
			err = os.WriteFile(graceinit, text, 0o755)
		}
		if err != nil {
			return err
		}
	} else if err := command("", "make", "-s", "-C", root, "build", "OUT="+graceinit); err != nil {
		return err
	}
	for name, flags := range map[string]string{
		"hello-v1": "-X main.version=v1", "hello-v2": "-X main.version=v2", "hello-v3": "-X main.version=v3",
		"hello-bad":  "-X main.version=bad -X main.fault=crash",
		"hello-late": "-X main.version=late -X main.fault=late",
	} {
		err := command("", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w "+flags, "-o", filepath.Join(bin, name), "./fixtures/hello")
		if err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "hello-text"), []byte("what somebody has put into the image by mistake\n"), 0o755); err != nil {
		return err
	}
	if err := command("", "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(bin, "pause"), "./fixtures/pause"); err != nil {
		return err
	}
	for _, name := range []string{"kubectl-graceinit", "graceinit-exporter"} {
		source := filepath.Join(root, "cmd", name)
		if _, err := os.Stat(filepath.Join(source, "main.go")); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := command(source, "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(bin, name), "."); err != nil {
			return err
		}
	}
	return nil
}

func command(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func images(dir string) []Image {
	bin := func(name string) string { return filepath.Join(dir, "bin", name) }
	list := []Image{
		{Name: pause, Files: map[string]string{"/pause": bin("pause")}, Entrypoint: []string{"/pause"}},
		{Name: "registry.example/graceinit:1", Files: map[string]string{"/graceinit": bin("graceinit")}, Entrypoint: []string{"/graceinit"}, User: "65532:65532"},
	}
	for _, v := range []string{"v1", "v2", "v3", "bad", "late", "text"} {
		app := bin("hello-" + v)
		list = append(list,
			Image{Name: "registry.example/hello:" + v, Files: map[string]string{"/app": app}, Entrypoint: []string{"/app"}, User: "65532:65532"},
			Image{
				Name: "registry.example/hello-baked:" + v, Files: map[string]string{"/app": app, "/graceinit": bin("graceinit")},
				Entrypoint: []string{"/graceinit", "--", "/app"}, User: "65532:65532",
			})
	}
	if kubectl, err := exec.LookPath(kubectlName()); err == nil {
		list = append(list, Image{
			Name: "registry.example/kubectl-graceinit:1", User: "65532:65532",
			Files: map[string]string{"/kubectl": kubectl, "/kubectl-graceinit": bin("kubectl-graceinit")},
		})
	}
	for _, x := range []string{"graceinit-exporter"} {
		if _, err := os.Stat(bin(x)); err == nil {
			list = append(list, Image{Name: "registry.example/" + x + ":1", Files: map[string]string{"/" + x: bin(x)}, Entrypoint: []string{"/" + x}, User: "65532:65532"})
		}
	}
	return list
}

// kubectl runs kubectl as the cluster's admin and returns what it printed; a failure ends the test.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := kubectlCommand(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

func kubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, kubectlName(), args...)
	cmd.Env = environment()
	return cmd
}

// kubectlName is the kubectl to be used: KUBECTL says so where it is not the one on the PATH.
func kubectlName() string {
	if name := os.Getenv("KUBECTL"); name != "" {
		return name
	}
	return "kubectl"
}

// environment is that of every command of the lab: its kubeconfig, its programs, and nothing of the user's.
func environment() []string {
	return append(os.Environ(), "KUBECONFIG="+theLab.Kubeconfig, "HOME="+theLab.Dir,
		"PATH="+filepath.Join(theLab.Dir, "bin")+":"+os.Getenv("PATH"), "HTTPS_PROXY=", "https_proxy=")
}
