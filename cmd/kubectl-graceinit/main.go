// Command kubectl-graceinit is a kubectl plugin: it upgrades the apps of many pods in place, pod by pod.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/graceinit/graceinit/cmd/kubectl-graceinit/internal/fleet"
)

var version = "devel" // set by the build

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		close(stop) // begins no further pod
		<-signals
		cancel(fleet.ErrLeft())
	}()
	os.Exit(run(ctx, stop, os.Args[1:], os.Stdout, os.Stderr))
}
