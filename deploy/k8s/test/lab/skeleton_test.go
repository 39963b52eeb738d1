package lab

import (
	"testing"
)

const simple = `
apiVersion: v1
kind: Pod
metadata: {name: simple, labels: {app.kubernetes.io/name: simple}}
spec:
  terminationGracePeriodSeconds: 5
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  volumes: [{name: grace, emptyDir: {}}]
  initContainers:
  - name: graceinit
    image: registry.example/graceinit:1
    command: [/graceinit, install, /grace]
    volumeMounts: [{name: grace, mountPath: /grace}]
  containers:
  - name: app
    image: registry.example/hello:v1
    command: [/grace/graceinit, --, /app]
    env:
    - {name: GRACEINIT_LISTEN, value: "tcp://:8080,name=http"}
    - {name: GRACEINIT_CONTROL, value: /grace/control.sock}
    volumeMounts: [{name: grace, mountPath: /grace}]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    readinessProbe: {exec: {command: [/grace/graceinit, status, --ready]}, periodSeconds: 1}
`

func TestSkeleton(t *testing.T) {
	need(t)
	cmd := kubectlCommand(t.Context(), "apply", "-f", "-")
	_ = cmd
	t.Log(applyText(t, simple))
	t.Log(kubectl(t, "wait", "--for=condition=Ready", "pod/simple", "--timeout=20s"))
	t.Log(kubectl(t, "get", "pods", "-o", "wide"))
	t.Log(kubectl(t, "exec", "simple", "--", "/grace/graceinit", "status"))
	t.Log(kubectl(t, "logs", "simple", "-c", "graceinit"))
	t.Log(kubectl(t, "describe", "pod", "simple"))
	t.Log(kubectl(t, "delete", "pod", "simple"))
}
