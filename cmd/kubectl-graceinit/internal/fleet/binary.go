package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
	"github.com/graceinit/graceinit/internal/control"
)

// stdin is the file that a command in a container gets as its standard input, or nothing.
type stdin string

func (s stdin) open() (*os.File, error) {
	if s == "" {
		return nil, nil
	}
	return os.Open(string(s))
}

// Binary is the way of a file that is streamed into the pods.
type Binary struct {
	*Fleet
	Path   string
	digest string
	script bool // what runs then is its interpreter: the digest of that says nothing
}

// NewBinary reads the file once, for its digest.
func NewBinary(f *Fleet, path string) (*Binary, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	hash, start := sha256.New(), make([]byte, 2)
	if _, err := io.ReadFull(file, start); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if string(start) != "#!" && string(start) != "\x7fE" {
		return nil, fmt.Errorf("%s is neither an ELF file nor a script: graceinit would refuse it", path)
	}
	hash.Write(start)
	if _, err := io.Copy(hash, file); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return &Binary{Fleet: f, Path: path, digest: fmt.Sprintf("%x", hash.Sum(nil)), script: string(start) == "#!"}, nil
}

// wanted is the digest that the main process must have, where that can be told.
func (b *Binary) wanted() string {
	if b.script {
		return ""
	}
	return b.digest
}

func (b *Binary) survey(ctx context.Context, pods []kube.Pod) ([]job, error) {
	if b.script {
		b.Report.Warn("%s is a script: the digest of what runs is its interpreter's, so pods that run it already are not "+
			"recognised, and get it again", b.Path)
	}
	warnReplaced(b.Report, pods, "the version of its image, and so does one whose container restarts")
	return b.surveyEach(ctx, pods, func(j *job, s *control.Status) {
		switch running := digestOf(s); {
		case b.wanted() == "" || running != b.digest:
		case judge(s, b.digest) == nil:
			j.do, j.reason = actSkip, "it runs it already"
		default:
			j.do, j.reason = actFollow, "it has begun already"
		}
	})
}

// surveyEach asks each pod, and lets decide look at the answer.
func (f *Fleet) surveyEach(ctx context.Context, pods []kube.Pod, decide func(*job, *control.Status)) ([]job, error) {
	jobs := make([]job, len(pods))
	err := each(pods, func(i int, pod *kube.Pod) error {
		j, err := f.newJob(pod)
		if err != nil {
			return err
		}
		if j.do != actSkip && pod.Able(j.container) {
			status, err := f.status(ctx, &j)
			if err != nil {
				return withHint(fmt.Errorf("pod %s cannot be asked for its status: %w", pod.Meta.Name, err), hint(err, &j))
			}
			decide(&j, status)
		}
		jobs[i] = j
		return nil
	})
	return jobs, err
}

func withHint(err error, hint string) error {
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w\n(%s)", err, hint)
}

// check has nothing to do: what exec may do, the survey has shown.
func (b *Binary) check(context.Context, []job) error { return nil }

func (b *Binary) prepare(context.Context) error { return nil }

func (b *Binary) wayOut([]string) string {
	return "To go on, put right what was wrong and run the same command again: pods that run the binary are skipped. " +
		"To go back: kubectl graceinit rollback with the same pods and --binary."
}

func (b *Binary) upgrade(ctx context.Context, j job, tell func(news)) end {
	pod := j.pod.Meta.Name
	bounded, cancel := b.within(ctx)
	defer cancel()
	before, err := b.status(bounded, &j)
	if err != nil {
		return end{state: plan.Failed, untouched: true,
			reason: withHint(fmt.Errorf("not begun, it cannot be asked for its status: %w", err), hint(err, &j)).Error()}
	}
	if before.Upgrade != nil || before.State != "running" { // begun by a roll before this one, or by somebody else
		tell(news{pod: pod, step: "waits for another upgrade"})
		if before, err = b.verify(bounded, &j, "", b.Timeout); err != nil {
			return failed("not begun: %v", err)
		}
	}
	if b.wanted() != "" && digestOf(before) == b.digest {
		if _, err := b.verify(bounded, &j, b.digest, settleTime); err != nil {
			return end{state: plan.Failed, untouched: true, reason: fmt.Sprintf("it runs the binary already, but: %v", err)}
		}
		return end{state: plan.Skipped, reason: "it runs it already"}
	}
	tell(news{pod: pod, step: "streaming"})
	said, err := b.follow(bounded, &j, stdin(b.Path), tell, "upgrade", "--binary", "-", "--sha256", b.digest, "--json")
	switch said.verdict(err) {
	case lost:
		// A client that goes away changes nothing for the init: the upgrade goes on, or has never begun.
		tell(news{pod: pod, step: "connection lost; asking"})
		now, asked := b.verify(bounded, &j, "", b.Timeout)
		if asked != nil {
			return b.putBack(ctx, &j, digestOf(before), tell, fmt.Sprintf("%v; then: %v", err, asked))
		}
		if b.wanted() == "" || digestOf(now) != b.digest {
			return failed("the connection was lost (%v), and the app runs as before", err)
		}
		return b.confirm(ctx, bounded, &j, before, tell, end{state: plan.Done, reason: "the connection was lost, the upgrade went on"})
	case control.CodeDone:
		return b.confirm(ctx, bounded, &j, before, tell, end{state: plan.Done, progress: said.progress})
	case control.CodeForced:
		return b.confirm(ctx, bounded, &j, before, tell, end{state: plan.Forced, progress: said.progress,
			reason: "the predecessor had to be killed"})
	case control.CodeRefused:
		return end{state: plan.Failed, untouched: true, reason: "refused: " + said.reason(err), progress: said.progress}
	default:
		tell(news{pod: pod, failing: said.reason(err)})
		reason := "the upgrade failed: " + said.reason(err)
		if _, err := b.verify(bounded, &j, digestOf(before), settleTime); err != nil {
			return b.putBack(ctx, &j, digestOf(before), tell, reason)
		}
		return end{state: plan.Failed, reason: reason + "; graceinit has rolled back, the predecessor's binary serves", progress: said.progress}
	}
}

// confirm verifies an upgrade that has succeeded, and takes it back if the app is not as it should be.
func (b *Binary) confirm(ctx, bounded context.Context, j *job, before *control.Status, tell func(news), good end) end {
	tell(news{pod: j.pod.Meta.Name, step: "verifying"})
	if _, err := b.verify(bounded, j, b.wanted(), settleTime); err != nil {
		return b.putBack(ctx, j, digestOf(before), tell, fmt.Sprintf("upgraded, but then: %v", err))
	}
	return good
}

// putBack lets a pod's graceinit go back, unless it has done so already.
func (f *Fleet) putBack(ctx context.Context, j *job, digest string, tell func(news), reason string) end {
	if context.Cause(ctx) != nil {
		return end{state: plan.Left, reason: reason}
	}
	pod := j.pod.Meta.Name
	tell(news{pod: pod, failing: reason})
	bounded, cancel := f.within(ctx)
	defer cancel()
	if s, err := f.status(bounded, j); err == nil && judge(s, digest) == nil && digest != "" && digestOf(s) == digest {
		return failed("%s; the predecessor's binary serves", reason)
	}
	said, err := f.follow(bounded, j, "", tell, "rollback", "--json")
	// How the rollback is called depends on how far the upgrade was. What runs in the end decides.
	if _, wrong := f.verify(bounded, j, digest, settleTime); wrong != nil {
		return failed("%s; NOT ROLLED BACK: %s; then: %v. Look at it: kubectl graceinit status %s", reason, said.reason(err), wrong, pod)
	}
	return failed("%s; rolled back", reason)
}

// answer is what a subcommand of graceinit said.
type answer struct {
	progress *control.Progress // the last one
	refused  *control.Error
}

func (f *Fleet) follow(ctx context.Context, j *job, in stdin, tell func(news), args ...string) (answer, error) {
	var said answer
	err := f.exec(ctx, j, in, func(line control.Line) {
		if line.Error != nil {
			said.refused = line.Error
		}
		if line.Progress != nil {
			said.progress = line.Progress
			tell(news{pod: j.pod.Meta.Name, step: string(line.Progress.Step), progress: line.Progress})
		}
	}, args...)
	return said, err
}

// lost: neither graceinit nor an exit code has said how it ended.
const lost = -1

// verdict is the upgrade's exit code. An exit code of kubectl's own, which has 1 for everything, is none.
func (a answer) verdict(err error) int {
	code, executed := kube.ExitCode(err)
	switch {
	case a.refused != nil:
		return a.refused.ExitCode
	case a.progress != nil && a.progress.Final:
		return a.progress.ExitCode
	case a.progress != nil || !executed || code == control.CodeDone:
		return lost
	case code == control.CodeNoInit: // nobody has answered yet
		return control.CodeRefused
	case code == control.CodeFailed || code == control.CodeForced:
		return lost
	}
	return control.CodeRefused // bad usage, a binary that has changed on its way, no such file
}

// reason is why, in the words of who knows best.
func (a answer) reason(err error) string {
	var failure *kube.Error
	switch {
	case a.refused != nil:
		return a.refused.Reason
	case a.progress != nil && a.progress.Final:
		if a.progress.Reason != "" {
			return string(a.progress.Step) + ": " + a.progress.Reason
		}
		return string(a.progress.Step)
	case errors.As(err, &failure):
		return failure.Error()
	case err != nil:
		return err.Error()
	}
	return "no reason was given"
}

// warnReplaced says what happens to a pod that is replaced: nothing keeps the new version for it.
func warnReplaced(r *Report, pods []kube.Pod, returns string) {
	kinds := map[string]int{}
	for _, p := range pods {
		kinds[p.Controller().Kind]++
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		if kind != "" {
			r.Warn("pods that belong to a %s (%d): one that is replaced returns silently to %s", kind, kinds[kind], returns)
		}
	}
}
