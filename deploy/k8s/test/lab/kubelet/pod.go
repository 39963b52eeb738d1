package kubelet

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
)

// pod runs one pod.
type pod struct {
	*Kubelet

	reporting sync.Mutex // held while the status is written
	mu        sync.Mutex
	spec      *corev1.Pod   // as the store has it
	changed   chan struct{} // closed when spec has changed
	going     chan struct{} // closed when the pod is to end
	ip        string
	sandbox   string
	config    *cri.PodSandboxConfig
	init      []*container
	main      []*container
	ready     bool // the init containers are done
}

func newPod(k *Kubelet, p *corev1.Pod) *pod {
	w := &pod{Kubelet: k, spec: p, changed: make(chan struct{}), going: make(chan struct{})}
	for i := range p.Spec.InitContainers {
		w.init = append(w.init, &container{pod: w, name: p.Spec.InitContainers[i].Name, index: i, init: true})
	}
	for i := range p.Spec.Containers {
		w.main = append(w.main, &container{pod: w, name: p.Spec.Containers[i].Name, index: i})
	}
	for _, c := range slices.Concat(w.init, w.main) {
		c.status = corev1.ContainerStatus{Name: c.name, Image: c.spec().Image, State: waiting("PodInitializing", "")}
	}
	if p.DeletionTimestamp != nil {
		close(w.going)
	}
	return w
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// set takes a changed object.
func (w *pod) set(p *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spec = p
	close(w.changed)
	w.changed = make(chan struct{})
	if p.DeletionTimestamp != nil {
		select {
		case <-w.going:
		default:
			close(w.going)
		}
	}
}

func (w *pod) current() (*corev1.Pod, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spec, w.changed
}

func (w *pod) object() *corev1.Pod {
	p, _ := w.current()
	return p
}

// run is the pod's life.
func (w *pod) run(ctx context.Context) {
	w.report()
	if w.begin(ctx) {
		done := w.initialize(ctx)
		if done {
			w.mu.Lock()
			w.ready = true
			w.mu.Unlock()
			w.report()
			var wg sync.WaitGroup
			for _, c := range w.main {
				wg.Go(func() { c.run(ctx) })
			}
			wg.Wait()
		}
	}
	// Ended by itself, or asked to: what it was stays to be read until it is deleted.
	w.report()
	if w.sandbox != "" && ctx.Err() == nil {
		_, _ = w.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: w.sandbox})
	}
	select {
	case <-w.going:
	case <-ctx.Done():
		return
	}
	if w.sandbox != "" {
		if _, err := w.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: w.sandbox}); err != nil {
			w.Log.Printf("%s: cannot remove the sandbox: %v", w.spec.Name, err)
		}
	}
	_ = os.RemoveAll(w.dir(w.object()))
	w.Store.Remove(w.object())
}

// begin makes the sandbox.
func (w *pod) begin(ctx context.Context) bool {
	for wait := w.Backoff; ; wait = min(2*wait, 8*w.Backoff) {
		err := w.makeSandbox(ctx)
		if err == nil {
			w.report()
			return true
		}
		w.Log.Printf("%s: no sandbox: %v", w.spec.Name, err)
		w.Store.Event(w.spec, "Warning", "FailedCreatePodSandBox", err.Error(), "")
		if !w.sleep(ctx, wait) {
			return false
		}
	}
}

// sleep waits, and tells whether the pod still is to run.
func (w *pod) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.going:
	case <-ctx.Done():
	}
	return false
}

func (w *pod) makeSandbox(ctx context.Context) error {
	p := w.object()
	if err := w.makeVolumes(p); err != nil {
		return err
	}
	logs := w.dir(p, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	sc := p.Spec.SecurityContext
	w.config = &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: p.Name, Namespace: p.Namespace, Uid: string(p.UID)},
		Hostname:     p.Name,
		LogDirectory: logs,
		DnsConfig:    &cri.DNSConfig{Servers: []string{"127.0.0.1"}},
		Labels:       map[string]string{"io.kubernetes.pod.name": p.Name, "io.kubernetes.pod.uid": string(p.UID)},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: w.Cgroup + "/" + string(p.UID),
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions:   namespaces(p),
				RunAsUser:          value(sc.RunAsUser),
				RunAsGroup:         group(sc.RunAsUser, sc.RunAsGroup),
				SupplementalGroups: groups(sc),
				Seccomp:            seccomp(sc.SeccompProfile, nil),
			},
		},
	}
	answer, err := w.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: w.config})
	if err != nil {
		return err
	}
	status, err := w.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: answer.PodSandboxId})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sandbox, w.ip = answer.PodSandboxId, status.Status.Network.Ip
	return nil
}

func namespaces(p *corev1.Pod) *cri.NamespaceOption {
	pid := cri.NamespaceMode_CONTAINER
	if p.Spec.ShareProcessNamespace != nil && *p.Spec.ShareProcessNamespace {
		pid = cri.NamespaceMode_POD
	}
	return &cri.NamespaceOption{Pid: pid}
}

// initialize runs the init containers, one after the other.
func (w *pod) initialize(ctx context.Context) bool {
	for _, c := range w.init {
		c.run(ctx)
		w.mu.Lock()
		t := c.status.State.Terminated
		w.mu.Unlock()
		if t == nil || t.ExitCode != 0 {
			return false
		}
	}
	return true
}

// report writes the pod's status into the store. One after the other, or an older one would be written over a newer.
func (w *pod) report() {
	w.reporting.Lock()
	defer w.reporting.Unlock()
	w.mu.Lock()
	name, uid, ip := w.spec.Name, w.spec.UID, w.ip
	namespace, initialized := w.spec.Namespace, w.ready
	var inits, mains []corev1.ContainerStatus
	for _, c := range w.init {
		inits = append(inits, *c.status.DeepCopy())
	}
	for _, c := range w.main {
		mains = append(mains, *c.status.DeepCopy())
	}
	w.mu.Unlock()

	_, _ = apiserver.Update(w.Store, namespace, name, func(p *corev1.Pod) error {
		if p.UID != uid {
			return fmt.Errorf("another pod")
		}
		s := &p.Status
		s.HostIP, s.PodIP = "10.213.0.1", ip
		s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
		if ip != "" {
			s.PodIPs = []corev1.PodIP{{IP: ip}}
		}
		if s.StartTime == nil {
			now := metav1.Now()
			s.StartTime = &now
		}
		s.InitContainerStatuses, s.ContainerStatuses = inits, mains
		s.Phase = phase(p, inits, mains, initialized)
		ready, completed := true, s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed
		var unready []string
		for _, c := range mains {
			if !c.Ready {
				ready = false
				unready = append(unready, c.Name)
			}
		}
		reason, message := "", ""
		switch {
		case completed && s.Phase == corev1.PodSucceeded:
			reason = "PodCompleted"
		case !ready:
			reason, message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %v", unready)
		}
		setCondition(s, corev1.PodInitialized, initialized, "", "")
		setCondition(s, corev1.ContainersReady, ready, reason, message)
		setCondition(s, corev1.PodReady, ready && p.DeletionTimestamp == nil, reason, message)
		return nil
	})
}

func phase(p *corev1.Pod, inits, mains []corev1.ContainerStatus, initialized bool) corev1.PodPhase {
	never := p.Spec.RestartPolicy == corev1.RestartPolicyNever
	for _, c := range inits {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 && never {
			return corev1.PodFailed
		}
	}
	if !initialized {
		return corev1.PodPending
	}
	running, pending, failed := 0, 0, 0
	for _, c := range mains {
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			failed++
		case c.State.Terminated != nil:
		case c.State.Running != nil || c.LastTerminationState.Terminated != nil:
			running++
		default:
			pending++
		}
	}
	switch {
	case pending > 0 && running == 0:
		return corev1.PodPending
	case running+pending > 0 || p.Spec.RestartPolicy == corev1.RestartPolicyAlways && p.DeletionTimestamp == nil:
		return corev1.PodRunning
	case failed > 0:
		return corev1.PodFailed
	}
	return corev1.PodSucceeded
}

func setCondition(s *corev1.PodStatus, kind corev1.PodConditionType, is bool, reason, message string) {
	status := corev1.ConditionFalse
	if is {
		status = corev1.ConditionTrue
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if c.Type == kind {
			if c.Status != status {
				c.LastTransitionTime = metav1.Now()
			}
			c.Status, c.Reason, c.Message = status, reason, message
			return
		}
	}
	s.Conditions = append(s.Conditions, corev1.PodCondition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now(),
	})
}
