// Package lab runs pods on this machine as a cluster would, without a cluster: Debian's containerd runs the containers,
// a kubelet of some hundred lines drives it over CRI, and real kubectl talks to an API server of some hundred lines more.
//
// Everything is in namespaces of its own (network, mounts, processes), and so nothing of the machine is touched, nothing
// is left when it ends, however it ends, and no packet leaves it. The first process there is graceinit.
//
// What is real: containerd, runc, CNI's bridge, seccomp, cgroups, kubectl and its exec over SPDY, strategic merge patches
// and strict decoding by Kubernetes' own packages. What is not: the scheduler, admission, services without pods behind
// them, pulls of images. A kubelet's ways that matter here are kept: which order images are looked for and containers
// stopped in, what is in a status at which time, how often is tried again.
package lab
