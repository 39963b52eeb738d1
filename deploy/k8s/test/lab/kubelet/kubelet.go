// Package kubelet is as much of a kubelet as the lab needs: it runs the pods of the API server's store on a real
// container runtime, over CRI, and reports their status as the kubelet does.
//
// Each pod has a goroutine, and each container in it. They share the pod's status, under its lock. What a container
// waits for is that it ends, that its spec changes, or that its pod goes.
package kubelet

import (
	"context"
	"fmt"
	"log"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
)

// Config says how pods are run.
type Config struct {
	Socket  string // of the runtime
	Dir     string // for volumes, logs and termination messages
	Cgroup  string // the parent of all
	API     string // host:port where pods find the API server
	CA      []byte // of the API server's certificate
	Token   func(namespace, account string) string
	Store   *apiserver.Store
	Log     *log.Logger
	Backoff time.Duration // after the second exit in a row; doubles, up to eightfold
}

// Kubelet runs pods.
type Kubelet struct {
	Config
	conn    *grpc.ClientConn
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient

	mu   sync.Mutex
	pods map[types.UID]*pod
	ends map[string]chan struct{} // by container: closed when it has ended
	wg   sync.WaitGroup
}

// NodeName is the name of the one node.
const NodeName = "lab"

// New connects with the runtime.
func New(c Config) (*Kubelet, error) {
	conn, err := grpc.NewClient("unix://"+c.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	return &Kubelet{
		Config: c, conn: conn, runtime: cri.NewRuntimeServiceClient(conn), images: cri.NewImageServiceClient(conn),
		pods: map[types.UID]*pod{}, ends: map[string]chan struct{}{},
	}, nil
}

// Run works until ctx ends. It leaves the pods as they are.
func (k *Kubelet) Run(ctx context.Context) {
	k.wg.Go(func() { k.observe(ctx) })
	apiserver.Follow(ctx, k.Store, func(kind watch.EventType, p *corev1.Pod) {
		k.mu.Lock()
		w := k.pods[p.UID]
		k.mu.Unlock()
		switch {
		case kind == watch.Deleted:
		case w != nil:
			w.set(p)
		case p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded || p.DeletionTimestamp != nil:
			k.admit(ctx, p)
		}
	})
	k.wg.Wait()
	_ = k.conn.Close()
}

func (k *Kubelet) admit(ctx context.Context, p *corev1.Pod) {
	bound, err := apiserver.Update(k.Store, p.Namespace, p.Name, func(p *corev1.Pod) error {
		p.Spec.NodeName = NodeName
		setCondition(&p.Status, corev1.PodScheduled, true, "", "")
		return nil
	})
	if err != nil {
		return
	}
	k.Store.Event(p, "Normal", "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", p.Namespace, p.Name, NodeName), "")
	w := newPod(k, bound)
	k.mu.Lock()
	k.pods[p.UID] = w
	k.mu.Unlock()
	k.wg.Go(func() {
		w.run(ctx)
		k.mu.Lock()
		delete(k.pods, p.UID)
		k.mu.Unlock()
	})
}

// observe asks the runtime what has ended: containerd 1.6 has no events in its CRI.
func (k *Kubelet) observe(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		k.mu.Lock()
		waited := len(k.ends) > 0
		k.mu.Unlock()
		if !waited {
			continue
		}
		list, err := k.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
		if err != nil {
			if ctx.Err() == nil {
				k.Log.Printf("cannot list containers: %v", err)
			}
			continue
		}
		k.mu.Lock()
		for _, c := range list.Containers {
			if end := k.ends[c.Id]; end != nil && c.State == cri.ContainerState_CONTAINER_EXITED {
				close(end)
				delete(k.ends, c.Id)
			}
		}
		k.mu.Unlock()
	}
}

// ended returns a channel that is closed when a container has ended.
func (k *Kubelet) ended(id string) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	end := make(chan struct{})
	k.ends[id] = end
	return end
}

// dir is a pod's directory.
func (k *Kubelet) dir(p *corev1.Pod, elements ...string) string {
	return filepath.Join(append([]string{k.Dir, string(p.UID)}, elements...)...)
}
