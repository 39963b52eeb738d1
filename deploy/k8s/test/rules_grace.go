package test

import (
	"fmt"
	"path"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// duration reads a setting of graceinit.
func duration(c corev1.Container, name string, otherwise time.Duration) (time.Duration, error) {
	text := environment(c, name)
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s: %s=%q is no duration", c.Name, name, text)
	}
	return d, nil
}

// preStop is how long the hook takes, where it can be seen.
func preStop(c corev1.Container) (time.Duration, error) {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return 0, nil
	}
	hook := c.Lifecycle.PreStop
	if hook.Sleep != nil {
		return time.Duration(hook.Sleep.Seconds) * time.Second, nil
	}
	if hook.Exec != nil && len(hook.Exec.Command) == 2 && path.Base(hook.Exec.Command[0]) == "sleep" {
		if seconds, err := strconv.Atoi(hook.Exec.Command[1]); err == nil {
			return time.Duration(seconds) * time.Second, nil
		}
	}
	return 0, fmt.Errorf("%s: it cannot be seen how long its preStop hook takes", c.Name)
}

func grace(w workload) time.Duration {
	if s := w.template.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return terminationGracePeriod * time.Second
}

// A times is what a shutdown of a container can take, step by step.
type times struct{ preStop, drainDelay, stop, kill time.Duration }

func (t times) sum() time.Duration { return t.preStop + t.drainDelay + t.stop + t.kill + reserve }

func timesOf(c corev1.Container) (t times, err error) {
	if t.preStop, err = preStop(c); err != nil {
		return t, err
	}
	if t.drainDelay, err = duration(c, "GRACEINIT_DRAIN_DELAY", 0); err != nil {
		return t, err
	}
	if t.stop, err = duration(c, "GRACEINIT_STOP_TIMEOUT", stopTimeout); err != nil {
		return t, err
	}
	t.kill, err = duration(c, "GRACEINIT_KILL_TIMEOUT", killTimeout)
	return t, err
}

func graceSum(w workload) []string {
	var list []string
	for _, c := range initsOf(w) {
		t, err := timesOf(c)
		switch {
		case err != nil:
			list = append(list, err.Error())
		case t.sum() > grace(w):
			list = append(list, fmt.Sprintf("%s: it may need %s to end, and has %s", c.Name, t.sum(), grace(w)))
		}
	}
	return list
}

func gracePeriod(w workload) []string {
	var list []string
	for _, c := range initsOf(w) {
		said, err := duration(c, "GRACEINIT_GRACE_PERIOD", -1)
		hook, _ := preStop(c) // graceSum says it
		switch {
		case err != nil:
			list = append(list, err.Error())
		case said < 0:
			list = append(list, c.Name+": GRACEINIT_GRACE_PERIOD is not set: nobody warns when the times no longer fit")
		case said != grace(w)-hook:
			list = append(list, fmt.Sprintf("%s: GRACEINIT_GRACE_PERIOD is %s and should be %s", c.Name, said, grace(w)-hook))
		}
	}
	return list
}
