package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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
	var trouble error // what is in the way, the last time that we looked
	var last kube.ContainerStatus
	looks := 0 // at the same container
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
			if container.ContainerID != last.ContainerID || (container.State.Waiting == nil) != (last.State.Waiting == nil) {
				looks = 0
			}
			last = container
			looks++
			begun, err := m.begun(pod, image, container, before, looks)
			if err != nil {
				return nil, err
			}
			if w := container.State.Waiting; w != nil && hopeless[w.Reason] {
				trouble = fmt.Errorf("%s: %s", w.Reason, w.Message)
			}
			if begun {
				step = "waits for the delivery"
				delivery, err := m.delivery(ctx, name)
				switch {
				case delivery != nil:
					// The log may be that of a container which has ended since the kubelet's word of it.
					if again, err := m.Kube.Pod(ctx, name); err == nil && again != nil && again.Container(m.Payload).ContainerID == container.ContainerID {
						return delivery, nil
					}
					err = errors.New("the payload has restarted while its log was read")
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

// The kubelet acts on a change of a pod within seconds. What it says of a container is believed at once where it is of the
// new image for certain, and else after so many looks.
const (
	hopelessLooks = 10 // at a container that does not start, for reasons that do not name its image
	sameLooks     = 30 // at one that has the image of before by its ID: the new name may be another one of the same image
)

// begun tells whether the payload's container is the new one, and what keeps it from coming.
func (m *Image) begun(pod *kube.Pod, image string, now, before kube.ContainerStatus, looks int) (bool, error) {
	if is := pod.Spec.Container(m.Payload); is == nil || is.Image != image {
		return false, fmt.Errorf("somebody else has changed the payload's image meanwhile")
	}
	if w := now.State.Waiting; w != nil {
		stale := before.State.Waiting != nil && *before.State.Waiting == *w
		named := names(w.Message, image) || isNew(now, before, image)
		if hopeless[w.Reason] && !stale && (named || looks >= hopelessLooks && !names(w.Message, before.Image)) {
			return false, fmt.Errorf("the payload does not start: %s: %s", w.Reason, w.Message)
		}
		return false, nil
	}
	other := now.ContainerID != "" && now.ContainerID != before.ContainerID
	return isNew(now, before, image) || other && now.State.Running != nil && looks >= sameLooks, nil
}

// names tells whether a text names an image, and not one whose name only begins like it.
func names(text, image string) bool {
	if image == "" {
		return false
	}
	for _, rest := range strings.Split(text, image)[1:] {
		if rest == "" || !strings.ContainsAny(rest[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-@/") {
			return true
		}
	}
	return false
}

// delivery returns what the payload's container has said of its delivery, or nil as long as it has said nothing.
func (m *Image) delivery(ctx context.Context, pod string) (*control.Delivery, error) {
	var found *control.Delivery
	err := m.Kube.Logs(ctx, pod, m.Payload, func(line []byte) bool {
		found = deliveryOf(line)
		return found != nil
	})
	return found, err
}

// deliveryOf returns what a line says of how a delivery went. A container says it once; what comes after is its COMMAND's.
func deliveryOf(line []byte) *control.Delivery {
	var found struct {
		Delivery *control.Delivery `json:"delivery"`
	}
	if !bytes.HasPrefix(line, []byte(`{"delivery":`)) || json.Unmarshal(line, &found) != nil {
		return nil
	}
	return found.Delivery
}
