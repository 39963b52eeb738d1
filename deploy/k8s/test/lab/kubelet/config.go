package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/graceinit/graceinit/deploy/k8s/test/lab/apiserver"
)

// config says to the runtime what a container is.
func (c *container) config(ctx context.Context, p *corev1.Pod, spec corev1.Container) (*cri.ContainerConfig, error) {
	env, err := c.env(p, spec)
	if err != nil {
		return nil, err
	}
	lookup := map[string]string{}
	config := &cri.ContainerConfig{
		Metadata:   &cri.ContainerMetadata{Name: c.name, Attempt: uint32(c.attempt)},
		Image:      &cri.ImageSpec{Image: spec.Image},
		WorkingDir: spec.WorkingDir,
		LogPath:    filepath.Join(c.name, strconv.Itoa(c.attempt)+".log"),
		Labels: map[string]string{
			"io.kubernetes.pod.name": p.Name, "io.kubernetes.pod.namespace": p.Namespace, "io.kubernetes.container.name": c.name,
		},
		Stdin: spec.Stdin, Tty: spec.TTY,
	}
	for _, e := range env {
		lookup[e.Key] = string(e.Value)
		config.Envs = append(config.Envs, e)
	}
	for _, a := range spec.Command {
		config.Command = append(config.Command, expand(a, lookup))
	}
	for _, a := range spec.Args {
		config.Args = append(config.Args, expand(a, lookup))
	}
	if config.Mounts, err = c.mounts(p, spec); err != nil {
		return nil, err
	}
	security, err := c.security(ctx, p, spec)
	if err != nil {
		return nil, err
	}
	config.Linux = &cri.LinuxContainerConfig{Resources: resources(spec.Resources), SecurityContext: security}
	return config, nil
}

// security is what the pod and the container say about the user and the privileges.
func (c *container) security(ctx context.Context, p *corev1.Pod, spec corev1.Container) (*cri.LinuxContainerSecurityContext, error) {
	sc := spec.SecurityContext
	if sc == nil {
		sc = &corev1.SecurityContext{}
	}
	ps := p.Spec.SecurityContext
	user, gid, nonRoot := ps.RunAsUser, ps.RunAsGroup, ps.RunAsNonRoot
	if sc.RunAsUser != nil {
		user = sc.RunAsUser
	}
	if sc.RunAsGroup != nil {
		gid = sc.RunAsGroup
	}
	if sc.RunAsNonRoot != nil {
		nonRoot = sc.RunAsNonRoot
	}
	image, err := c.pod.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: spec.Image}})
	if err != nil {
		return nil, err
	}
	if user == nil && image.Image != nil && image.Image.Uid != nil {
		user = &image.Image.Uid.Value
	}
	if nonRoot != nil && *nonRoot && (user == nil || *user == 0) {
		return nil, errors.New("container has runAsNonRoot and image will run as root")
	}
	s := &cri.LinuxContainerSecurityContext{
		NamespaceOptions:   namespaces(p),
		RunAsUser:          value(user),
		RunAsGroup:         group(user, gid),
		SupplementalGroups: groups(ps),
		Seccomp:            seccomp(sc.SeccompProfile, ps.SeccompProfile),
		NoNewPrivs:         sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		ReadonlyRootfs:     sc.ReadOnlyRootFilesystem != nil && *sc.ReadOnlyRootFilesystem,
		Privileged:         sc.Privileged != nil && *sc.Privileged,
		// What a kubelet hides of /proc and /sys (procMount: Default).
		MaskedPaths: []string{
			"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
			"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
		},
		ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
	}
	if sc.Capabilities != nil {
		s.Capabilities = &cri.Capability{}
		for _, x := range sc.Capabilities.Add {
			s.Capabilities.AddCapabilities = append(s.Capabilities.AddCapabilities, string(x))
		}
		for _, x := range sc.Capabilities.Drop {
			s.Capabilities.DropCapabilities = append(s.Capabilities.DropCapabilities, string(x))
		}
	}
	return s, nil
}

func resources(r corev1.ResourceRequirements) *cri.LinuxContainerResources {
	out := &cri.LinuxContainerResources{CpuPeriod: 100_000, CpuShares: max(2, r.Requests.Cpu().MilliValue()*1024/1000)}
	if limit := r.Limits.Cpu().MilliValue(); limit > 0 {
		out.CpuQuota = max(1000, limit*out.CpuPeriod/1000)
	}
	out.MemoryLimitInBytes = r.Limits.Memory().Value()
	return out
}

// env is the environment in the kubelet's order: from config maps and secrets, then one by one, then what belongs to a pod.
func (c *container) env(p *corev1.Pod, spec corev1.Container) ([]*cri.KeyValue, error) {
	known := map[string]string{}
	host, port, _ := net.SplitHostPort(c.pod.API)
	known["KUBERNETES_SERVICE_HOST"], known["KUBERNETES_SERVICE_PORT"], known["KUBERNETES_SERVICE_PORT_HTTPS"] = host, port, port
	for _, from := range spec.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			m, err := apiserver.Get[*corev1.ConfigMap](c.pod.Store, p.Namespace, from.ConfigMapRef.Name)
			if err != nil {
				return nil, err
			}
			maps.Copy(known, m.Data)
		case from.SecretRef != nil:
			m, err := apiserver.Get[*corev1.Secret](c.pod.Store, p.Namespace, from.SecretRef.Name)
			if err != nil {
				return nil, err
			}
			for k, v := range m.Data {
				known[k] = string(v)
			}
		}
	}
	for _, e := range spec.Env {
		v := expand(e.Value, known)
		if from := e.ValueFrom; from != nil {
			var err error
			switch {
			case from.FieldRef != nil:
				v, err = c.field(p, from.FieldRef.FieldPath)
			case from.ConfigMapKeyRef != nil:
				var m *corev1.ConfigMap
				if m, err = apiserver.Get[*corev1.ConfigMap](c.pod.Store, p.Namespace, from.ConfigMapKeyRef.Name); err == nil {
					v = m.Data[from.ConfigMapKeyRef.Key]
				}
			case from.SecretKeyRef != nil:
				var m *corev1.Secret
				if m, err = apiserver.Get[*corev1.Secret](c.pod.Store, p.Namespace, from.SecretKeyRef.Name); err == nil {
					v = string(m.Data[from.SecretKeyRef.Key])
				}
			default:
				err = fmt.Errorf("the lab cannot fill in the variable %s", e.Name)
			}
			if err != nil {
				return nil, err
			}
		}
		known[e.Name] = v
	}
	var list []*cri.KeyValue
	for _, k := range slices.Sorted(maps.Keys(known)) {
		list = append(list, &cri.KeyValue{Key: k, Value: []byte(known[k])})
	}
	return list, nil
}

func (c *container) field(p *corev1.Pod, path string) (string, error) {
	if rest, ok := strings.CutPrefix(path, "metadata.labels['"); ok {
		return p.Labels[strings.TrimSuffix(rest, "']")], nil
	}
	if rest, ok := strings.CutPrefix(path, "metadata.annotations['"); ok {
		return p.Annotations[strings.TrimSuffix(rest, "']")], nil
	}
	switch path {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "spec.nodeName":
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		c.pod.mu.Lock()
		defer c.pod.mu.Unlock()
		return c.pod.ip, nil
	case "status.hostIP":
		return "10.213.0.1", nil
	}
	return "", fmt.Errorf("the lab cannot fill in the field %s", path)
}

var variable = regexp.MustCompile(`\$\$|\$\([A-Za-z_][A-Za-z0-9_.-]*\)`)

// expand replaces $(NAME); what is not known stays, and $$ is a $.
func expand(s string, known map[string]string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		if m == "$$" {
			return "$"
		}
		if v, ok := known[m[2:len(m)-1]]; ok {
			return v
		}
		return m
	})
}

// mounts are the volumes, the termination message, and the service account's token.
func (c *container) mounts(p *corev1.Pod, spec corev1.Container) ([]*cri.Mount, error) {
	var list []*cri.Mount
	for _, m := range spec.VolumeMounts {
		path := c.pod.dir(p, "volumes", m.Name)
		i := slices.IndexFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		readOnly := m.ReadOnly || i >= 0 && p.Spec.Volumes[i].EmptyDir == nil
		if m.SubPath != "" {
			path = filepath.Join(path, m.SubPath)
		}
		list = append(list, &cri.Mount{ContainerPath: m.MountPath, HostPath: path, Readonly: readOnly})
	}
	list = append(list, &cri.Mount{ContainerPath: spec.TerminationMessagePath, HostPath: c.message})
	account, err := apiserver.Get[*corev1.ServiceAccount](c.pod.Store, p.Namespace, p.Spec.ServiceAccountName)
	wanted := p.Spec.AutomountServiceAccountToken
	if wanted == nil && err == nil {
		wanted = account.AutomountServiceAccountToken
	}
	if wanted == nil || *wanted {
		if err != nil && p.Spec.ServiceAccountName != "default" {
			return nil, err
		}
		dir := c.pod.dir(p, "token")
		if _, err := os.Stat(dir); err != nil {
			if err := c.pod.writeToken(dir, p, 0o644); err != nil {
				return nil, err
			}
		}
		list = append(list, &cri.Mount{ContainerPath: "/var/run/secrets/kubernetes.io/serviceaccount", HostPath: dir, Readonly: true})
	}
	return list, nil
}

func (k *Kubelet) writeToken(dir string, p *corev1.Pod, mode os.FileMode) error {
	return writeFiles(dir, mode, map[string][]byte{
		"token": []byte(k.Token(p.Namespace, p.Spec.ServiceAccountName)), "ca.crt": k.CA, "namespace": []byte(p.Namespace),
	})
}

func writeFiles(dir string, mode os.FileMode, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, mode); err != nil {
			return err
		}
	}
	return nil
}

// makeVolumes puts the pod's volumes on disk.
func (w *pod) makeVolumes(p *corev1.Pod) error {
	for _, v := range p.Spec.Volumes {
		dir := w.dir(p, "volumes", v.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		var err error
		switch {
		case v.EmptyDir != nil:
			mode := os.FileMode(0o777)
			if g := p.Spec.SecurityContext.FSGroup; g != nil {
				mode |= os.ModeSetgid
				err = os.Chown(dir, 0, int(*g))
			}
			err = errors.Join(err, os.Chmod(dir, mode))
		case v.ConfigMap != nil:
			var m *corev1.ConfigMap
			if m, err = apiserver.Get[*corev1.ConfigMap](w.Store, p.Namespace, v.ConfigMap.Name); err == nil {
				err = writeFiles(dir, 0o644, content(m))
			}
		case v.Secret != nil:
			var m *corev1.Secret
			if m, err = apiserver.Get[*corev1.Secret](w.Store, p.Namespace, v.Secret.SecretName); err == nil {
				err = writeFiles(dir, 0o644, m.Data)
			}
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil {
					token := w.Token(p.Namespace, p.Spec.ServiceAccountName)
					err = errors.Join(err, writeFiles(dir, 0o644, map[string][]byte{s.ServiceAccountToken.Path: []byte(token)}))
				}
			}
		default:
			err = fmt.Errorf("the lab has no volumes of the kind of %s", v.Name)
		}
		if err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q: %w", v.Name, err)
		}
	}
	return nil
}

func content(m *corev1.ConfigMap) map[string][]byte {
	files := maps.Clone(m.BinaryData)
	if files == nil {
		files = map[string][]byte{}
	}
	for k, v := range m.Data {
		files[k] = []byte(v)
	}
	return files
}

func seccomp(profiles ...*corev1.SeccompProfile) *cri.SecurityProfile {
	for _, p := range profiles {
		if p != nil && p.Type == corev1.SeccompProfileTypeRuntimeDefault {
			return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
		}
		if p != nil {
			break
		}
	}
	return &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Unconfined}
}

func value(v *int64) *cri.Int64Value {
	if v == nil {
		return nil
	}
	return &cri.Int64Value{Value: *v}
}

// group is only allowed where there is a user.
func group(user, group *int64) *cri.Int64Value {
	if user == nil {
		return nil
	}
	return value(group)
}

func groups(ps *corev1.PodSecurityContext) []int64 {
	list := slices.Clone(ps.SupplementalGroups)
	if ps.FSGroup != nil {
		list = append(list, *ps.FSGroup)
	}
	return list
}
