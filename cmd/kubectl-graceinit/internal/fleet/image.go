package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/plan"
	"github.com/graceinit/graceinit/internal/control"
)

// Annotations on a pod. Its payload's image is all that says which version it has: these say what was there before.
const (
	annPrevious  = "graceinit/previous-image"     // what a rollback goes back to
	annContainer = "graceinit/previous-container" // the payload's container when its image was patched: not the new one
	annImageID   = "graceinit/previous-image-id"  // and its image's ID, by which it is known after a restart
	annDelivered = "graceinit/delivered"          // the SHA-256 of what the payload's image has delivered
)

// revisionLabel is how a StatefulSet's controller knows which pods are of its template's revision.
const revisionLabel = "controller-revision-hash"

// Image is the way of the payload's image: a new container of it delivers the new version to the app's.
type Image struct {
	*Fleet
	Image     string
	back      bool // a rollback: the pods' annotation goes
	sets      sets
	forbidden atomic.Bool // exec is: the payload's word alone counts
}

// NewImage upgrades pods to an image.
func NewImage(f *Fleet, image string) *Image { return &Image{Fleet: f, Image: image} }

func (m *Image) survey(ctx context.Context, pods []kube.Pod) ([]job, error) {
	var err error
	if m.sets, err = m.findSets(ctx, pods, m.Image); err != nil {
		return nil, err
	}
	var loose []kube.Pod
	for _, p := range pods {
		if p.StatefulSet() == "" {
			loose = append(loose, p)
		}
	}
	warnReplaced(m.Report, loose, "the old version: its template still names the old image")
	jobs := make([]job, len(pods))
	err = each(pods, func(i int, pod *kube.Pod) error {
		j, err := m.newJob(pod)
		if err == nil && j.do != actSkip {
			err = m.look(ctx, &j)
		}
		jobs[i] = j
		return err
	})
	return jobs, err
}

// look finds out what there is to do with a pod.
func (m *Image) look(ctx context.Context, j *job) error {
	pod, name := &j.pod, j.pod.Meta.Name
	payload := pod.Spec.Container(m.Payload)
	if payload == nil {
		return fmt.Errorf("pod %s has no container %s: --payload names another; a pod without any is upgraded by --binary", name, m.Payload)
	}
	if payload.Image != m.Image || !pod.Able(j.container) {
		return nil
	}
	j.do, j.reason = actFollow, "it has the image, its delivery has not ended"
	if c := pod.Container(m.Payload); !isNew(c, replacedBy(pod), m.Image) || c.State.Running == nil {
		return nil
	}
	delivery, err := m.delivery(ctx, name)
	switch {
	case err != nil:
		return fmt.Errorf("pod %s has the image already, but whether it was delivered cannot be seen: %w", name, err)
	case delivery == nil && !m.proven(ctx, j):
	case delivery != nil && !good(delivery):
		return fmt.Errorf("pod %s has the image already, and its delivery was %s: %s\n(nothing is retried by itself: "+
			"kubectl graceinit rollback %s puts the image back that it had, and then it can be rolled again)",
			name, delivery.Result, delivery.Reason, name)
	case m.sets.current(pod):
		j.do, j.reason = actSkip, "it has it already"
	case m.drift(pod) != "":
		j.do, j.reason = actSkip, m.drift(pod)
	default:
		j.do, j.reason = actLabel, "it has it already, but not the revision label"
	}
	return nil
}

// replacedBy returns the payload's container that was replaced, or none where nobody knows.
func replacedBy(pod *kube.Pod) kube.ContainerStatus {
	return kube.ContainerStatus{ContainerID: pod.Meta.Annotations[annContainer], ImageID: pod.Meta.Annotations[annImageID]}
}

// isNew tells whether a container is another one than before, and of the image. The old one may have restarted by
// itself before the kubelet acted on the patch; two names may be of one image.
func isNew(now, before kube.ContainerStatus, image string) bool {
	return now.ContainerID != "" && now.ContainerID != before.ContainerID &&
		(now.Image == image || before.ImageID == "" || now.ImageID != before.ImageID)
}

// proven tells whether a pod runs what its payload has delivered, where the log does not say it any more: it was cut off.
func (m *Image) proven(ctx context.Context, j *job) bool {
	digest := j.pod.Meta.Annotations[annDelivered]
	// A pod that was created with the image, and never patched, has had it from the beginning.
	created := j.pod.StatefulSet() != "" && j.pod.Meta.Annotations[annContainer] == "" && m.sets.current(&j.pod)
	if digest == "" && !created {
		return false
	}
	if m.NoExec || m.forbidden.Load() {
		return digest != ""
	}
	s, err := m.status(ctx, j)
	if kube.Reason(err, "Forbidden") {
		return digest != ""
	}
	return err == nil && judge(s, digest) == nil
}

// drift says in what a pod differs from its template, beside the image that is rolled, and what to do then; or nothing.
func (m *Image) drift(pod *kube.Pod) string {
	set := m.sets[pod.StatefulSet()]
	if set == nil {
		return ""
	}
	found := kube.Drift(&pod.Spec, &set.Spec.Template.Spec, m.Payload, seedContainer)
	if len(found) == 0 {
		return ""
	}
	return fmt.Sprintf("it runs the new image, but differs from the template in %s: replace it (kubectl delete pod %s) when that suits",
		strings.Join(found, ", "), pod.Meta.Name)
}

func good(d *control.Delivery) bool {
	return d.Result == control.ResultDelivered || d.Result == control.ResultUnchanged
}

// imagePatch is the patch of a pod's payload. An annotation that is nil is removed.
func (m *Image) imagePatch(pod *kube.Pod, image string, previous any) any {
	return map[string]any{
		"metadata": map[string]any{
			"uid": pod.Meta.UID, // of this pod, and of none that has taken its name meanwhile
			"annotations": map[string]any{
				annPrevious:  previous,
				annContainer: pod.Container(m.Payload).ContainerID,
				annImageID:   pod.Container(m.Payload).ImageID,
				annDelivered: nil,
			},
		},
		"spec": map[string]any{"containers": []any{map[string]any{"name": m.Payload, "image": image}}},
	}
}

func (m *Image) patchTo(pod *kube.Pod) any {
	if m.back {
		return m.imagePatch(pod, m.Image, nil)
	}
	return m.imagePatch(pod, m.Image, pod.Spec.Container(m.Payload).Image)
}

// check lets the server try the patches: a right that is missing is better found before the template is patched.
func (m *Image) check(ctx context.Context, jobs []job) error {
	for _, j := range jobs {
		if j.do != actUpgrade && j.do != actRollback {
			continue
		}
		err := m.Kube.Patch(ctx, "pod", j.pod.Meta.Name, m.patchTo(&j.pod), true)
		if err != nil && !kube.Unsupported(err) {
			return fmt.Errorf("the payload's image of pod %s could not be patched (the server was only asked): %w", j.pod.Meta.Name, err)
		}
		break // one stands for all: they are of one namespace
	}
	return m.sets.patch(ctx, m, true)
}

func (m *Image) prepare(ctx context.Context) error {
	if err := m.sets.patch(ctx, m, false); err != nil {
		return err
	}
	return m.sets.settle(ctx, m)
}

func (m *Image) wayOut([]string) string {
	out := "To go on, put right what was wrong and run roll again: pods that have the image are skipped. " +
		"To go back: kubectl graceinit rollback with the same pods."
	if names := m.sets.names(); names != "" {
		out = fmt.Sprintf("The template of StatefulSet %s names %s: a pod that is replaced now starts with it. ", names, m.Image) + out
	}
	return out
}

func (m *Image) upgrade(ctx context.Context, j job, tell func(news)) end {
	name := j.pod.Meta.Name
	bounded, cancel := m.within(ctx)
	defer cancel()
	pod := &j.pod
	if pod.Spec.Container(m.Payload) == nil {
		return end{state: plan.Failed, untouched: true, reason: fmt.Sprintf("not begun: it has no container %s any more", m.Payload)}
	}
	old := original{image: pod.Spec.Container(m.Payload).Image, payload: pod.Container(m.Payload)}
	if previous, is := pod.Meta.Annotations[annPrevious]; is {
		old.previous = previous
	}
	before := old.payload
	if old.image == m.Image { // begun by a roll before this one, or by somebody else
		before = replacedBy(pod)
		before.State.Waiting = old.payload.State.Waiting
		old.image, _ = old.previous.(string)
		old.previous, old.payload = nil, before
	} else {
		tell(news{pod: name, step: "patching the image"})
		if err := m.Kube.Patch(bounded, "pod", name, m.patchTo(pod), false); err != nil {
			return end{state: plan.Failed, untouched: true, reason: fmt.Sprintf("the payload's image could not be patched: %v", err)}
		}
	}
	delivery, err := m.await(bounded, name, m.Image, before, tell)
	if err == nil && !good(delivery) {
		err = fmt.Errorf("its delivery was %s: %s", delivery.Result, delivery.Reason)
	}
	if err == nil {
		tell(news{pod: name, step: "verifying"})
		err = m.ask(bounded, &j, delivery)
	}
	if err != nil {
		e := m.restore(ctx, &j, old, tell, err.Error())
		e.delivery = delivery
		return e
	}
	drift := m.drift(pod)
	if err := m.label(bounded, pod, delivery, drift == ""); err != nil {
		return failed("it was upgraded, but it could not be labelled (%s): %v. Run roll again", revisionLabel, err)
	}
	e := end{state: plan.Done, delivery: delivery, reason: m.unasked(string(delivery.Result))}
	if drift != "" {
		e.reason += "; " + drift
	}
	if delivery.ExitCode == control.CodeForced {
		e.state, e.reason = plan.Forced, "the predecessor had to be killed"
	}
	return e
}

// unasked adds that only the payload's word counts.
func (m *Image) unasked(text string) string {
	if m.NoExec || m.forbidden.Load() {
		return text + "; by the payload's log, graceinit was not asked"
	}
	return text
}

// ask verifies by the app's graceinit, where we may ask it.
func (m *Image) ask(ctx context.Context, j *job, d *control.Delivery) error {
	if m.NoExec || m.forbidden.Load() {
		return nil
	}
	_, err := m.verify(ctx, j, d.SHA256, settleTime)
	if kube.Reason(err, "Forbidden") {
		if !m.forbidden.Swap(true) {
			m.Report.Warn("graceinit cannot be asked for its status, since pods/exec is not allowed: the word of the payload's " +
				"log alone counts (--no-exec says the same and does not try)")
		}
		return nil
	}
	return err
}

// label records what was delivered and, where that is so, that the pod is of the revision of its StatefulSet's template.
func (m *Image) label(ctx context.Context, pod *kube.Pod, d *control.Delivery, alike bool) error {
	meta := map[string]any{"uid": pod.Meta.UID, "annotations": map[string]any{annDelivered: d.SHA256}}
	if alike && !m.sets.current(pod) {
		meta["labels"] = map[string]any{revisionLabel: m.sets[pod.StatefulSet()].revision}
	}
	return m.Kube.Patch(ctx, "pod", pod.Meta.Name, map[string]any{"metadata": meta}, false)
}

// original is what a pod had before.
type original struct {
	image    string // empty: nobody knows
	previous any    // its annotation: a string, or nil
	payload  kube.ContainerStatus
}

// restore puts a pod's image back and waits until the payload has said that all is as it was.
func (m *Image) restore(ctx context.Context, j *job, old original, tell func(news), reason string) end {
	if context.Cause(ctx) != nil {
		return end{state: plan.Left, reason: reason}
	}
	name := j.pod.Meta.Name
	tell(news{pod: name, failing: reason})
	bounded, cancel := m.within(ctx)
	defer cancel()
	if err := m.putBack(bounded, j, old, tell); err != nil {
		return failed("%s; NOT ROLLED BACK: %v. Look at it: kubectl graceinit status %s; kubectl describe pod %s", reason, err, name, name)
	}
	return failed("%s; rolled back to %s", reason, old.image)
}

// insist tries until it is done, or refused for good. An API server that is being replaced does not answer for a while.
func (m *Image) insist(ctx context.Context, try func() error) error {
	var trouble error
	for {
		err := try()
		if trouble == nil || ctx.Err() == nil { // that time is up says less
			trouble = err
		}
		if err == nil || slices.ContainsFunc([]string{"Forbidden", "NotFound", "Conflict", "Invalid"},
			func(reason string) bool { return kube.Reason(err, reason) }) {
			return err
		}
		if !m.pause(ctx) {
			return fmt.Errorf("%w; %w", context.Cause(ctx), trouble)
		}
	}
}

func (m *Image) putBack(ctx context.Context, j *job, old original, tell func(news)) error {
	name := j.pod.Meta.Name
	if old.image == "" {
		return fmt.Errorf("it has no annotation %s, so nobody knows which image it had", annPrevious)
	}
	var pod *kube.Pod
	err := m.insist(ctx, func() (err error) {
		pod, err = m.Kube.Pod(ctx, name)
		return err
	})
	if err != nil {
		return err
	}
	if pod == nil || pod.Deleting() {
		return errors.New("it is being deleted")
	}
	before := pod.Container(m.Payload)
	if before.ImageID == old.payload.ImageID {
		before.ImageID = "" // the old image's container is still there, or was last: its ID tells nothing of what comes
	}
	err = m.insist(ctx, func() error {
		return m.Kube.Patch(ctx, "pod", name, m.imagePatch(pod, old.image, old.previous), false)
	})
	if err != nil {
		return err
	}
	if before.State.Running != nil && before.ContainerID == old.payload.ContainerID && old.payload.ContainerID != "" {
		// The kubelet had not begun, so there is nothing to wait for.
		return m.ask(ctx, j, &control.Delivery{})
	}
	tell(news{pod: name, step: "rolling back"})
	delivery, err := m.await(ctx, name, old.image, before, tell)
	if err != nil {
		return err
	}
	if !good(delivery) {
		return fmt.Errorf("the delivery of %s was %s: %s", old.image, delivery.Result, delivery.Reason)
	}
	return m.ask(ctx, j, delivery)
}
