package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/internal/control"
)

// PodStatus is what is known of a pod, and a line of JSON.
type PodStatus struct {
	Pod       string          `json:"pod"`
	Container string          `json:"container,omitempty"`
	Ready     bool            `json:"ready"` // as the cluster says
	Restarts  int             `json:"restarts"`
	Image     string          `json:"image,omitempty"`   // of the container
	Payload   string          `json:"payload,omitempty"` // image of the payload
	Status    *control.Status `json:"status,omitempty"`
	Error     string          `json:"error,omitempty"` // why there is none
	delivered string          // SHA-256 of what the payload has delivered, where it is known
}

// Status shows the pods, and returns the exit code: 0 if every pod is ready and its graceinit says so too.
func (f *Fleet) Status(ctx context.Context) int {
	pods, code := f.List(ctx)
	if code != CodeDone {
		return code
	}
	found := make([]PodStatus, len(pods))
	_ = each(pods, func(i int, pod *kube.Pod) error {
		found[i] = f.statusOf(ctx, pod)
		return nil
	})
	for _, s := range found {
		if !s.Ready || s.Status == nil || !s.Status.Ready {
			code = CodeRefused
		}
	}
	if f.Report.JSON {
		for _, s := range found {
			text, err := json.Marshal(s)
			if err != nil {
				fmt.Fprintln(f.Report.Err, err)
				return CodeRefused
			}
			fmt.Fprintf(f.Report.Out, "%s\n", text)
		}
		return code
	}
	fmt.Fprint(f.Report.Out, statusTable(found))
	for _, s := range found {
		if s.Error != "" {
			fmt.Fprintf(f.Report.Err, "%s: %s\n", s.Pod, s.Error)
		}
	}
	return code
}

func (f *Fleet) statusOf(ctx context.Context, pod *kube.Pod) PodStatus {
	s := PodStatus{Pod: pod.Meta.Name, Ready: pod.Ready()}
	if c := pod.Spec.Container(f.Payload); c != nil {
		s.Payload, s.delivered = c.Image, pod.Meta.Annotations[annDelivered]
	}
	j, err := f.newJob(pod)
	s.Container = j.container
	if c := pod.Spec.Container(j.container); c != nil {
		s.Image, s.Restarts = c.Image, pod.Container(j.container).RestartCount
	}
	switch {
	case err != nil:
	case !pod.Able(j.container):
		err = fmt.Errorf("its container %s does not run (%s)", j.container, pod.Status.Phase)
	default:
		if s.Status, err = f.status(ctx, &j); err != nil {
			err = withHint(err, hint(err, &j))
		}
	}
	if err != nil {
		s.Error = err.Error()
	}
	return s
}

func statusTable(pods []PodStatus) string {
	return columns(func(row func(cells ...string)) {
		row("POD", "READY", "STATE", "GENERATION", "IMAGE", "DIGEST", "LAST UPGRADE", "RESTARTS")
		for _, p := range pods {
			state, generation, last, digest, ready := "-", "-", "-", "-", "no"
			if p.Ready {
				ready = "yes"
			}
			if s := p.Status; s != nil {
				state, generation = s.State, strconv.Itoa(s.Generation)
				if !s.Ready {
					state += ", not ready"
				}
				if s.Upgrade != nil {
					state += ", " + string(s.Upgrade.Step)
				}
				if s.LastUpgrade != nil {
					last = string(s.LastUpgrade.Step)
				}
				if d := digestOf(s); d != "" {
					digest = fmt.Sprintf("%.12s", d)
				}
			}
			row(p.Pod, ready, state, generation, p.image(), digest, last, strconv.Itoa(p.Restarts))
		}
	})
}

// image is the image that should say which version a pod has, without its registry.
func (p *PodStatus) image() string {
	text := p.shortImage()
	if running := digestOf(p.Status); p.delivered != "" && running != "" && running != p.delivered {
		text += " (another runs)" // a binary that was streamed, or what a rollback went back to
	}
	return text
}

func (p *PodStatus) shortImage() string {
	image := p.Payload
	if image == "" {
		image = p.Image
	}
	if image == "" {
		return "-"
	}
	if name, digest, pinned := strings.Cut(path.Base(image), "@"); pinned {
		return fmt.Sprintf("%s@%.19s", name, digest)
	}
	return path.Base(image)
}
