package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/kube"
	"github.com/graceinit/graceinit/internal/control"
)

// hopeless are the reasons for which a container waits that do not go away by waiting
// (kubernetes: pkg/kubelet/images/types.go, pkg/kubelet/container/sync_result.go).
var hopeless = map[string]bool{
	"ErrImagePull": true, "ImagePullBackOff": true, "InvalidImageName": true, "ErrImageNeverPull": true,
	"ImageInspectError": true, "RegistryUnavailable": true, "SignatureValidationFailed": true,
	"CreateContainerConfigError": true, "CreateContainerError": true, "RunContainerError": true,
	"PreCreateHookError": true, "PreStartHookError": true, "PostStartHookError": true, "CrashLoopBackOff": true,
}

// await waits until the payload is a new container of that image and has said how its delivery went. Before is what
// the kubelet said of it before the image was patched: as long as it says the same, it has not begun.
func (m *Image) await(ctx context.Context, name, image string, before kube.ContainerStatus, tell func(news)) (*control.Delivery, error) {
	step := "waits for the new payload"
	var trouble error // the last time that the cluster could not be asked
	for {
		tell(news{pod: name, step: step})
		pod, err := m.Kube.Pod(ctx, name)
		switch {
		case kube.Reason(err, "Forbidden"):
			return nil, err
		case err != nil:
			trouble = err
		case pod == nil, pod.Deleting():
			return nil, fmt.Errorf("it is being deleted")
		default:
			trouble = nil
			container := pod.Container(m.Payload)
			begun, err := m.begun(pod, image, container, before)
			if err != nil {
				return nil, err
			}
			if begun {
				step = "waits for the delivery"
				delivery, err := m.delivery(ctx, name)
				switch {
				case delivery != nil:
					return delivery, nil
				case kube.Reason(err, "Forbidden"):
					return nil, fmt.Errorf("%w\n(this needs the right to get pods/log)", err)
				case container.State.Terminated != nil:
					return nil, fmt.Errorf("the payload has ended with exit code %d (%s) and has delivered nothing: %s",
						container.State.Terminated.ExitCode, container.State.Terminated.Reason, container.State.Terminated.Message)
				}
				trouble = err
			}
		}
		if !m.pause(ctx) {
			err := fmt.Errorf("%w: it %s", context.Cause(ctx), step)
			if trouble != nil {
				err = fmt.Errorf("%w; %w", err, trouble)
			}
			return nil, err
		}
	}
}

// begun tells whether the payload's container is the new one, and what keeps it from coming.
func (m *Image) begun(pod *kube.Pod, image string, now, before kube.ContainerStatus) (bool, error) {
	if is := pod.Spec.Container(m.Payload); is == nil || is.Image != image {
		return false, fmt.Errorf("somebody else has changed the payload's image meanwhile")
	}
	if w := now.State.Waiting; w != nil {
		if hopeless[w.Reason] && (before.State.Waiting == nil || *before.State.Waiting != *w) {
			return false, fmt.Errorf("the payload does not start: %s: %s", w.Reason, w.Message)
		}
		return false, nil
	}
	return isNew(now, before), nil
}

// delivery returns what the payload's container has said of its delivery, or nil as long as it has said nothing.
func (m *Image) delivery(ctx context.Context, pod string) (*control.Delivery, error) {
	log, err := m.Kube.Logs(ctx, pod, m.Payload)
	return lastDelivery(log), err
}

// lastDelivery finds the last line of a log that says how a delivery went.
func lastDelivery(log []byte) (last *control.Delivery) {
	for line := range bytes.Lines(log) {
		var found struct {
			Delivery *control.Delivery `json:"delivery"`
		}
		if bytes.HasPrefix(line, []byte(`{"delivery":`)) && json.Unmarshal(line, &found) == nil && found.Delivery != nil {
			last = found.Delivery
		}
	}
	return last
}
