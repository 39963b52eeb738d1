package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/internal/control"
)

// status asks the init of a pod.
func (f *Fleet) status(ctx context.Context, j *job) (*control.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTime, fmt.Errorf("no answer within %s", askTime))
	defer cancel()
	var status *control.Status
	err := f.exec(ctx, j, "", func(line control.Line) { status = line.Status }, "status", "--json", "--digest")
	if err == nil && status == nil {
		err = fmt.Errorf("%s status --json has not printed a status", j.graceinit)
	}
	return status, err
}

// askTime is how long the answer to a question may take, which is a process in a container.
const askTime = 30 * time.Second

// hint says what can be done where graceinit cannot be asked.
func hint(err error, j *job) string {
	code, executed := kube.ExitCode(err)
	switch {
	case kube.Reason(err, "Forbidden"):
		return "this needs the right to create pods/exec"
	case executed && code == control.CodeNoInit:
		return fmt.Sprintf("is graceinit the init of container %s? --container names another, GRACEINIT_CONTROL its socket", j.container)
	case executed && code == control.CodeUsage:
		return "the graceinit in there is too old for this kubectl-graceinit"
	case executed:
		return ""
	}
	return fmt.Sprintf("is %s there in container %s? --graceinit and --container name others", j.graceinit, j.container)
}

// exec executes a subcommand of graceinit in a pod, and hands on the lines that it prints.
func (f *Fleet) exec(ctx context.Context, j *job, stdin stdin, line func(control.Line), args ...string) error {
	file, err := stdin.open()
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Close()
	}
	return f.Kube.Exec(ctx, j.pod.Meta.Name, j.container, file, func(text []byte) {
		var l control.Line
		if json.Unmarshal(text, &l) == nil { // anything else is not graceinit's
			line(l)
		}
	}, append([]string{j.graceinit}, args...)...)
}

// notYet is a pod that is not as it should be, for now.
type notYet struct{ error }

// verify waits until the app of a pod runs, is ready, and executes the file with that digest, where one is given and
// can be read. The init must say so by itself: the pod's Ready says nothing of the app while the payload is being replaced.
func (f *Fleet) verify(ctx context.Context, j *job, digest string, patience time.Duration) (*control.Status, error) {
	deadline := time.Now().Add(patience)
	var wrong error // what was last seen to be wrong; that time is up says less
	for {
		status, err := f.status(ctx, j)
		if err == nil {
			err = judge(status, digest)
			if err == nil {
				return status, nil
			}
			if !errors.As(err, new(notYet)) {
				return status, err
			}
		}
		if ctx.Err() == nil || wrong == nil {
			wrong = err
		}
		// What cannot be asked now, an API server that is being replaced for example, may be asked soon.
		if kube.Reason(err, "Forbidden") || time.Now().After(deadline) {
			return status, wrong
		}
		if !f.pause(ctx) {
			return status, fmt.Errorf("%w: %w", context.Cause(ctx), wrong)
		}
	}
}

// settleTime is how long an app may take to be as it should be, when its upgrade has ended already.
const settleTime = 15 * time.Second

// judge says what is wrong with a pod.
func judge(s *control.Status, digest string) error {
	switch {
	case s.Upgrade != nil:
		return notYet{fmt.Errorf("an upgrade is in progress: %s", s.Upgrade.Step)}
	case s.State != "running":
		return notYet{fmt.Errorf("graceinit's state is %s, not running", s.State)}
	case !s.Ready:
		return notYet{errors.New("the app is not ready, graceinit says")}
	case digest != "" && s.Main != nil && s.Main.SHA256 != "" && s.Main.SHA256 != digest:
		return fmt.Errorf("the app runs a binary with the SHA-256 %.12s…, not %.12s…", s.Main.SHA256, digest)
	}
	return nil
}

// digestOf returns the digest of what the main process executes, as far as it is known.
func digestOf(s *control.Status) string {
	if s == nil || s.Main == nil {
		return ""
	}
	return s.Main.SHA256
}
