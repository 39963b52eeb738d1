//go:build !amd64 && !arm64

package signals

import "os"

// SubscribeProf does nothing on this architecture: SIGPROF stays with the Go runtime, which ignores it.
func SubscribeProf(chan<- os.Signal) error { return nil }
