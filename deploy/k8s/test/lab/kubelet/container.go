package kubelet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// container runs one container of a pod, again and again.
type container struct {
	pod   *pod
	name  string
	index int
	init  bool

	attempt int
	message string                 // the host's file of the termination message
	status  corev1.ContainerStatus // under the pod's lock
	unwell  chan struct{}          // closed when the liveness probe has failed
}

// spec is the container as the pod wants it now.
func (c *container) spec() corev1.Container {
	p := c.pod.object()
	if c.init {
		return p.Spec.InitContainers[c.index]
	}
	return p.Spec.Containers[c.index]
}

func (c *container) path() string {
	if c.init {
		return "spec.initContainers{" + c.name + "}"
	}
	return "spec.containers{" + c.name + "}"
}

func (c *container) event(kind, reason, format string, args ...any) {
	c.pod.Store.Event(c.pod.object(), kind, reason, fmt.Sprintf(format, args...), c.path())
}

// set changes the status, and reports it.
func (c *container) set(change func(*corev1.ContainerStatus)) {
	c.pod.mu.Lock()
	change(&c.status)
	c.pod.mu.Unlock()
	c.pod.report()
}

type outcome int

const (
	exited   outcome = iota // by itself
	replaced                // for another spec
	unwell                  // it was killed for its liveness probe
	gone                    // the pod goes, or the lab
)

// run returns when the container is not to run any more.
func (c *container) run(ctx context.Context) {
	backoff := time.Duration(0)
	for {
		if !c.awaitImage(ctx) {
			return
		}
		spec := c.spec()
		began := time.Now()
		id, err := c.start(ctx, spec)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			c.event("Warning", "Failed", "Error: %v", err)
			if !c.hold(ctx, spec, "CreateContainerError", err.Error(), max(backoff, c.pod.Backoff)) {
				return
			}
			backoff = c.next(backoff)
			continue
		}
		how := c.watch(ctx, id, spec)
		if ctx.Err() != nil {
			return
		}
		t := c.post(ctx, id, spec)
		again := how == replaced || how != gone && c.again(t.ExitCode)
		if !again {
			c.set(func(s *corev1.ContainerStatus) {
				s.State, s.Ready = corev1.ContainerState{Terminated: t}, c.init && t.ExitCode == 0
				s.Started = new(bool)
			})
			return
		}
		c.set(func(s *corev1.ContainerStatus) {
			s.LastTerminationState = corev1.ContainerState{Terminated: t}
			s.State, s.Ready = corev1.ContainerState{Terminated: t}, false
			s.Started = new(bool)
			s.RestartCount++
		})
		c.attempt++
		if how == replaced {
			backoff = 0
			continue
		}
		if time.Since(began) > time.Minute {
			backoff = 0
		}
		if backoff > 0 {
			text := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
				backoff, c.name, c.pod.spec.Name, c.pod.spec.Namespace, c.pod.spec.UID)
			c.event("Warning", "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)",
				c.name, c.pod.spec.Name, c.pod.spec.Namespace, c.pod.spec.UID)
			if !c.hold(ctx, spec, "CrashLoopBackOff", text, backoff) {
				return
			}
		}
		backoff = c.next(backoff)
	}
}

func (c *container) next(d time.Duration) time.Duration {
	return min(max(2*d, c.pod.Backoff), 8*c.pod.Backoff)
}

// again tells whether a container that has ended is started again.
func (c *container) again(code int32) bool {
	select {
	case <-c.pod.going:
		return false
	default:
	}
	switch c.pod.object().Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return !c.init || code != 0
}

// hold waits, in a state that says why, until the time is over or the spec is another.
func (c *container) hold(ctx context.Context, spec corev1.Container, reason, message string, d time.Duration) bool {
	c.set(func(s *corev1.ContainerStatus) {
		s.State, s.Ready, s.Image = waiting(reason, message), false, spec.Image
	})
	timer := time.After(d)
	for {
		_, changed := c.pod.current()
		if c.spec().Image != spec.Image {
			return true
		}
		select {
		case <-changed:
		case <-timer:
			return true
		case <-c.pod.going:
			return c.leave()
		case <-ctx.Done():
			return false
		}
	}
}

// leave ends a container that does not run.
func (c *container) leave() bool {
	c.set(func(s *corev1.ContainerStatus) {
		t := s.LastTerminationState.Terminated
		if t == nil {
			t = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown",
				Message: "The container could not be located when the pod was terminated"}
		}
		s.State, s.Ready = corev1.ContainerState{Terminated: t}, false
	})
	return false
}

// awaitImage waits until the image is there. Nothing is ever pulled: what is not there is not found, in containerd's words.
func (c *container) awaitImage(ctx context.Context) bool {
	for wait := c.pod.Backoff; ; wait = c.next(wait) {
		spec := c.spec()
		answer, err := c.pod.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: spec.Image}})
		if err == nil && answer.Image != nil {
			c.event("Normal", "Pulled", "Container image %q already present on machine", spec.Image)
			return true
		}
		text := fmt.Sprintf("rpc error: code = NotFound desc = failed to pull and unpack image %[1]q: failed to resolve "+
			"reference %[1]q: %[1]s: not found", spec.Image)
		if err != nil {
			text = err.Error()
		}
		c.event("Normal", "Pulling", "Pulling image %q", spec.Image)
		c.event("Warning", "Failed", "Failed to pull image %q: %s", spec.Image, text)
		c.event("Warning", "Failed", "Error: ErrImagePull")
		if !c.hold(ctx, spec, "ErrImagePull", text, c.pod.Backoff) {
			return false
		}
		if c.spec().Image != spec.Image {
			continue
		}
		c.event("Normal", "BackOff", "Back-off pulling image %q", spec.Image)
		if !c.hold(ctx, spec, "ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q", spec.Image), wait) {
			return false
		}
	}
}

func (c *container) start(ctx context.Context, spec corev1.Container) (string, error) {
	p := c.pod.object()
	c.message = c.pod.dir(p, "messages", string(uuid.NewUUID()))
	if err := os.MkdirAll(filepath.Dir(c.message), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(c.message, nil, 0o666); err != nil {
		return "", err
	}
	// Whatever the umask is: the container's user writes it.
	if err := os.Chmod(c.message, 0o666); err != nil { //nolint:gosec // as the kubelet does
		return "", err
	}
	config, err := c.config(ctx, p, spec)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(c.pod.config.LogDirectory, c.name), 0o755); err != nil {
		return "", err
	}
	created, err := c.pod.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: c.pod.sandbox, Config: config, SandboxConfig: c.pod.config,
	})
	if err != nil {
		return "", err
	}
	id := created.ContainerId
	c.event("Normal", "Created", "Created container %s", c.name)
	if _, err := c.pod.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: id}); err != nil {
		_, _ = c.pod.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
		return "", err
	}
	c.event("Normal", "Started", "Started container %s", c.name)
	status, err := c.pod.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return "", err
	}
	c.unwell = make(chan struct{})
	c.set(func(s *corev1.ContainerStatus) {
		started := spec.StartupProbe == nil
		s.Started = &started
		s.ContainerID, s.Image, s.ImageID = "containerd://"+id, spec.Image, status.Status.ImageRef
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Unix(0, status.Status.StartedAt))}}
		s.Ready = started && spec.ReadinessProbe == nil && !c.init
	})
	return id, nil
}

// watch returns when the container has ended, and how that came.
func (c *container) watch(ctx context.Context, id string, spec corev1.Container) outcome {
	end := c.pod.ended(id)
	probing, stop := context.WithCancel(ctx)
	defer stop()
	if !c.init {
		c.probe(probing, id, spec)
	}
	how := exited
	for how == exited {
		p, changed := c.pod.current()
		if c.spec().Image != spec.Image && p.DeletionTimestamp == nil {
			how = replaced
			c.event("Normal", "Killing", "Container %s definition changed, will be restarted", c.name)
			break
		}
		select {
		case <-end:
			return exited
		case <-changed:
		case <-c.unwell:
			how = unwell
			c.event("Normal", "Killing", "Container %s failed liveness probe, will be restarted", c.name)
		case <-c.pod.going:
			how = gone
			c.event("Normal", "Killing", "Stopping container %s", c.name)
		case <-ctx.Done():
			return gone
		}
	}
	stop()
	c.set(func(s *corev1.ContainerStatus) { s.Ready = false })
	c.kill(ctx, id, spec)
	select {
	case <-end:
	case <-ctx.Done():
	}
	return how
}

// kill is the preStop hook and the stop signal, together within the grace period, and SIGKILL behind it.
func (c *container) kill(ctx context.Context, id string, spec corev1.Container) {
	p := c.pod.object()
	grace := time.Duration(value(p.Spec.TerminationGracePeriodSeconds).GetValue()) * time.Second
	if p.DeletionGracePeriodSeconds != nil {
		grace = time.Duration(*p.DeletionGracePeriodSeconds) * time.Second
	}
	began := time.Now()
	if spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil && grace > 0 {
		hook, cancel := context.WithTimeout(ctx, grace)
		c.hook(hook, id, spec)
		cancel()
	}
	// At least two seconds are left to the container, whatever the hook took.
	left := max(grace-time.Since(began), 2*time.Second)
	if grace == 0 {
		left = 0
	}
	_, err := c.pod.runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id, Timeout: int64(left.Seconds() + 0.5)})
	if err != nil && ctx.Err() == nil {
		c.pod.Log.Printf("%s/%s: cannot stop: %v", p.Name, c.name, err)
	}
}

// post is what is left of a container that has ended.
func (c *container) post(ctx context.Context, id string, spec corev1.Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{ContainerID: "containerd://" + id, Reason: "ContainerStatusUnknown", ExitCode: 137}
	answer, err := c.pod.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
	if err == nil {
		s := answer.Status
		t.ExitCode, t.Reason = s.ExitCode, s.Reason
		t.StartedAt, t.FinishedAt = metav1.NewTime(time.Unix(0, s.StartedAt)), metav1.NewTime(time.Unix(0, s.FinishedAt))
	}
	text, err := os.ReadFile(c.message)
	if err == nil {
		t.Message = string(text[:min(len(text), 4096)])
	}
	if t.Message == "" && t.ExitCode != 0 && spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		t.Message = c.tail(80, 2048)
	}
	_, _ = c.pod.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
	_ = os.Remove(c.message)
	return t
}
