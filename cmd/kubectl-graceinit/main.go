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
	// A reader that goes away (| head, or | tee and a ^C) would end us in the middle of a pod's upgrade. What cannot be
	// written any more is lost; the roll goes on. It is caught and not ignored, since kubectl would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
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
