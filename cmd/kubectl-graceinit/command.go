package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/fleet"
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
)

// run is the program: it returns the exit code.
func run(ctx context.Context, stop <-chan struct{}, args []string, out, errs io.Writer) int {
	p := &program{stop: stop, out: out, errs: errs}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(errs, "kubectl graceinit: %v\n", err)
		if p.code == 0 {
			p.code = fleet.CodeUsage
		}
	}
	return p.code
}

// program is a command line.
type program struct {
	stop      <-chan struct{}
	out, errs io.Writer
	code      int

	namespace, context, kubeconfig, kubectl string
	output                                  string
	binary, image                           string
	fleet.Options
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-graceinit",
		Short:         "Upgrade the apps of many pods in place, pod by pod",
		Long:          longRoot,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl graceinit"},
		// Without Args cobra names an unknown command before it looks at the flags.
		RunE: func(c *cobra.Command, _ []string) error {
			_ = c.Help()
			return errors.New("say what to do: roll, status or rollback")
		},
	}
	root.SetVersionTemplate("kubectl-graceinit {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVarP(&p.namespace, "namespace", "n", "", "the pods' namespace (default: the context's)")
	flags.StringVar(&p.context, "context", "", "kubectl's context")
	flags.StringVar(&p.kubeconfig, "kubeconfig", "", "kubectl's configuration file")
	flags.StringVar(&p.kubectl, "kubectl", "kubectl", "the kubectl to run")
	root.AddCommand(p.rollCommand(), p.statusCommand(), p.rollbackCommand())
	return root
}

// podFlags are those of every command.
func (p *program) podFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVarP(&p.Selection.Selector, "selector", "l", "", "the pods with these labels, as kubectl takes them (app=hello,tier!=test)")
	flags.StringVarP(&p.Container, "container", "c", "",
		"the container in which graceinit runs the app (default: the pod's default container, else app, else the only one)")
	flags.StringVar(&p.Payload, "payload", "payload", "the container whose image carries the app's version")
	flags.StringVar(&p.Graceinit, "graceinit", "",
		"path of graceinit in the container (default: the container's command where it is graceinit, else /graceinit)")
	c.ValidArgsFunction = p.completePods
}

// rollFlags are those of the commands that change something.
func (p *program) rollFlags(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&p.MaxUnavailable, "max-unavailable", "1",
		"so many pods, or percent of them, may be in an upgrade or not ready at a time; percentages are rounded down, to 1 at least")
	flags.DurationVar(&p.Timeout, "timeout", 5*time.Minute,
		"how long a pod's upgrade may take, its drain and probation included; as long again for putting it back, and for waiting until pods are ready")
	flags.BoolVar(&p.DryRun, "dry-run", false, "say what would be done with each pod, and touch nothing")
	flags.BoolVar(&p.NoExec, "no-exec", false, "by image: do not ask graceinit in the pod, believe the payload's log (without it: asked where pods/exec is allowed)")
	flags.StringVarP(&p.output, "output", "o", "", "json: a line of JSON per event; table (default: table on a terminal, json elsewhere)")
	flags.DurationVar(&p.Poll, "poll", time.Second, "how long to wait between two looks at a pod")
	_ = flags.MarkHidden("poll")
}

func (p *program) rollCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "roll (-l SELECTOR | POD...) (--binary FILE | --image IMAGE)",
		Short:   "Upgrade pods in place, some at a time; stop at the first failure",
		Long:    longRoll,
		Example: exampleRoll,
		RunE: func(c *cobra.Command, args []string) error {
			if (p.binary == "") == (p.image == "") {
				return errors.New("say what to upgrade to: --binary FILE or --image IMAGE, and not both")
			}
			if p.image != "" {
				if err := checkImage(p.image); err != nil {
					return err
				}
			}
			f, err := p.fleet(args, c.Flags().Changed("output"), false)
			if err != nil {
				return err
			}
			if p.image != "" {
				p.code = f.Run(c.Context(), fleet.NewImage(f, p.image), p.stop)
				return nil
			}
			way, err := p.newBinary(f)
			if err != nil {
				return err
			}
			p.code = f.Run(c.Context(), way, p.stop)
			return nil
		},
	}
	p.podFlags(c)
	p.rollFlags(c)
	c.Flags().StringVar(&p.binary, "binary", "", "stream this file into the pods: needs the right to create pods/exec")
	c.Flags().StringVar(&p.image, "image", "", "set the image of the pods' payload: needs the right to patch pods (and statefulsets)")
	return c
}

func (p *program) rollbackCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "rollback (-l SELECTOR | POD...) [--binary FILE | --image IMAGE]",
		Short:   "Take an upgrade back, some pods at a time",
		Long:    longRollback,
		Example: exampleRollback,
		RunE: func(c *cobra.Command, args []string) error {
			if p.binary != "" && p.image != "" {
				return errors.New("--binary and --image exclude each other")
			}
			f, err := p.fleet(args, c.Flags().Changed("output"), false)
			if err != nil {
				return err
			}
			way := &fleet.Back{Fleet: f, Image: p.image}
			if p.binary != "" {
				if way.Of, err = p.newBinary(f); err != nil {
					return err
				}
			}
			p.code = f.Run(c.Context(), way, p.stop)
			return nil
		},
	}
	p.podFlags(c)
	p.rollFlags(c)
	c.Flags().StringVar(&p.binary, "binary", "", "only the pods that run this file, by their graceinit")
	c.Flags().StringVar(&p.image, "image", "", "only the pods whose payload has this image")
	return c
}

func (p *program) statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "status (-l SELECTOR | POD...)",
		Short:   "Show what graceinit says in each pod",
		Long:    longStatus,
		Example: exampleStatus,
		RunE: func(c *cobra.Command, args []string) error {
			f, err := p.fleet(args, c.Flags().Changed("output"), true)
			if err != nil {
				return err
			}
			p.code = f.Status(c.Context())
			return nil
		},
	}
	p.podFlags(c)
	c.Flags().StringVarP(&p.output, "output", "o", "table", "table, or json: a line of JSON per pod")
	return c
}

// newBinary reads the file. Where it cannot be used the cluster is not asked, but it is no bad usage.
func (p *program) newBinary(f *fleet.Fleet) (*fleet.Binary, error) {
	way, err := fleet.NewBinary(f, p.binary)
	if err != nil {
		p.code = fleet.CodeRefused
		return nil, fmt.Errorf("--binary: %w", err)
	}
	return way, nil
}

// fleet checks what was asked for.
func (p *program) fleet(pods []string, formatGiven, table bool) (*fleet.Fleet, error) {
	if (p.Selection.Selector == "") == (len(pods) == 0) {
		return nil, errors.New("say which pods: -l SELECTOR, or their names, and not both")
	}
	for i, name := range pods {
		name = strings.TrimPrefix(strings.TrimPrefix(name, "pods/"), "pod/")
		if strings.ContainsAny(name, "/:") {
			return nil, fmt.Errorf("%s is not the name of a pod (to upgrade to an image: kubectl graceinit roll ... --image IMAGE)", name)
		}
		pods[i] = name
	}
	p.Selection.Names = pods
	if !table {
		if _, err := plan.ParseMax(p.MaxUnavailable, 1); err != nil {
			return nil, fmt.Errorf("--max-unavailable: %w", err)
		}
		if p.Timeout <= 0 || p.Poll <= 0 {
			return nil, errors.New("--timeout must be longer than nothing")
		}
	}
	report := &fleet.Report{Out: p.out, Err: p.errs, Now: time.Now}
	file, isFile := p.out.(*os.File)
	terminal := isFile && term.IsTerminal(int(file.Fd()))
	switch {
	case p.output == "json", !formatGiven && !table && !terminal:
		report.JSON = true
	case p.output != "table" && p.output != "":
		return nil, fmt.Errorf("--output is json or table, not %q", p.output)
	}
	if terminal {
		report.Size = func() (int, int) {
			width, height, err := term.GetSize(int(file.Fd()))
			if err != nil {
				return 80, 24
			}
			return width, height
		}
	}
	return &fleet.Fleet{Options: p.Options, Kube: p.kube(), Report: report}, nil
}

func (p *program) kube() *kube.Kubectl {
	k := &kube.Kubectl{Path: p.kubectl, Quick: 30 * time.Second}
	for _, flag := range []struct{ name, value string }{
		{"--kubeconfig", p.kubeconfig}, {"--context", p.context}, {"--namespace", p.namespace},
	} {
		if flag.value != "" {
			k.Global = append(k.Global, flag.name, flag.value)
		}
	}
	if path, err := exec.LookPath(p.kubectl); err == nil {
		k.Path = path
	}
	return k
}

// completePods completes the names of pods.
func (p *program) completePods(c *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	pods, err := p.kube().Pods(c.Context(), kube.Selection{}, true)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, pod := range pods {
		if strings.HasPrefix(pod.Meta.Name, start) {
			names = append(names, pod.Meta.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
