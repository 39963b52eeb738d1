package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// probe begins the probes of a container that has just started.
func (c *container) probe(ctx context.Context, id string, spec corev1.Container) {
	begin := func() {
		if p := spec.ReadinessProbe; p != nil {
			c.pod.wg.Go(func() {
				c.repeat(ctx, id, spec, "Readiness", p, func(ok bool) bool {
					c.set(func(s *corev1.ContainerStatus) { s.Ready = ok })
					return true
				})
			})
		}
		if p := spec.LivenessProbe; p != nil {
			c.pod.wg.Go(func() {
				unwell := c.unwell
				c.repeat(ctx, id, spec, "Liveness", p, func(ok bool) bool {
					if !ok {
						close(unwell)
					}
					return ok
				})
			})
		}
	}
	p := spec.StartupProbe
	if p == nil {
		begin()
		return
	}
	c.pod.wg.Go(func() {
		unwell := c.unwell
		c.repeat(ctx, id, spec, "Startup", p, func(ok bool) bool {
			if !ok {
				close(unwell)
				return false
			}
			c.set(func(s *corev1.ContainerStatus) {
				s.Started = &ok
				s.Ready = spec.ReadinessProbe == nil
			})
			begin()
			return false
		})
	})
}

// repeat probes until ctx ends or turn says so; turn is called where the outcome has become another, past the thresholds.
func (c *container) repeat(ctx context.Context, id string, spec corev1.Container, kind string, p *corev1.Probe, turn func(ok bool) bool) {
	pause := func(seconds int32) bool {
		select {
		case <-time.After(time.Duration(seconds) * time.Second):
			return true
		case <-ctx.Done():
			return false
		}
	}
	if !pause(p.InitialDelaySeconds) {
		return
	}
	var known, last bool
	var count int32
	for {
		err := c.once(ctx, id, spec, p.ProbeHandler, time.Duration(p.TimeoutSeconds)*time.Second)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.event("Warning", "Unhealthy", "%s probe failed: %v", kind, err)
		}
		ok := err == nil
		if ok != last {
			count = 0
		}
		last = ok
		count++
		reached := ok && count >= p.SuccessThreshold || !ok && count >= p.FailureThreshold
		if reached && (!known || count == p.SuccessThreshold || count == p.FailureThreshold) {
			known = true
			if !turn(ok) {
				return
			}
		}
		if !pause(p.PeriodSeconds) {
			return
		}
	}
}

// once does what a probe or a hook says.
func (c *container) once(ctx context.Context, id string, spec corev1.Container, h corev1.ProbeHandler, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout+time.Second)
	defer cancel()
	switch {
	case h.Exec != nil:
		answer, err := c.pod.runtime.ExecSync(ctx, &cri.ExecSyncRequest{
			ContainerId: id, Cmd: h.Exec.Command, Timeout: int64(timeout.Seconds()),
		})
		if err != nil {
			return err
		}
		if answer.ExitCode != 0 {
			return errors.New(strings.TrimSpace(string(answer.Stdout) + string(answer.Stderr)))
		}
		return nil
	case h.HTTPGet != nil:
		url := fmt.Sprintf("http://%s%s", net.JoinHostPort(c.pod.ip, port(spec, h.HTTPGet.Port)), h.HTTPGet.Path)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		client := &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode < 200 || resp.StatusCode >= 400 {
			return fmt.Errorf("HTTP probe failed with statuscode: %d", resp.StatusCode)
		}
		return nil
	case h.TCPSocket != nil:
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(c.pod.ip, port(spec, h.TCPSocket.Port)), timeout)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	return errors.New("the lab does not know this kind of probe")
}

func port(spec corev1.Container, p intstr.IntOrString) string {
	if p.Type == intstr.String {
		for _, named := range spec.Ports {
			if named.Name == p.StrVal {
				return fmt.Sprint(named.ContainerPort)
			}
		}
	}
	return p.String()
}

// hook runs the preStop hook; that it failed is an event, and stops nothing.
func (c *container) hook(ctx context.Context, id string, spec corev1.Container) {
	h := spec.Lifecycle.PreStop
	var err error
	switch {
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
		case <-ctx.Done():
		}
	case h.Exec != nil:
		var answer *cri.ExecSyncResponse
		answer, err = c.pod.runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: h.Exec.Command})
		if err == nil && answer.ExitCode != 0 {
			err = fmt.Errorf("exit code %d: %s", answer.ExitCode, answer.Stderr)
		}
	case h.HTTPGet != nil:
		err = c.once(ctx, id, spec, corev1.ProbeHandler{HTTPGet: h.HTTPGet}, time.Minute)
	}
	if err != nil {
		c.event("Warning", "FailedPreStopHook", "PreStopHook failed: %v", err)
	}
}
