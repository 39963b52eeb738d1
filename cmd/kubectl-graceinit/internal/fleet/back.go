package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
	"github.com/graceinit/graceinit/internal/control"
)

// Back is the way back: by the payload's image where the pods say which one they had, else by `graceinit rollback`.
type Back struct {
	*Fleet
	Of     *Binary // only pods that run it are taken back
	Image  string  // only pods that have it are
	chosen Way
}

func (b *Back) survey(ctx context.Context, pods []kube.Pod) ([]job, error) {
	previous := map[string][]string{} // image → pods that had it
	var target string
	for i := range pods {
		image, is := pods[i].Meta.Annotations[annPrevious]
		if is && b.Of == nil && b.means(&pods[i]) {
			target = image
			previous[image] = append(previous[image], pods[i].Meta.Name)
		}
	}
	switch {
	case len(previous) == 1:
		way := &Image{Fleet: b.Fleet, Image: target, back: true}
		b.chosen = way
		jobs, err := way.survey(ctx, pods)
		for i := range jobs {
			b.narrow(&jobs[i])
		}
		return jobs, err
	case len(previous) > 1:
		var list []string
		for image, names := range previous {
			list = append(list, fmt.Sprintf("%s (%s)", image, strings.Join(names, ", ")))
		}
		return nil, fmt.Errorf("the pods had different images before: %s. Name pods that had the same one, or roll to an image: "+
			"kubectl graceinit roll --image", strings.Join(list, "; "))
	case b.Image != "":
		return nil, fmt.Errorf("no pod has the image %s and an annotation %s that says what it had before", b.Image, annPrevious)
	}
	way := &backByInit{Fleet: b.Fleet, of: b.Of}
	b.chosen = way
	return way.survey(ctx, pods)
}

func (b *Back) means(pod *kube.Pod) bool {
	payload := pod.Spec.Container(b.Payload)
	return payload != nil && (b.Image == "" || payload.Image == b.Image)
}

// narrow leaves out pods that are not meant. A StatefulSet's pod without an annotation, which was created with the new
// image, is meant as well: the template goes back.
func (b *Back) narrow(j *job) {
	if j.do != actUpgrade {
		return
	}
	_, annotated := j.pod.Meta.Annotations[annPrevious]
	switch {
	case !b.means(&j.pod):
		j.do, j.reason = actSkip, "it does not have the image "+b.Image
	case !annotated && j.pod.StatefulSet() == "":
		j.do, j.reason = actSkip, "it has no annotation "+annPrevious
	default:
		j.do = actRollback
	}
}

func (b *Back) check(ctx context.Context, jobs []job) error { return b.chosen.check(ctx, jobs) }
func (b *Back) prepare(ctx context.Context) error           { return b.chosen.prepare(ctx) }
func (b *Back) upgrade(ctx context.Context, j job, tell func(news)) end {
	return b.chosen.upgrade(ctx, j, tell)
}

func (b *Back) wayOut(left []string) string {
	if b.chosen == nil || len(left) == 0 {
		return ""
	}
	return "To go on: kubectl graceinit rollback " + strings.Join(left, " ")
}

// backByInit lets each pod's graceinit go back to the executable that ran before.
type backByInit struct {
	*Fleet
	of *Binary
}

func (b *backByInit) survey(ctx context.Context, pods []kube.Pod) ([]job, error) {
	jobs, err := b.surveyEach(ctx, pods, func(j *job, s *control.Status) {
		j.do = actRollback
		switch {
		case b.of == nil && j.pod.Spec.Container(b.Payload) != nil:
			// Its graceinit would go back to what ran before, which after a rollback is what was rolled back from.
			j.do, j.reason = actSkip, "it has a payload, but no annotation "+annPrevious
		case b.of != nil && digestOf(s) != "" && digestOf(s) != b.of.digest:
			j.do, j.reason = actSkip, "it does not run the binary"
		case !s.CanRollBack && s.Upgrade == nil:
			j.do, j.reason = actSkip, "there is nothing to go back to"
		}
	})
	if err != nil {
		return jobs, err
	}
	for _, j := range jobs {
		if j.do != actSkip {
			return jobs, nil
		}
	}
	if b.of == nil {
		return jobs, errors.New("no pod has anything to go back to: none has an annotation " + annPrevious +
			", and none without a payload was upgraded since it started (--binary FILE takes back a binary in any)")
	}
	return jobs, nil
}

func (b *backByInit) check(context.Context, []job) error { return nil }
func (b *backByInit) prepare(context.Context) error      { return nil }
func (b *backByInit) wayOut([]string) string             { return "" } // Back's

func (b *backByInit) upgrade(ctx context.Context, j job, tell func(news)) end {
	bounded, cancel := b.within(ctx)
	defer cancel()
	before, err := b.status(bounded, &j)
	if err != nil {
		return end{state: plan.Failed, untouched: true, reason: fmt.Sprintf("not begun, it cannot be asked for its status: %v", err)}
	}
	said, err := b.follow(bounded, &j, "", tell, "rollback", "--json")
	verdict := said.verdict(err)
	if verdict == control.CodeRefused {
		return end{state: plan.Failed, untouched: true, reason: "refused: " + said.reason(err)}
	}
	tell(news{pod: j.pod.Meta.Name, step: "verifying"})
	patience := settleTime
	if verdict == lost {
		patience = b.Timeout
	}
	now, wrong := b.verify(bounded, &j, "", patience)
	switch {
	case wrong != nil:
		return failed("%s; then: %v. Look at it: kubectl graceinit status %s", said.reason(err), wrong, j.pod.Meta.Name)
	case digestOf(now) != "" && digestOf(now) == digestOf(before) && before.Upgrade == nil:
		return failed("%s; it runs what it ran before", said.reason(err))
	case verdict == control.CodeForced:
		return end{state: plan.Forced, reason: "what ran before the rollback had to be killed", progress: said.progress}
	}
	return end{state: plan.Done, progress: said.progress}
}
