package main

const exitCodes = `
Exit codes:
  0    all done: every pod has it, or had it already
  1    refused: nothing was touched, and it says why; status: a pod is not ready, or cannot be asked
  2    stopped at a failure: that pod was put back (or it says that it could not be), no further pod was begun
  3    done, but in a pod the predecessor had to be killed, and its connections with it
  64   bad usage
  69   kubectl is missing, or no cluster answers
  130  interrupted: pods that had begun have ended, the others were not begun
`

const longRoot = `Upgrades the apps of many pods in place, pod by pod: a new binary, the same pod, the same containers, the same
listening sockets, no request lost. The apps run under graceinit.

It runs kubectl, so your context, your credentials and your rights are the ones that count. --namespace, --context and
--kubeconfig are handed on to it.
` + exitCodes

const longRoll = `Upgrades pods in place, at most --max-unavailable at a time, in the order of their names; those of a StatefulSet by their
number, the highest first. A pod that is not ready by itself counts as one of them. Each pod is verified by asking its
graceinit. At the first failure no further pod begins, and the one that failed is put back.

Run it again and it goes on: pods that have the new version are skipped. ^C begins no further pod and waits for those that
have begun; a second ^C leaves at once, which changes nothing in the pods.

With --binary the file is streamed into each pod (kubectl exec). The new version lasts as long as the container.

With --image the image of the container "payload" is set in each pod. Its new container delivers the app's new version
to the one that runs it. Pods of a StatefulSet (it must have the update strategy OnDelete) keep it when they are replaced:
the template is patched first, then the pods one by one, then each gets the label of the template's revision. A pod of a
Deployment returns to the old version when it is replaced. While its payload is replaced a pod is not ready, although its
app serves.
` + exitCodes

const exampleRoll = `  # what would be done
  kubectl graceinit roll -l app.kubernetes.io/name=hello --image registry.example/hello:v2 --dry-run

  # a quarter of the pods at a time
  kubectl graceinit roll -l app.kubernetes.io/name=hello --image registry.example/hello:v2 --max-unavailable 25%

  # a binary from here, into two pods
  kubectl graceinit roll hello-0 hello-1 --binary ./hello`

const longRollback = `Takes an upgrade back, with the same care as roll.

Pods that were upgraded by --image have an annotation, graceinit/previous-image, which says which image they had: their
payload gets it again, and the template of their StatefulSet before them. Pods without a payload are told to go back to the
executable that they ran before (graceinit rollback, by kubectl exec), and with --binary those with one as well.

With --binary or --image, only the pods that have that version are taken back. Without it, a rollback by graceinit that
was interrupted must be resumed with the names of the pods that are left, which it says: a pod that is told twice to go
back to what it ran before is where it was.
` + exitCodes

const exampleRollback = `  # undo a roll
  kubectl graceinit rollback -l app.kubernetes.io/name=hello

  # only where the bad binary runs
  kubectl graceinit rollback -l app.kubernetes.io/name=hello --binary ./hello-bad`

const longStatus = `Shows what graceinit says in each pod: the state, the generation, which binary runs (the beginning of its SHA-256), how the
last upgrade ended. IMAGE is that of the payload, or of the container where there is no payload, with "(another runs)"
where that is known, as after roll --binary: DIGEST says what runs. READY is the cluster's word, RESTARTS are those of the container that runs the app.

The exit code is 0 if every pod is ready, by the cluster's word and by graceinit's, and 1 otherwise.`

const exampleStatus = `  kubectl graceinit status -l app.kubernetes.io/name=hello
  kubectl graceinit status hello-0 -o json | jq .status.main`
